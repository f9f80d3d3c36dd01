"""Going along one log, entry by entry, up to the first thing that is wrong. Core and the standard library only."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fastness.ledger.entry import Entry, genesis, parse
from fastness.ledger.reading import Line, lines
from fastness.ledger.stored_tree import TREE_NAME
from fastness.ledger.tree import Frontier, leaf_hash
from fastness.ledger.tree_check import TreeCheck

PROGRESS_ENTRIES: Final = 10_000


@dataclass(frozen=True, slots=True)
class Fault:
    """The first thing that is wrong with a log: the index of the entry, where its line is, and why it is wrong."""

    index: int
    segment: str
    line: int
    reason: str


class Walk:
    """Goes along one log and stops at the first fault."""

    def __init__(
        self, directory: Path, log: str, chains: Mapping[int, set[str]], roots: Mapping[int, set[bytes]], own: int
    ) -> None:
        """`chains` and `roots` say what must be after so many entries; `own` of them have their hashes beside."""
        self.entries, self.chain, self.torn_bytes = 0, genesis(log).hex(), 0
        self._directory, self._log, self._chains, self._roots = directory, log, chains, roots
        self._tree, self._stored = Frontier(), TreeCheck(directory, own)
        self._before = Line("", 0, b"", 0), self.chain

    @property
    def root(self) -> str:
        """The root of the tree over the entries so far, in hex; empty if the last of them turned out to be wrong."""
        return self._tree.root().hex() if self._tree.size == self.entries else ""

    def through(self, numbers: list[int], report: Callable[[int], None]) -> Fault | None:
        """Verify these segments; `report` is called now and then with the bytes verified."""
        size_bytes = 0
        following = lines(self._directory, numbers)
        if fault := self._misrooted(Line("", 0, b"", 0)):
            return fault
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
        """Check that the log did not end too early, and the hashes beside it."""
        most = max([*self._chains, *self._roots], default=0)
        if most > self.entries:
            reason = f"the log ends after {self.entries} entries, and once had {most}: its end was cut"
            return Fault(self.entries, self._before[0].segment, self._before[0].number + 1, reason)
        if self._stored.odd is not None:
            reason = f"the hash of entry {self._stored.odd} was changed; the entry itself is as it was signed"
            return Fault(self._stored.odd, f"{TREE_NAME}/0", 1, reason)
        if reason := self._stored.upper() or "":
            return Fault(self.entries, TREE_NAME, 1, reason)
        return None

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
        leaf = leaf_hash(line.content[:-1])
        self._tree.append(leaf)
        self._stored.compare(index, leaf)
        self._before = line, self.chain
        self.entries, self.chain = index + 1, entry.chain
        if self._chains.get(index + 1, {entry.chain}) != {entry.chain}:
            self.entries, self.chain = index, entry.prev
            reason = f"entry {index}, or one before it, is not the one that was acknowledged: the log was rewritten"
            return Fault(index, line.segment, line.number, reason)
        return self._misrooted(line)

    def _misrooted(self, line: Line) -> Fault | None:
        """Compare the tree with what was signed for this many entries."""
        if self.entries not in self._roots or self._roots[self.entries] == {self._tree.root()}:
            return None
        size, odd = self.entries, self._stored.odd
        which = f"entry {size - 1}, or one before it," if odd is None else f"entry {odd}"
        self.entries = max(0, size - 1) if odd is None else odd
        self.chain = ""
        reason = f"{which} is not the one that the checkpoint of {size} entries was signed for: the log was rewritten"
        return Fault(self.entries, line.segment, line.number, reason)

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


def _follows(line: Line, entry: Entry) -> bool:
    try:
        return parse(line.content).prev == entry.chain
    except ValueError:
        return False
