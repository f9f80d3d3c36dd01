"""What a fake engine is told: its shape, its pace, and how it fails."""

from __future__ import annotations

import msgspec


class Behaviour(msgspec.Struct, frozen=True, omit_defaults=True):
    """Pace and failures. Zero means at once, or never.

    `answer_tokens` is how much it says when the caller sets no limit below it. The failures count tokens over the
    life of the process, but for `close_after_tokens` and `hang_after_tokens`, which count those of one answer.
    """

    answer_tokens: int = 16
    tokens_a_chunk: int = 1
    first_token_ms: float = 0.0
    token_ms: float = 0.0
    start_ms: float = 0.0
    crash_after_tokens: int = 0
    close_after_tokens: int = 0
    hang_after_tokens: int = 0
    remember_tokens: int = 0
    """How much of prompts it remembers, as an engine with a prefix cache; for each `cache_salt` apart."""
    fail_every: int = 0
    """Every so many-th generation is answered 500."""


class Task(msgspec.Struct, frozen=True):
    """What the process gets in argv."""

    socket: str
    slots: int = 8
    context_tokens: int = 2_048
    dimensions: int = 384
    adapters: tuple[str, ...] = ()
    behaviour: Behaviour = Behaviour()
