"""The control process: the management API under uvicorn, on a Unix socket that only its owner may open."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import uvicorn

from fastness.control.api import ControlDeps, build_app

DRAIN_TIMEOUT_S: Final = 5
"""How long running requests may finish after SIGTERM."""
IDLE_TIMEOUT_S: Final = 5
CONNECTIONS_MAX: Final = 256
BACKLOG: Final = 64
_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


class SocketUnavailable(Exception):  # noqa: N818 - a state of the machine
    """The control socket cannot be had; the message says why."""


async def serve(deps: ControlDeps, socket_path: Path) -> None:
    """Answer the management API on `socket_path` until SIGTERM or SIGINT; then finish what runs and return.

    Closes `deps.access` at the end, and removes the socket. Run it with `uvloop.run`. Raises SocketUnavailable.
    """
    listener = _listen(socket_path)
    config = uvicorn.Config(
        build_app(deps, process=True),
        http="httptools",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        backlog=BACKLOG,
        limit_concurrency=CONNECTIONS_MAX,
        timeout_keep_alive=IDLE_TIMEOUT_S,
        timeout_graceful_shutdown=DRAIN_TIMEOUT_S,
    )
    server = _Server(config)
    loop = asyncio.get_running_loop()
    for number in _SIGNALS:
        loop.add_signal_handler(number, server.leave)
    try:
        await server.serve(sockets=[listener])
    finally:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)
        listener.close()
        _remove(socket_path)


class _Server(uvicorn.Server):
    """uvicorn raises SIGTERM anew when it has ended, which would end the process before the ledger's last entry."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to `serve`."""
        yield

    def leave(self) -> None:
        """End after the requests that run."""
        self.should_exit = True


def _listen(path: Path) -> socket.socket:
    """Bind ourselves: uvicorn would open the socket to every user of the machine."""
    if _answers(path):
        raise SocketUnavailable(f"Another control process answers on {path}. Stop it first: fastness stop")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        path.unlink(missing_ok=True)
        listener.bind(str(path))
    except OSError as error:
        listener.close()
        raise SocketUnavailable(
            f"{path} cannot be made: {error}. Needed: a directory of our own, and a path of at most 107 bytes."
        ) from error
    finally:
        os.umask(before)
    listener.setblocking(False)
    return listener


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
        return True
