"""The room as it runs: the runner, and the routes under uvicorn on a Unix socket that only its owner may open.

For now it lives in the control process, which enters `serving`; it shares nothing with it but the ledger.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Final

import uvicorn

from fastness.batches.api import Api, build_app
from fastness.batches.asking import GatewayDoor
from fastness.batches.keeping import Keeping
from fastness.batches.line_work import LineWork
from fastness.batches.overview import Overview
from fastness.batches.runner import Log, Runner
from fastness.batches.shelf import Shelf
from fastness.batches.vault import Vault
from fastness.config import Settings
from fastness.core.batch import SOCKET_NAME
from fastness.core.gateways import gateway_names, socket_of
from fastness.ledger.port import Ledger

FORM_BYTES: Final = 65_536
"""What a form needs beyond its file."""
CONNECTIONS_MAX: Final = 1_024
DRAIN_TIMEOUT_S: Final = 5
_BACKLOG: Final = 128


class _Server(uvicorn.Server):
    """uvicorn, without its hands on the signals of a process that is not its own."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to the process."""
        yield


@asynccontextmanager
async def serving(
    settings: Settings, run: Path, secret: bytes, ledger: Ledger, log: Log, clock: Callable[[], float]
) -> AsyncIterator[Overview]:
    """Serve files and batches, and work batches off, until the block ends."""
    vault = Vault(secret, os.urandom)
    shelf = Shelf(settings.home / "batches", vault)

    def unreadable(record: str) -> None:
        log.record("error", "batch.unreadable", reason=record)

    def defect(error: Exception) -> None:
        log.record("error", "defect", reason=type(error).__name__, where="batches.api")

    await asyncio.to_thread(shelf.load, unreadable)
    traffic = settings.traffic
    sockets = [run / socket_of(name) for name in gateway_names(settings.gateway.processes)]
    door = GatewayDoor(sockets, traffic.queue_timeout_s + 2 * traffic.answer_timeout_s)
    runner = Runner(shelf, settings.batch, LineWork(door, settings.batch.concurrency), ledger, log, clock)
    keeping = Keeping(shelf, vault, runner, settings.batch, ledger, clock)
    api = Api(keeping, settings.batch.file_bytes_max + FORM_BYTES, defect)
    server = _Server(_config(api))
    listener = _listen(run / SOCKET_NAME)
    tasks = [asyncio.create_task(server.serve(sockets=[listener])), asyncio.create_task(runner.run())]
    try:
        yield Overview(shelf, runner)
    finally:
        server.should_exit = True
        await tasks[0]
        tasks[1].cancel()
        with suppress(asyncio.CancelledError):
            await tasks[1]
        listener.close()
        await door.close()


def _config(api: Api) -> uvicorn.Config:
    return uvicorn.Config(
        build_app(api),
        http="httptools",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        backlog=_BACKLOG,
        limit_concurrency=CONNECTIONS_MAX,
        timeout_graceful_shutdown=DRAIN_TIMEOUT_S,
    )


def _listen(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.unlink(missing_ok=True)
        listener.bind(str(path))
        path.chmod(0o600)
    except OSError:
        listener.close()
        raise
    listener.setblocking(False)
    return listener
