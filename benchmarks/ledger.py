"""What the ledger costs: entries a second and CPU an entry, beside a bare write + fdatasync loop in the same run.

Run `python -m benchmarks.ledger [--seconds 2] [--directory DIR] [--loop asyncio|uvloop]`. CPU is of this whole
process: it includes the loop of the committers, and, in the kernel's column, the file system's part of each fsync.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import uvloop

from fastness.config import LedgerSettings
from fastness.core.event import Event, EventType
from fastness.ledger.entry import draft, genesis, seal
from fastness.ledger.file import FileLedger
from fastness.ledger.port import LedgerUnavailable, Position
from fastness.ledger.segments import FileOperations
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

    def __str__(self) -> str:
        return in_columns(
            (
                self.what,
                str(self.at_once),
                f"{self.entries / self.seconds:,.0f}",
                f"{self.entries / self.syncs:.1f}",
                f"{self.latency_ms:.2f}",
                f"{self.user_us:.1f}",
                f"{self.system_us:.1f}",
            )
        )


WIDTHS = (22, -8, -12, -15, -10, -12, -14)
HEADINGS = ("", "at once", "entries/s", "entries/fsync", "ms (p50)", "user us/e.", "kernel us/e.")


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


async def through_ledger(
    what: str, committing: Callable[..., object], directory: Path, at_once: int, seconds: float
) -> Row:
    files = CountedOperations()
    ledger = FileLedger.open(
        directory / f"{what.split()[-1].strip('()').replace('_', '-')}-{at_once}",
        "bench",
        LedgerSettings(1_024, 65_536, 67_108_864),
        lambda: int(time.time() * 1_000),
        files,
    )
    before, watch = files.syncs, Stopwatch()
    latencies_s = await committing(ledger, at_once, time.perf_counter() + seconds)  # type: ignore[misc]
    row = watch.row(what, at_once, files.syncs - before, latencies_s)
    await ledger.close()
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0, help="for each row")
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
            print(bare(directory, at_once, chosen.seconds), flush=True)
            for what, committing in (("ledger commit", by_await), ("ledger commit_then", by_callback)):
                with asyncio.Runner(loop_factory=factory) as runner:
                    print(runner.run(through_ledger(what, committing, directory, at_once, chosen.seconds)), flush=True)
        began = time.perf_counter()
        report = verify(directory)
        entries, seconds = sum(log.entries for log in report.logs), time.perf_counter() - began
        print(f"\nverify: {entries:,} entries, sound: {report.sound}, {entries / seconds:,.0f} entries/s")


if __name__ == "__main__":
    main()
