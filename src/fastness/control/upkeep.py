"""What the control process does without being asked: it keeps access.json as the store has it, and its log written."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

from fastness.control.access import Access
from fastness.control.failures import Log
from fastness.core.error import Refusal
from fastness.store.port import Unavailable

PUBLISH_PERIOD_S: Final = 1.0
"""How soon a publication that failed, or a change by another control process, reaches the gateways here."""


@asynccontextmanager
async def keep_published(access: Access, log: Log, period_s: float = PUBLISH_PERIOD_S) -> AsyncIterator[None]:
    """Publish at once, which heals a crash between a change and its publication; then watch until the block ends.

    A failure is logged once and tried again: control serves all the same, and gateways go on with what they know.
    """
    failed = await _publish(access, log, None, always=True)
    task = asyncio.create_task(_watch(access, log, failed, period_s))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        log.flush()


async def _watch(access: Access, log: Log, failed: str | None, period_s: float) -> None:
    while True:
        await asyncio.sleep(period_s)
        failed = await _publish(access, log, failed)
        log.flush()


async def _publish(access: Access, log: Log, failed: str | None, *, always: bool = False) -> str | None:
    """Return why it failed, or None; what failed the same way before is not logged again."""
    try:
        await access.publish(always=always)
    except (Refusal, Unavailable) as error:
        reason = str(error)
        if reason != failed:
            log.record("error", "access.not_published", reason=reason)
        return reason
    if failed is not None:
        log.record("info", "access.published")
    return None
