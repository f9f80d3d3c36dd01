"""Verifying and reading logs. Stands alone: core and the standard library, no writer, no settings, no network."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fastness.ledger.entry import HEAD_NAME, Entry, genesis, parse, segment_numbers, segment_path
from fastness.ledger.port import LedgerCorrupt, Position
from fastness.ledger.reading import Line, find, lines, read, tail
from fastness.ledger.tail import read_head

__all__ = ["Fault", "LogReport", "VerifyReport", "find", "read", "tail", "verify"]

PROGRESS_ENTRIES: Final = 10_000

Progress = Callable[[str, int, int], None]
"""Called now and then with the log's name, the bytes verified of it, and its size in bytes."""


@dataclass(frozen=True, slots=True)
class Fault:
    """The first thing that is wrong with a log: the index of the entry, where its line is, and why it is wrong."""

    index: int
    segment: str
    line: int
    reason: str


@dataclass(frozen=True, slots=True)
class LogReport:
    """What verification found in one log.

    `entries` are those before the first fault, `chain` (hex) the hash after them. `vouched_entries` is how many
    head.json and the positions given vouch for: behind these a cut cannot be seen, nor a change of the last entry.
    `torn_bytes` were being written when the log was read, or left by a crash; the next start cuts and records them.
    """

    log: str
    directory: Path
    entries: int
    segments: int
    size_bytes: int
    chain: str
    vouched_entries: int
    torn_bytes: int
    fault: Fault | None

    @property
    def sound(self) -> bool:
        """Tell whether no fault was found."""
        return self.fault is None


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """The logs below a directory, by path."""

    logs: tuple[LogReport, ...]

    @property
    def sound(self) -> bool:
        """Tell whether no fault was found in any log."""
        return all(log.sound for log in self.logs)


def verify(directory: Path, *, known: Iterable[Position] = (), progress: Progress | None = None) -> VerifyReport:
    """Verify the log in `directory` and every log below it.

    `known` are positions that were acknowledged and kept elsewhere: each must be in the log it names. Raises
    FileNotFoundError when there is no log, or when a position names one that is not there; OSError.
    """
    found = sorted({path.parent for name in ("*.jsonl", HEAD_NAME) for path in directory.rglob(name)})
    if not found:
        raise FileNotFoundError(f"There is no log in {directory} or below it; a log is a directory with {HEAD_NAME}.")
    by_log: dict[str, list[Position]] = defaultdict(list)
    for position in known:
        by_log[position.log].append(position)
    reports = tuple(_verify_log(path, by_log, progress) for path in found)
    if missing := by_log.keys() - {report.log for report in reports}:
        raise FileNotFoundError(f"There is no log {', '.join(sorted(missing))} in {directory} or below it.")
    return VerifyReport(reports)


class _Walk:
    """Goes along one log and stops at the first fault."""

    def __init__(self, directory: Path, log: str, vouched: Mapping[int, set[str]]) -> None:
        self.entries, self.chain, self.torn_bytes = 0, genesis(log).hex(), 0
        self._directory, self._log, self._vouched = directory, log, vouched
        self._before = Line("", 0, b"", 0), self.chain

    def through(self, numbers: list[int], report: Callable[[int], None]) -> Fault | None:
        """Verify these segments; `report` is called now and then with the bytes verified."""
        size_bytes = 0
        following = lines(self._directory, numbers)
        for line in following:
            if line.torn_bytes:
                self.torn_bytes = line.torn_bytes
                break
            if fault := self._step(line, following):
                return fault
            size_bytes += len(line.content)
            if self.entries % PROGRESS_ENTRIES == 0:
                report(size_bytes)
        report(size_bytes)
        return None

    def end(self) -> Fault | None:
        """Check that the log did not end too early."""
        if (most := max(self._vouched, default=0)) <= self.entries:
            return None
        reason = f"the log ends after {self.entries} entries, and once had {most}: its end was cut"
        return Fault(self.entries, self._before[0].segment, self._before[0].number + 1, reason)

    def _step(self, line: Line, following: Iterator[Line]) -> Fault | None:
        index = self.entries
        try:
            entry = parse(line.content)
        except ValueError as error:
            return Fault(index, line.segment, line.number, f"the line is no entry: {error}")
        if entry.index != index:
            what = "is missing" if entry.index > index else "is not here; an entry is repeated or out of order"
            return Fault(index, line.segment, line.number, f"entry {index} {what}: entry {entry.index} stands here")
        if entry.prev != self.chain:
            return self._misfit(line, entry, next(following, None))
        self._before = line, self.chain
        self.entries, self.chain = index + 1, entry.chain
        if self._vouched.get(index + 1, {entry.chain}) != {entry.chain}:
            self.entries, self.chain = index, entry.prev
            reason = f"entry {index}, or one before it, is not the one that was acknowledged: the log was rewritten"
            return Fault(index, line.segment, line.number, reason)
        return None

    def _misfit(self, line: Line, entry: Entry, following: Line | None) -> Fault:
        """Tell which of two entries that do not fit together was changed: one that the next entry fits was not."""
        index = entry.index
        if index == 0:
            reason = f"entry 0 does not begin the log {self._log!r}: it belongs to another log, or was changed"
            return Fault(0, line.segment, line.number, reason)
        if following is not None and not _follows(following, entry):
            reason = f"entry {index} does not follow entry {index - 1}: it was changed, or belongs to another log"
            return Fault(index, line.segment, line.number, reason)
        self.entries, (before, self.chain) = index - 1, self._before
        reason = f"entry {index - 1} was changed: entry {index} follows another one"
        return Fault(index - 1, before.segment, before.number, reason)


def _verify_log(directory: Path, known: Mapping[str, Iterable[Position]], progress: Progress | None) -> LogReport:
    fault = None
    try:
        head = read_head(directory)  # before the segments are listed: the log may grow meanwhile
    except LedgerCorrupt as error:
        head, fault = None, Fault(0, HEAD_NAME, 1, str(error))
    numbers = segment_numbers(directory)
    size_bytes = sum(segment_path(directory, number).stat().st_size for number in numbers)
    log = head.log if head else directory.name
    vouched: dict[int, set[str]] = defaultdict(set)
    if head:
        vouched[head.entries].add(head.chain)
    for position in known.get(log, ()):
        vouched[position.index + 1].add(position.chain)
    walk = _Walk(directory, log, vouched)
    unbroken = [number for place, number in enumerate(numbers) if place == number]
    if fault is None:
        fault = walk.through(unbroken, lambda done_bytes: progress(log, done_bytes, size_bytes) if progress else None)
    if fault is None and unbroken != numbers:
        missing = segment_path(directory, len(unbroken)).name
        fault = Fault(walk.entries, missing, 1, f"{missing} is missing, and later segments are there")
    return LogReport(
        log=log,
        directory=directory,
        entries=walk.entries,
        segments=len(numbers),
        size_bytes=size_bytes,
        chain=walk.chain,
        vouched_entries=max(vouched, default=0),
        torn_bytes=walk.torn_bytes,
        fault=fault or walk.end(),
    )


def _follows(line: Line, entry: Entry) -> bool:
    try:
        return parse(line.content).prev == entry.chain
    except ValueError:
        return False
