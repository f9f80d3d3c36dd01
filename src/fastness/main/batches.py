"""Files and batches, composed: a room of its own, which lives in the control process for now."""

from __future__ import annotations

import time
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from fastness.config import Settings

if TYPE_CHECKING:
    from fastness.ledger.port import Ledger
    from fastness.telemetry.log import JsonLog


def serve_batches(
    settings: Settings, run: Path, secret: bytes, ledger: Ledger, log: JsonLog
) -> AbstractAsyncContextManager[None]:
    """Serve files and batches for the length of a block; `secret` is the installation's pepper."""
    from fastness.batches.process import serving

    return serving(settings, run, secret, ledger, log, time.time)
