"""Files and batches, composed: a room of its own, which lives in the control process for now."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from fastness.config import Settings

if TYPE_CHECKING:
    from fastness.batches.overview import Overview
    from fastness.control.routes import ApiRoute
    from fastness.ledger.port import Ledger
    from fastness.telemetry.log import JsonLog


class HostedBatches:
    """The room for the length of a block, and the routes that show it to operators. `secret` is the pepper."""

    def __init__(self, settings: Settings, run: Path, secret: bytes, ledger: Ledger, log: JsonLog) -> None:
        self._parts = settings, run, secret, ledger, log
        self._overview: Overview | None = None

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[None]:
        """Serve files and batches until the block ends."""
        from fastness.batches.process import serving

        async with serving(*self._parts, time.time) as self._overview:
            yield
        self._overview = None

    def routes(self) -> tuple[ApiRoute, ...]:
        """Return the routes of the management API."""
        from fastness.control.kept import ROUTES, KeptApi
        from fastness.control.routes import bound

        return bound(ROUTES, KeptApi(lambda: self._overview))
