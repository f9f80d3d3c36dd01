"""A door as its own process, and programs that run beside it with nothing of this process's rights."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from socket import create_server

from fastness.config import run_directory
from fastness.fleet.door.orders import ORDERS as DOOR_ORDERS
from fastness.fleet.door.orders import REPORT as DOOR_REPORT
from fastness.fleet.door.orders import DoorOrders, DoorReport
from fastness.identity.cluster.membership import Membership
from fastness.store.snapshot_file import SnapshotReader, write_snapshot

TESTS = Path(__file__).parents[1]


def free_port() -> int:
    with create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
    return port


class DoorProcess:
    """`fastness door` for the host whose folder is `home/cluster`."""

    def __init__(self, own: Membership, port: int) -> None:
        self.home, self.port = own.folder.parent, port
        self.run_directory = run_directory(self.home, os.getuid())
        self.run_directory.mkdir(exist_ok=True, mode=0o700)
        self.process: subprocess.Popen[bytes] | None = None

    def orders(self, orders: DoorOrders) -> None:
        write_snapshot(self.run_directory / DOOR_ORDERS, orders)

    def kill(self) -> None:
        assert self.process
        self.process.kill()
        self.process.wait()

    def report(self) -> DoorReport | None:
        return SnapshotReader(self.run_directory / DOOR_REPORT, DoorReport).poll()

    @property
    def log(self) -> str:
        path = self.home / "logs/door.jsonl"
        return path.read_text() if path.exists() else ""

    def until_logged(self, word: str) -> None:
        deadline = time.monotonic() + 60
        while word not in self.log:
            assert time.monotonic() < deadline, self.log
            time.sleep(0.02)


@contextmanager
def door_process(
    own: Membership, port: int, orders: DoorOrders | None = None, address: str = "127.0.0.1"
) -> Iterator[DoorProcess]:
    found = DoorProcess(own, port)
    if orders is not None:
        found.orders(orders)
    environ = os.environ | {
        "FASTNESS_HOME": str(found.home),
        "FASTNESS__CLUSTER__ADDRESS": address,
        "FASTNESS__CLUSTER__PORT": str(port),
    }
    argv = [sys.executable, "-c", "from fastness.main import main; main()", "door"]
    with subprocess.Popen(argv, env=environ, stdin=subprocess.DEVNULL) as process:
        found.process = process
        try:
            found.until_logged("door.listening")
            yield found
            if process.poll() is None:
                process.terminate()
                assert process.wait(20) == 0
        finally:
            process.kill()


def program(text: str, *arguments: str, timeout_s: float = 60) -> str:
    """Run a program with the tests' own modules at hand; return what it printed."""
    begin = f"import sys; sys.path[:0] = [{str(TESTS)!r}, {str(TESTS / 'unit/gateway_http')!r}]\n"
    argv = [sys.executable, "-W", "error::ResourceWarning", "-c", begin + text, *arguments]
    run = subprocess.run(argv, capture_output=True, text=True, timeout=timeout_s, check=False)
    assert run.returncode == 0, run.stderr + run.stdout
    return run.stdout
