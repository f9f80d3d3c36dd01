"""Models that come with Fastness: no approver of this installation agreed to them. The ledger says so, once for each.

So the chain from an answer back to where its model came from is whole for them, too.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final, Protocol

from fastness.control.alongside import alongside
from fastness.control.failures import Log
from fastness.core.event import Event, EventType, Scalar
from fastness.core.model import ModelCard
from fastness.ledger.port import Ledger, LedgerUnavailable

AGAIN_S: Final = 10.0
"""So long after a failure it is tried again."""


class Knows(Protocol):
    """Tells whether a log has an entry of this type with these values."""

    async def __call__(self, log: str, kind: EventType, *values: object) -> bool:
        """Raises what reading logs raises."""
        ...


@asynccontextmanager
async def record_shipped(
    knows: Knows, ledger: Ledger, shipped: Sequence[ModelCard], version: str, clock: Callable[[], float], log: Log
) -> AsyncIterator[None]:
    """Record what was not recorded yet, until the block ends; nothing waits for it."""
    async with alongside(_record(knows, ledger, shipped, version, clock, log)):
        yield


async def _record(
    knows: Knows, ledger: Ledger, shipped: Sequence[ModelCard], version: str, clock: Callable[[], float], log: Log
) -> None:
    for card in shipped:
        fields: dict[str, Scalar] = {
            "model": card.name,
            "model_digest": card.digest,
            "licence": card.licence,
            "version": version,
        }
        while True:
            try:
                if not await knows("control", EventType.MODEL_SHIPPED, card.digest):
                    await ledger.commit(Event(EventType.MODEL_SHIPPED, int(clock() * 1_000), fields))
                break
            except (LedgerUnavailable, OSError, ValueError) as error:
                log.record("error", "shipped.not_recorded", model=card.name, reason=type(error).__name__)
                await asyncio.sleep(AGAIN_S)
