"""What the ledger costs: entries a second and CPU an entry, beside a bare write + fdatasync loop in the same run.

Run `python -m benchmarks.ledger [--seconds 2] [--entries 1000000] [--directory DIR] [--loop asyncio|uvloop]`. CPU is of
this whole process: it includes the loop of the committers, the notary where the log is signed, and, in the kernel's
column, the file system's part of each fsync. What the loop writes is synced by the kernel, and nobody counts that.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import uvloop

from fastness.config import LedgerSettings
from fastness.core.event import Event, EventType
from fastness.ledger.entry import draft, genesis, seal
from fastness.ledger.file import FileLedger
from fastness.ledger.log_key import LogKey
from fastness.ledger.loop import LoopLedger
from fastness.ledger.notary import Notary, Signing
from fastness.ledger.port import LedgerUnavailable, Position
from fastness.ledger.segments import FileOperations, Segments
from fastness.ledger.stored_log import StoredLog
from fastness.ledger.verify import verify

COMMITTERS = (1, 16, 64, 256)
EVENT = Event(
    EventType.INFERENCE_COMPLETED,
    1_763_800_000_000,
    {
        "request_id": "req_0123456789abcdef01234567",
        "tenant": "health",
        "key": "key_0123456789",
        "operation": "chat",
        "model": "smollm2-135m-instruct",
        "stream": True,
        "model_digest": "b179c952" * 8,
        "replica": "smollm2-135m-instruct-0",
        "epoch": 3,
        "sealed": True,
        "choices": 1,
        "input_tokens": 812,
        "output_tokens": 128,
        "cached_tokens": 0,
        "queue_ms": 2,
        "ttft_ms": 80,
        "total_ms": 912,
        "finish": "stop",
    },
)


@dataclass(frozen=True, slots=True)
class Row:
    what: str
    at_once: int
    entries: int
    syncs: int
    seconds: float
    latency_ms: float
    user_us: float
    system_us: float

    def beside(self, bare: Row) -> str:
        """Write it in columns, with its rate as a part of that of the bare loop."""
        rate = self.entries / self.seconds
        return in_columns(
            (
                self.what,
                str(self.at_once),
                f"{rate:,.0f}",
                f"{rate / (bare.entries / bare.seconds):.2f}",
                f"{self.entries / self.syncs:.1f}"
                if self.what == "bare write + fdatasync" or "thread" in self.what
                else "",
                f"{self.latency_ms:.2f}",
                f"{self.user_us:.1f}",
                f"{self.system_us:.1f}",
            )
        )


WIDTHS = (24, -8, -12, -10, -15, -10, -12, -14)
HEADINGS = ("", "at once", "entries/s", "of bare", "entries/fsync", "ms (p50)", "user us/e.", "kernel us/e.")


def in_columns(cells: tuple[str, ...]) -> str:
    return "".join(f"{cell:{'>' if width < 0 else '<'}{abs(width)}}" for cell, width in zip(cells, WIDTHS, strict=True))


class CountedOperations(FileOperations):
    syncs = 0

    def sync(self, fd: int) -> None:
        self.syncs += 1
        super().sync(fd)


class Stopwatch:
    def __init__(self) -> None:
        self._began, self._usage = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)

    def row(self, what: str, at_once: int, syncs: int, latencies_s: list[float]) -> Row:
        seconds, usage = time.perf_counter() - self._began, resource.getrusage(resource.RUSAGE_SELF)
        entries = len(latencies_s)
        return Row(
            what,
            at_once,
            entries,
            syncs,
            seconds,
            statistics.median(latencies_s) * 1_000,
            (usage.ru_utime - self._usage.ru_utime) * 1e6 / entries,
            (usage.ru_stime - self._usage.ru_stime) * 1e6 / entries,
        )


def bare(directory: Path, at_once: int, seconds: float) -> Row:
    """No ledger: one thread writes the bytes of `at_once` ready entries, syncs, and begins again."""
    line, _ = seal(draft(EVENT.type, EVENT.time_ms, EVENT.fields), 100_000, genesis("bare"))
    fd = os.open(directory / f"bare-{at_once}", os.O_WRONLY | os.O_CREAT, 0o600)
    latencies_s: list[float] = []
    offset, syncs, watch, end = 0, 0, Stopwatch(), time.perf_counter() + seconds
    while (began := time.perf_counter()) < end:
        offset += os.pwrite(fd, line * at_once, offset)
        os.fdatasync(fd)
        syncs += 1
        latencies_s += [time.perf_counter() - began] * at_once
    os.close(fd)
    return watch.row("bare write + fdatasync", at_once, syncs, latencies_s)


async def by_await(ledger: FileLedger, at_once: int, end: float) -> list[float]:
    latencies_s: list[float] = []

    async def committer() -> None:
        while (began := time.perf_counter()) < end:
            await ledger.commit(EVENT)
            latencies_s.append(time.perf_counter() - began)

    await asyncio.gather(*(committer() for _ in range(at_once)))
    return latencies_s


async def by_callback(ledger: FileLedger, at_once: int, end: float) -> list[float]:
    latencies_s: list[float] = []
    finished, running = asyncio.get_running_loop().create_future(), at_once

    def commit() -> None:
        began = time.perf_counter()

        def done(outcome: Position | LedgerUnavailable) -> None:
            nonlocal running
            if isinstance(outcome, LedgerUnavailable):
                finished.set_exception(outcome)
                return
            now = time.perf_counter()
            latencies_s.append(now - began)
            if now < end:
                commit()
            elif (running := running - 1) == 0:
                finished.set_result(None)

        ledger.commit_then(EVENT, done)

    for _ in range(at_once):
        commit()
    await finished
    return latencies_s


@dataclass(frozen=True, slots=True)
class Kind:
    """A ledger as it is measured: who writes, and whether it is signed meanwhile."""

    what: str
    opens: type[FileLedger]
    committing: Callable[[FileLedger, int, float], Awaitable[list[float]]]
    signed: bool


KINDS = (
    Kind("thread, await", FileLedger, by_await, signed=False),
    Kind("thread, callback", FileLedger, by_callback, signed=False),
    Kind("loop, callback", LoopLedger, by_callback, signed=False),
    Kind("loop, callback, signed", LoopLedger, by_callback, signed=True),
)
"""The last is what a gateway has."""


def opened(kind: Kind, directory: Path, files: FileOperations) -> FileLedger:
    signing = Signing(LogKey(os.urandom(32), os.urandom(32)), "bench.example") if kind.signed else None
    settings = LedgerSettings(1_024, 65_536, 67_108_864)
    return kind.opens.open(directory, "bench", settings, lambda: int(time.time() * 1_000), files, signing)


async def through_ledger(kind: Kind, directory: Path, at_once: int, seconds: float) -> Row:
    files = CountedOperations()
    ledger = opened(kind, directory / f"{KINDS.index(kind)}-{at_once}", files)
    before, watch = files.syncs, Stopwatch()
    latencies_s = await kind.committing(ledger, at_once, time.perf_counter() + seconds)
    row = watch.row(kind.what, at_once, files.syncs - before, latencies_s)
    await ledger.close()
    return row


async def at_a_rate(directory: Path, rate: int, seconds: float) -> str:
    """Commit so many entries a second, evenly, whatever the ledger does: what an answer waits for its entry."""
    ledger = opened(KINDS[-1], directory / f"rate-{rate}", FileOperations())
    loop, waits_s = asyncio.get_running_loop(), list[float]()
    began, total = loop.time(), int(rate * seconds)
    for number in range(total):
        due = began + number / rate
        while (left := due - loop.time()) > 0:
            await asyncio.sleep(left)
        ledger.commit_then(EVENT, lambda _, due=due: waits_s.append(loop.time() - due))
    while len(waits_s) < total:
        await asyncio.sleep(0.01)
    await ledger.close()
    p50, p99 = (statistics.quantiles(waits_s, n=100)[at - 1] * 1_000 for at in (50, 99))
    return f"at {rate:,} entries/s, signed: an answer waits {p50:.2f} ms (p50), {p99:.2f} ms (p99)"


def long_log(directory: Path, entries: int) -> str:
    """What it takes to take up, to prove from and to verify a long log."""
    segments = Segments(directory, "long", 67_108_864, lambda: 0, FileOperations())
    batch = [draft(EVENT.type, EVENT.time_ms, EVENT.fields)] * 10_000
    for _ in range(entries // len(batch)):
        segments.append(batch)
    segments.close()
    signing = Signing(LogKey(os.urandom(32), os.urandom(32)), "bench.example")
    lines = []

    def timed(what: str, work: Callable[[], object], times: int = 1) -> None:
        began, cpu = time.perf_counter(), time.process_time()
        for _ in range(times):
            work()
        took, busy = (time.perf_counter() - began) / times, (time.process_time() - cpu) / times
        lines.append(f"  {what:<44}{took * 1_000:>12,.2f} ms{busy * 1_000:>12,.2f} ms of CPU")

    def take_up() -> None:
        while True:
            Notary(directory, "long", entries, signing, FileOperations()).close(entries)
            if StoredLog(directory).checkpoint()[1].size == entries:
                return

    timed("hash and sign all of it, once", take_up)
    timed("open it again", lambda: Notary(directory, "long", entries, signing, FileOperations()).close(entries), 20)
    log, indices = StoredLog(directory), itertools.cycle(range(0, entries, 7_919))

    def one() -> None:
        log.entry(index := next(indices))
        log.prove(index)

    timed("one entry with its proof", one, 200)
    timed("verify all of it", lambda: verify(directory))
    return f"{entries:,} entries\n" + "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0, help="for each row")
    parser.add_argument("--entries", type=int, default=1_000_000, help="of the long log; 0: leave it out")
    parser.add_argument("--directory", type=Path, help="on the disk to be measured")
    parser.add_argument("--loop", choices=("uvloop", "asyncio"), default="uvloop")
    chosen = parser.parse_args()
    factory = uvloop.new_event_loop if chosen.loop == "uvloop" else asyncio.new_event_loop
    with tempfile.TemporaryDirectory(dir=chosen.directory) as temporary:
        directory = Path(temporary)
        line, _ = seal(draft(EVENT.type, EVENT.time_ms, EVENT.fields), 100_000, genesis("bare"))
        print(
            f"ledger: entries of {len(line)} bytes, {len(EVENT.fields)} fields, {chosen.loop}\n{in_columns(HEADINGS)}"
        )
        for at_once in COMMITTERS:
            alone = bare(directory, at_once, chosen.seconds)
            print(alone.beside(alone), flush=True)
            for kind in KINDS:
                with asyncio.Runner(loop_factory=factory) as runner:
                    row = runner.run(through_ledger(kind, directory, at_once, chosen.seconds))
                    print(row.beside(alone), flush=True)
        with asyncio.Runner(loop_factory=factory) as runner:
            print("\n" + runner.run(at_a_rate(directory, 1_000, chosen.seconds * 3)), flush=True)
        if chosen.entries:
            print("\n" + long_log(directory / "long", chosen.entries))


if __name__ == "__main__":
    main()
