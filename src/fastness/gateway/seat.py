"""The engine slot that a generation runs on: no tenant and no label ever builds on another's prompt (law 12)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Final

from fastness.core.replica import Replica
from fastness.core.request import Generation
from fastness.engines.port import Dialect
from fastness.gateway.trip import Trip
from fastness.traffic.engine_slots import Prompt

PART_CHARS: Final = 512
PART_TOKENS: Final = 64
"""How a prompt that is not a list of messages is cut into parts, to be compared with others."""


@contextmanager
def seated(trip: Trip, dialect: Dialect, taken: Replica, work: Generation) -> Iterator[Generation]:
    """Give `work` a slot of the replica's engine for the length of a block, where its slots remember prompts."""
    if not dialect.pins_slots:
        yield work
        return
    assert trip.served and trip.principal and trip.mark
    slots = trip.served.slots_of(taken)
    seat = slots.take((trip.principal.tenant, trip.mark.label), _parts(work))
    if seat is None:  # the queue sends no more than there are slots, so this is a defect; and none may share one
        raise RuntimeError("more generations than slots")
    try:
        yield replace(work, slot=seat.number, cache_prompt=seat.reuse)
    finally:
        slots.give(seat.number)


def _parts(work: Generation) -> Prompt:
    if work.prompt is None:
        return tuple(hash((message.role, message.content)) for message in work.messages)
    size = PART_CHARS if isinstance(work.prompt, str) else PART_TOKENS
    return tuple(hash(work.prompt[start : start + size]) for start in range(0, len(work.prompt), size))
