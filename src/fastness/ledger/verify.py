"""Verifying and reading logs. Stands alone: core, the standard library, and `cryptography` for signatures.

No writer, no settings, no network. Every entry is read and hashed: the chain of the lines and the tree over them are
made anew, and must come to what head.json, the checkpoint, and whatever was kept elsewhere say.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fastness.ledger.checkpoint import parse_checkpoint
from fastness.ledger.entry import HEAD_NAME, segment_numbers, segment_path
from fastness.ledger.note import Note, VerifierKey
from fastness.ledger.port import LedgerCorrupt, Position
from fastness.ledger.reading import find, read, tail
from fastness.ledger.tail import read_head
from fastness.ledger.tiles import CHECKPOINT_PATH
from fastness.ledger.vouching import vouched
from fastness.ledger.walk import Fault, Walk

__all__ = ["Fault", "LogReport", "VerifyReport", "find", "read", "tail", "verify"]

Progress = Callable[[str, int, int], None]
"""Called now and then with the log's name, the bytes verified of it, and its size in bytes."""


@dataclass(frozen=True, slots=True)
class LogReport:
    """What verification found in one log.

    `entries` are those before the first fault, `chain` and `root` (hex) the hash and the root of the tree after them,
    empty when it is not known after how many the log is wrong. `vouched_entries` is how many head.json, the checkpoint
    and what was given vouch for: behind these a cut cannot be seen, nor a change of the last entry. The checkpoint
    beside the log covers `checkpoint_entries` of them, and has the signatures of `signed_by` (name and id of each key);
    `known_keys` tells whether whoever verifies gave those. `torn_bytes` were being written when the log was read, or
    left by a crash; the next start cuts and records them.
    """

    log: str
    directory: Path
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
    known_keys: bool
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


@dataclass(frozen=True, slots=True)
class _Given:
    """What whoever verifies brought."""

    positions: Mapping[str, Sequence[Position]]
    checkpoints: Sequence[Note]
    keys: Sequence[VerifierKey]
    progress: Progress | None


def verify(
    directory: Path,
    *,
    known: Iterable[Position] = (),
    checkpoints: Iterable[Note] = (),
    keys: Iterable[VerifierKey] = (),
    progress: Progress | None = None,
) -> VerifyReport:
    """Verify the log in `directory` and every log below it.

    `known` are positions that were acknowledged and kept elsewhere, `checkpoints` signed ones: each must be in the log
    it names. `keys` are those that logs must be signed with; for a log without any among them, the keys beside it are
    taken, which shows that it is whole and not who wrote it. Raises FileNotFoundError when there is no log, or when a
    position or a checkpoint names one that is not there; OSError, ValueError for what is no checkpoint.
    """
    found = sorted({path.parent for name in ("*.jsonl", HEAD_NAME) for path in directory.rglob(name)})
    if not found:
        raise FileNotFoundError(f"There is no log in {directory} or below it; a log is a directory with {HEAD_NAME}.")
    by_log: dict[str, list[Position]] = defaultdict(list)
    for position in known:
        by_log[position.log].append(position)
    given = _Given(by_log, list(checkpoints), list(keys), progress)
    reports = tuple(_verify_log(path, given) for path in found)
    names = {name for report in reports for name in (report.log, report.origin)}
    kept = {parse_checkpoint(note.text).origin for note in given.checkpoints}
    missing = by_log.keys() - names | {origin for origin in kept if not {origin, _log_of(origin)} & names}
    if missing:
        raise FileNotFoundError(f"There is no log {', '.join(sorted(missing))} in {directory} or below it.")
    return VerifyReport(reports)


def _verify_log(directory: Path, given: _Given) -> LogReport:
    fault = None
    try:
        head = read_head(directory)  # before the segments are listed: the log may grow meanwhile
    except LedgerCorrupt as error:
        head, fault = None, Fault(0, HEAD_NAME, 1, str(error))
    log = head.log if head else directory.name
    signed = vouched(directory, log, given.keys, given.checkpoints)
    if signed.fault and fault is None:
        fault = Fault(0, CHECKPOINT_PATH, 1, signed.fault)
    numbers = segment_numbers(directory)
    size_bytes = sum(segment_path(directory, number).stat().st_size for number in numbers)
    chains: dict[int, set[str]] = defaultdict(set)
    if head:
        chains[head.entries].add(head.chain)
    for position in given.positions.get(log, ()):
        chains[position.index + 1].add(position.chain)
    walk = Walk(directory, log, chains, signed.roots, signed.own)
    unbroken = [number for place, number in enumerate(numbers) if place == number]
    tell = given.progress
    if fault is None:
        fault = walk.through(unbroken, lambda done_bytes: tell(log, done_bytes, size_bytes) if tell else None)
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
        root=walk.root,
        vouched_entries=max([*chains, *signed.roots], default=0),
        torn_bytes=walk.torn_bytes,
        origin=signed.origin,
        checkpoint_entries=signed.own,
        signed_by=signed.signed_by,
        known_keys=signed.known,
        fault=fault or walk.end(),
    )


def _log_of(origin: str) -> str:
    return origin.rpartition("/")[2]
