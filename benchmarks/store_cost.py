"""What a store costs a request: `python -m benchmarks.store_cost --postgresql URL [--requests 2000]`.

One gateway as it ships, a real control process beside it, limits that are counted and leased, and the store in SQLite,
then in the PostgreSQL of that URL (an empty database). The gateway's user instructions a request are counted by
valgrind; on a machine that is too busy for that it says so. What control does meanwhile is not on the way of a request:
its CPU seconds for each 1,000 requests are printed beside it, and those do depend on what else runs.
"""

from __future__ import annotations

import argparse
import http.client
import os
import socket
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from benchmarks import processes
from benchmarks.bodies import CHAT_PATH, sized_body
from benchmarks.figures import median, table
from benchmarks.gateway import callgrind
from benchmarks.gateway.cases import WHOLE, job
from benchmarks.gateway.subjects import FASTNESS, SLOTS, Engines, Subject, engines
from benchmarks.gateway_process import prepare
from fastness.config import run_directory

START_TIMEOUT_S = 240.0
"""Under valgrind, on a machine that is busy with other things."""
CONTROL = ("-c", "from fastness.main import main; main()", "control")
MANY = 10**9
"""A limit that is never reached: what counting costs is to be seen."""


class _Inside(http.client.HTTPConnection):
    """A connection to control's Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("control")
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(str(self._path))


@contextmanager
def running(folder: Path, behind: Engines, url: str, under: Sequence[str] = ()) -> Iterator[tuple[Subject, int]]:
    """Run control with the store at `url` (empty: SQLite), and a gateway; give the gateway and control's process id."""
    home = Path(tempfile.mkdtemp(prefix="home-", dir=folder))
    prepare(home, {name: (engine, *behind.sockets) for name, engine in FASTNESS.items()}, SLOTS)
    environ = {"FASTNESS_HOME": str(home)} | ({"FASTNESS__STORE__URL": url} if url else {})
    path = run_directory(home, os.getuid()) / "control.sock"
    with processes.running(*CONTROL, environ=os.environ | environ, grace_s=20.0) as control:
        key = _introduced(path)
        program, *argv = [*under, sys.executable, "-m", "benchmarks.gateway_process", str(home)]
        with processes.running(*argv, program=program, quiet=bool(under), grace_s=40.0) as process:
            port = int(processes.line_of(process))
            _until_ready(port)
            yield Subject("fastness", "this", port, process.pid, "fastness", key), control.pid


def instructions(folder: Path, behind: Engines, url: str) -> float:
    """Return the gateway's user instructions a request, without what it does in so much time, busy or not.

    Leases are renewed and snapshots looked at by the second, not by the request; on a slow machine that would be most
    of it. So the same time passes once more with few requests, and what they cost less is what the others cost.
    """
    with callgrind.place(folder) as into, running(folder, behind, url, callgrind.under(into)) as (subject, _):
        callgrind.steer(subject, "-i", "on")
        _warmed_up(subject)
        began = time.perf_counter()
        busy = callgrind.counted(subject, WHOLE, callgrind.REQUESTS, into)
        took_s = time.perf_counter() - began
        few: list[int] = []
        calm = callgrind.watched(subject, into, lambda: few.append(_trickle(subject, took_s)))
        callgrind.steer(subject, "-i", "off")
    if calm > busy / 2:
        raise RuntimeError(f"the machine is too busy: {callgrind.REQUESTS} requests took {took_s:.0f} s")
    return (busy - calm) / (callgrind.REQUESTS - few[0])


def _warmed_up(subject: Subject) -> None:
    """Ask until all is answered: watched as it is, a first lease may be later than it is waited for."""
    for _ in range(10):
        with suppress(RuntimeError):
            callgrind.ask(subject, WHOLE, callgrind.WARM_UP)
            return
    raise RuntimeError("under callgrind answers go on failing: the machine is too busy")


def _trickle(subject: Subject, for_s: float) -> int:
    """Ask now and then, so that no lease lies idle, for so long; return how often."""
    body = sized_body(subject.model, 2_048, stream=False)
    head = {"authorization": f"Bearer {subject.key}", "content-type": "application/json"}
    until, count = time.perf_counter() + for_s, 0
    while time.perf_counter() < until:
        connection = http.client.HTTPConnection("127.0.0.1", subject.port, timeout=START_TIMEOUT_S)
        connection.request("POST", CHAT_PATH, body, head)
        answer = connection.getresponse()
        said = answer.read()
        connection.close()
        assert answer.status == 200, said
        count += 1
        time.sleep(min(2.5, max(0.5, for_s / 40)))
    return count


def control_cpu_s(folder: Path, behind: Engines, url: str, requests: int) -> float:
    """Return control's CPU seconds for each 1,000 requests at full speed, its counting of them included."""
    with running(folder, behind, url) as (subject, control):
        asked = job(subject, WHOLE, 0.0)
        asked.requests = requests
        before_s = processes.cpu_s(control)
        with processes.load(asked) as client:
            seen = client.go()
        time.sleep(2.5)  # by then the last of them are counted
        assert not seen.failures, seen.failures
        return (processes.cpu_s(control) - before_s) / requests * 1_000


def _introduced(path: Path) -> str:
    """Make a tenant with limits and a key; return the key's text."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            _post(path, "/tenants", {"id": "bench"})
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            break
    bounds = ("requests_per_minute", "tokens_per_minute", "requests_per_day", "tokens_per_day", "concurrent")
    _post(path, "/limits", {"tenant": "bench", **dict.fromkeys(bounds, MANY)})
    return str(_post(path, "/keys", {"tenant": "bench", "name": "bench"})["key"])


def _post(path: Path, route: str, body: dict[str, object]) -> dict[str, object]:
    connection = _Inside(path)
    try:
        head = {"content-type": "application/json"}
        connection.request("POST", f"/api/v1{route}", msgspec.json.encode(body), head)
        answer = connection.getresponse()
        said = answer.read()
        assert answer.status < 300, said
        return dict(msgspec.json.decode(said))
    finally:
        connection.close()


def _until_ready(port: int) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=START_TIMEOUT_S)
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        answer.read()
        connection.close()
        if answer.status == 200:
            return
        assert time.monotonic() < deadline, "the gateway does not become ready"
        time.sleep(0.1)


def main() -> None:
    """Measure both, and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--postgresql", required=True, help="URL of an empty database, as store.url")
    parser.add_argument("--rounds", type=int, default=3, help="of each, in turns; medians are printed")
    parser.add_argument("--requests", type=int, default=2_000, help="for control's CPU")
    chosen = parser.parse_args()
    stores = {"SQLite": "", "PostgreSQL": chosen.postgresql}
    counts: dict[str, list[float]] = {name: [] for name in stores}
    cpu_s: dict[str, list[float]] = {name: [] for name in stores}
    with tempfile.TemporaryDirectory(prefix="fst-store-") as folder, engines(Path(folder)) as behind:
        for _ in range(chosen.rounds):
            for name, url in stores.items():
                _forget(url)
                counts[name].append(instructions(Path(folder), behind, url))
                _forget(url)
                cpu_s[name].append(control_cpu_s(Path(folder), behind, url, chosen.requests))
    rows = [
        (name, f"{median(counts[name]):,.0f}", f"{median(counts[name]) / median(counts['SQLite']):.3f}",
         f"{min(counts[name]):,.0f} to {max(counts[name]):,.0f}", f"{median(cpu_s[name]):.3f}")
        for name in stores
    ]  # fmt: skip
    head = ("store", "gateway, instructions a request", "ratio", "of the rounds", "control, CPU-s for 1,000 requests")
    print(table(head, rows))


def _forget(url: str) -> None:
    """Empty the database between two homes: each has a ledger of its own, and the store counts in these."""
    if url:
        from sqlalchemy import text

        from fastness.store.database import Database

        database = Database.open(url)
        with database.transaction() as connection:
            for name in ("quota_lines", "quota_gateways", "limits", "api_keys", "tenants"):
                connection.execute(text(f"DELETE FROM {name}"))
        database.close()


if __name__ == "__main__":
    main()
