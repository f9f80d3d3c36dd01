"""Logs as the static files of C2SP tlog-tiles: what any reader of transparency logs fetches, read and never written."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

from starlette.requests import Request

from fastness.control import wire
from fastness.control.problem import Problem
from fastness.control.routes import Answer, Bytes, Table
from fastness.core.ids import is_name
from fastness.core.policy import Action
from fastness.ledger.port import LedgerCorrupt
from fastness.ledger.stored_log import StoredLog
from fastness.ledger.stored_tree import TreeDamaged
from fastness.ledger.tiles import Tile, parse_tile
from fastness.ledger.vouching import KEYS_NAME

FOREVER: Final = "private, max-age=31536000, immutable"
MOMENT: Final = "private, max-age=1"


class LedgerTiles:
    """The routes. Logs are below `directory`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    async def logs(self, request: Request) -> Answer:
        """GET /ledger/logs."""
        wire.read_query(request)
        return 200, {"logs": await asyncio.to_thread(self._signed)}

    async def checkpoint(self, request: Request) -> Answer:
        """GET /ledger/logs/{log}/checkpoint."""
        wire.read_query(request)
        note, _ = await asyncio.to_thread(self._log(request).checkpoint)
        return 200, Bytes(str(note).encode(), "text/plain; charset=utf-8", MOMENT)

    async def tile(self, request: Request) -> Answer:
        """GET /ledger/logs/{log}/tile/{path}."""
        wire.read_query(request)
        path = f"tile/{request.path_params['path']}"
        try:
            tile = parse_tile(path)
        except ValueError as error:
            raise Problem(
                "not_found",
                f"{error}.".capitalize(),
                "Paths are those of c2sp.org/tlog-tiles: tile/<level>/<N>[.p/<width>], tile/entries/<N>[.p/<width>].",
                param="path",
            ) from None
        return 200, Bytes(await asyncio.to_thread(_read, self._log(request), tile), "application/octet-stream", FOREVER)

    def _log(self, request: Request) -> StoredLog:
        log = request.path_params["log"]
        if not is_name(log) or log not in self._signed():
            raise Problem(
                "not_found",
                f"There is no signed log {log[:80]!r}; there are {', '.join(self._signed()) or 'none'}.",
                "GET /api/v1/ledger/logs names them.",
                param="log",
            )
        return StoredLog(self._directory / log)

    def _signed(self) -> list[str]:
        return sorted(path.parent.name for path in self._directory.glob(f"*/{KEYS_NAME}"))


def _read(log: StoredLog, tile: Tile) -> bytes:
    try:
        return log.tile(tile)
    except IndexError as error:
        raise Problem(
            "not_found",
            f"There is no such tile: {error}.",
            "Fetch the checkpoint first: it says how many entries there are.",
        ) from None
    except TreeDamaged as error:
        raise LedgerCorrupt(f"{error}: run `fastness ledger verify`.") from None


ROUTES: Final[Table] = (
    ("GET", "/api/v1/ledger/logs", Action.READ, LedgerTiles.logs),
    ("GET", "/api/v1/ledger/logs/{log}/checkpoint", Action.READ, LedgerTiles.checkpoint),
    ("GET", "/api/v1/ledger/logs/{log}/tile/{path:path}", Action.READ, LedgerTiles.tile),
)
"""Every route of this file. A test compares it with docs/reference/management-api.md."""
