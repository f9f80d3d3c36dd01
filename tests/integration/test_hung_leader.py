"""Of processes that wait for the lock of who leads, one leads; when it hangs it is ended, and another one leads."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fastness.config import Settings
from fastness.config.settings import ControlSettings
from fastness.control.leading import leader
from fastness.fleet.process import Process
from fastness.fleet.supervised import Ending
from fastness.main.controls import controls

SILENT_S = 1.0
LEADS = """
import socket, sys, pathlib, os
from fastness.control.leading import lead
home, path = sys.argv[1:]
lock = lead(pathlib.Path(home), lambda _: None)
pathlib.Path(path).unlink(missing_ok=True)
with socket.socket(socket.AF_UNIX) as listener:
    listener.bind(path)
    listener.listen(16)
    while True:
        with listener.accept()[0] as asked:
            asked.recv(65536)
            asked.sendall(b"HTTP/1.1 200 OK\\r\\ncontent-length: 0\\r\\nconnection: close\\r\\n\\r\\n")
"""


@pytest.mark.slow
def test_one_that_leads_and_hangs_is_ended_and_the_next_one_leads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start, where = Process.start, tmp_path / "control.sock"

    async def stand_in(_argv: Any, environ: dict[str, str], **_: Any) -> Process:
        return await start([sys.executable, "-c", LEADS, str(tmp_path), str(where)], environ)

    async def until(condition: Callable[[], Any]) -> None:
        async with asyncio.timeout(60):
            while not condition():
                await asyncio.sleep(0.01)

    async def journey() -> None:
        settings = Settings(tmp_path, control=ControlSettings(standbys=1, silence_max_s=SILENT_S))
        kept = controls(settings, where, lambda: None)
        for one in kept:
            one.begin()
        try:
            await until(lambda: all(one.state.value == "ready" for one in kept))
            first = leader(tmp_path)
            assert first in {one.pid for one in kept}
            os.kill(first, signal.SIGSTOP)
            await until(lambda: leader(tmp_path) != first)
            await until(lambda: all(one.state.value == "ready" and one.pid != first for one in kept))
            assert leader(tmp_path) in {one.pid for one in kept}
            assert Ending.HUNG in {one.ending for one in kept}
        finally:
            await asyncio.gather(*(one.stop() for one in kept))

    monkeypatch.setattr(Process, "start", stand_in)
    asyncio.run(journey())
