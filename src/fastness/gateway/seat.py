"""The engine slot that a generation runs on: no tenant and no label ever builds on another's prompt (law 12).

Nor does anything build on what was read with another adapter, or with none.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Hashable
from functools import lru_cache
from hashlib import sha256
from typing import Final, NamedTuple

from fastness.core.replica import Replica
from fastness.core.request import Generation
from fastness.engines.port import Dialect
from fastness.gateway.trip import Trip
from fastness.traffic.engine_slots import EngineSlots
from fastness.traffic.prompt import Prompt

SALTS_MAX: Final = 4_096
"""Owners whose salts are kept at hand."""


def take_seat(trip: Trip, dialect: Dialect, taken: Replica, work: Generation, prompt: Prompt) -> Seated:
    """Give `work` a slot of the replica's engine, where its slots remember prompts; `leave` it at the end."""
    if not dialect.pins_slots:
        salt = salt_of(prompt.owner, prompt.adapter) if dialect.salts_prefixes else None
        return Seated(work.placed(cache_salt=salt, adapters=taken.adapters))
    assert trip.served
    slots = trip.served.choosing.slots_of(taken)
    seat = slots.take(prompt)
    if seat is None:  # the queue sends no more than we have slots, so this is a defect; and none may share one
        raise RuntimeError("more generations than slots")
    return Seated(work.placed(slot=seat.number, cache_prompt=seat.reuse, adapters=taken.adapters), slots)


class Seated(NamedTuple):
    """`work` on its seat among `slots`; None: it needs no seat of its own."""

    work: Generation
    slots: EngineSlots | None = None

    def leave(self) -> None:
        """Let another have the seat."""
        if self.slots is not None and self.work.slot is not None:
            self.slots.give(self.work.slot)


@lru_cache(maxsize=SALTS_MAX)
def salt_of(owner: Hashable, adapter: str | None = None) -> str:
    """Name an owner, with the adapter of the prompt, to an engine.

    The same in every gateway and after every start, and not to be read from it. It need not be secret: nobody but a
    gateway reaches an engine, and no caller can set it.
    """
    tenant, label = owner if isinstance(owner, tuple) else (owner, "")
    named = f"{tenant}\0{label}" if adapter is None else f"{tenant}\0{label}\0{adapter}"
    return urlsafe_b64encode(sha256(named.encode()).digest()[:18]).decode()
