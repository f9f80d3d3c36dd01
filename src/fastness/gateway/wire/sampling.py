"""Sampling parameters, shared by chat and plain completions."""

from __future__ import annotations

from typing import Final

import msgspec

from fastness.config import LimitSettings
from fastness.gateway.wire.reading import limit, refuse_unless

SEED_MIN: Final = -(2**63)
SEED_MAX: Final = 2**63 - 1


class StreamOptions(msgspec.Struct, forbid_unknown_fields=True):
    """`stream_options`. Obfuscation is padding against traffic analysis; only its absence can be promised here."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


def check_numbers(
    *,
    temperature: float | None,
    top_p: float | None,
    presence_penalty: float | None,
    frequency_penalty: float | None,
    seed: int | None,
) -> None:
    """Raise Refusal unless each number is in the range that OpenAI documents."""
    if (
        (temperature is None or 0 <= temperature <= 2)
        and (top_p is None or 0 <= top_p <= 1)
        and (presence_penalty is None or -2 <= presence_penalty <= 2)
        and (frequency_penalty is None or -2 <= frequency_penalty <= 2)
        and (seed is None or SEED_MIN <= seed <= SEED_MAX)
    ):
        return
    for name, value, low, high in (
        ("temperature", temperature, 0, 2),
        ("top_p", top_p, 0, 1),
        ("presence_penalty", presence_penalty, -2, 2),
        ("frequency_penalty", frequency_penalty, -2, 2),
        ("seed", seed, SEED_MIN, SEED_MAX),
    ):
        if value is not None:
            refuse_unless(low <= value <= high, name, f"from {low} to {high}", value)


def check_stop(stop: str | list[str] | None, limits: LimitSettings) -> tuple[str, ...]:
    """Return the stop sequences; raises Refusal for too many, an empty one, or one too long."""
    sequences = (stop,) if isinstance(stop, str) else tuple(stop or ())
    limit(len(sequences), limits.stop_max, "stop", "sequences")
    for sequence in sequences:
        refuse_unless(sequence != "", "stop", "without empty sequences", sequence)
        limit(len(sequence.encode()), limits.stop_bytes_max, "stop", "bytes in one sequence")
    return sequences


def check_logit_bias(bias: dict[str, float] | None, limits: LimitSettings) -> tuple[tuple[int, float], ...]:
    """Return (token id, bias) pairs; raises Refusal."""
    if not bias:
        return ()
    limit(len(bias), limits.logit_bias_max, "logit_bias", "entries")
    pairs = []
    for token, value in bias.items():
        refuse_unless(
            token.isascii() and token.isdigit() and len(token) < 10, "logit_bias", "keyed by token ids", token[:20]
        )
        refuse_unless(-100 <= value <= 100, f"logit_bias.{token}", "from -100 to 100", value)
        pairs.append((int(token), value))
    return tuple(pairs)


def check_output_tokens(count: int | None, limits: LimitSettings, param: str) -> int | None:
    """Return the bound on output tokens; raises Refusal for less than one or too many."""
    if count is not None:
        refuse_unless(count >= 1, param, "at least 1", count)
        limit(count, limits.output_tokens_max, param, "tokens")
    return count
