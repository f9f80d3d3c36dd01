"""The ledger as the management API shows it: verified and read, never written."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from pathlib import Path

import msgspec

from fastness.control.problem import Problem
from fastness.core.event import EventType, Scalar
from fastness.core.ids import is_name
from fastness.ledger import verify as ledger
from fastness.ledger.entry import Entry


class FaultView(msgspec.Struct, frozen=True):
    """The first thing wrong with a log."""

    index: int
    segment: str
    line: int
    reason: str


class LogView(msgspec.Struct, frozen=True):
    """What verification found in one log."""

    log: str
    sound: bool
    entries: int
    segments: int
    size_bytes: int
    chain: str
    root: str
    vouched_entries: int
    torn_bytes: int
    origin: str | None
    checkpoint_entries: int
    signed_by: tuple[str, ...]
    fault: FaultView | None


class Verification(msgspec.Struct, frozen=True):
    """What verification found in all logs."""

    sound: bool
    logs: tuple[LogView, ...]


class EntryView(msgspec.Struct, frozen=True):
    """One entry, with the log it is in."""

    log: str
    index: int
    time_ms: int
    type: str
    fields: dict[str, Scalar]
    prev: str
    chain: str


class Evidence:
    """Reads the logs below `directory`. Every method blocks, and raises Problem, LedgerCorrupt or OSError."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def logs(self) -> list[str]:
        """Name the logs there are."""
        try:
            return sorted(path.name for path in self._directory.iterdir() if path.is_dir() and is_name(path.name))
        except FileNotFoundError:
            return []

    def verify(self) -> Verification:
        """Verify every log; no log at all is sound."""
        try:
            report = ledger.verify(self._directory)
        except FileNotFoundError:
            return Verification(sound=True, logs=())
        return Verification(report.sound, tuple(map(_log_view, report.logs)))

    def tail(self, log: str | None, count: int) -> list[EntryView]:
        """Return the last entries of one log, or of all logs together by their time."""
        found = [_entry_view(name, entry) for name in self._named(log) for entry in ledger.tail(self._at(name), count)]
        return sorted(found, key=lambda entry: (entry.time_ms, entry.log, entry.index))[-count:]

    def entry(self, log: str, index: int) -> EntryView:
        """Return one entry."""
        self._named(log)
        entry = next(ledger.read(self._at(log), index, index + 1), None)
        if entry is None:
            raise Problem(
                "not_found",
                f"The log {log} has no entry {index}.",
                f"fastness ledger tail --log {log} shows its last ones.",
                param="index",
            )
        return _entry_view(log, entry)

    def find(self, log: str | None, wanted: Mapping[str, str], count: int) -> list[EntryView]:
        """Return the first entries with these values (`type` is that of the entry), at most `count`, log by log."""
        if (kind := wanted.get("type", EventType.BOOT)) not in set(EventType):
            raise Problem(
                "invalid_value",
                f"There is no event type {kind[:80]!r}.",
                f"Types: {', '.join(EventType)}.",
                param="type",
            )
        found = (
            _entry_view(name, entry) for name in self._named(log) for entry in ledger.find(self._at(name), **wanted)
        )
        return list(islice(found, count))

    def _at(self, log: str) -> Path:
        return self._directory / log

    def _named(self, log: str | None) -> list[str]:
        known = self.logs()
        if log is None:
            return known
        if log not in known:
            raise Problem(
                "not_found",
                f"There is no log {log[:80]!r}; there are {', '.join(known) or 'none'}.",
                "Leave `log` out for all of them.",
                param="log",
            )
        return [log]


def _log_view(report: ledger.LogReport) -> LogView:
    fault = report.fault
    return LogView(
        log=report.log,
        sound=report.sound,
        entries=report.entries,
        segments=report.segments,
        size_bytes=report.size_bytes,
        chain=report.chain,
        root=report.root,
        vouched_entries=report.vouched_entries,
        torn_bytes=report.torn_bytes,
        origin=report.origin,
        checkpoint_entries=report.checkpoint_entries,
        signed_by=report.signed_by,
        fault=None if fault is None else FaultView(fault.index, fault.segment, fault.line, fault.reason),
    )


def _entry_view(log: str, entry: Entry) -> EntryView:
    return EntryView(log, entry.index, entry.time_ms, entry.type, entry.fields, entry.prev, entry.chain)
