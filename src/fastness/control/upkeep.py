"""What the control process does without being asked: it keeps its snapshots as the store has them, its log written."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final, Protocol

from fastness.control.alongside import alongside
from fastness.control.failures import Log
from fastness.core.error import Refusal
from fastness.ledger.port import LedgerUnavailable
from fastness.store.port import Unavailable

PUBLISH_PERIOD_S: Final = 1.0
"""How soon a publication that failed, or a change by another control process, reaches the gateways here."""


class Publish(Protocol):
    """Publishes a snapshot when the store has another version, or the file is gone; raises Refusal,
    Unavailable or LedgerUnavailable."""

    async def __call__(self, *, always: bool = False) -> None:
        """Publish; `always`: whatever was published before."""
        ...


@asynccontextmanager
async def keep_published(
    snapshots: Mapping[str, Publish], log: Log, period_s: float = PUBLISH_PERIOD_S
) -> AsyncIterator[None]:
    """Publish all at once, which heals a crash between a change and its publication; then watch until the block ends.

    A failure is logged once and tried again: control serves all the same, and gateways go on with what they know.
    """
    failed: dict[str, str | None] = {}
    for name, publish in snapshots.items():
        failed[name] = await _publish(name, publish, log, None, always=True)
    try:
        async with alongside(_watch(snapshots, log, failed, period_s)):
            yield
    finally:
        log.flush()


async def _watch(snapshots: Mapping[str, Publish], log: Log, failed: dict[str, str | None], period_s: float) -> None:
    while True:
        await asyncio.sleep(period_s)
        for name, publish in snapshots.items():
            failed[name] = await _publish(name, publish, log, failed[name])
        log.flush()


async def _publish(name: str, publish: Publish, log: Log, failed: str | None, *, always: bool = False) -> str | None:
    """Return why it failed, or None; what failed the same way before is not logged again."""
    try:
        await publish(always=always)
    except (Refusal, Unavailable, LedgerUnavailable) as error:
        reason = str(error)
        if reason != failed:
            log.record("error", f"{name}.not_published", reason=reason)
        return reason
    if failed is not None:
        log.record("info", f"{name}.published")
    return None
