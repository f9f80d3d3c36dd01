"""Limits and quotas, composed."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastness.control.access import Access
    from fastness.control.failures import Log
    from fastness.control.routes import ApiRoute
    from fastness.ledger.port import Ledger
    from fastness.store.sql import SqlStore

Companion = Callable[[], AbstractAsyncContextManager[object]]


def limits(
    home: Path, store: SqlStore, access: Access, ledger: Ledger, log: Log
) -> tuple[tuple[ApiRoute, ...], Companion]:
    """Build the routes of limits, and what counts the gateways' ledgers while the control process runs."""
    from fastness.control.limits import LimitCommands
    from fastness.control.limits_api import ROUTES, LimitsApi
    from fastness.control.quotas import Quotas
    from fastness.control.routes import bound
    from fastness.store.limits import SqlLimitStore

    book = SqlLimitStore(store.database)
    quotas = Quotas(book, store, home / "ledger", time.time, log)
    commands = LimitCommands(book, access, ledger, time.time)
    return bound(ROUTES, LimitsApi(commands, quotas, access, time.time)), quotas.keep_counting
