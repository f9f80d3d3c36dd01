"""Ways to change a signed log, from a clumsy edit to what somebody does who owns disk and key."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fastness.ledger.entry import Head, draft, genesis, parse, seal, write_head
from fastness.ledger.notary import Notary, Signing
from fastness.ledger.segments import FileOperations

LOG = "gateway-0"


@dataclass(frozen=True, slots=True)
class Victim:
    """An honest log, and what a thief has: its disk, its earlier states, another log, and perhaps its key."""

    directory: Path
    honest: dict[Path, bytes]
    earlier: dict[Path, bytes]
    strange: list[bytes]
    signing: Signing
    files: FileOperations

    def restore(self) -> None:
        """Make it honest again."""
        for path in [path for path in self.directory.rglob("*") if path.is_file() and path not in self.honest]:
            path.unlink()
        for path, content in self.honest.items():
            path.parent.mkdir(exist_ok=True)
            if not path.exists() or path.read_bytes() != content:
                path.write_bytes(content)

    def changed(self) -> bool:
        """Tell whether anything is not as it was."""
        there = {path: path.read_bytes() for path in self.directory.rglob("*") if path.is_file()}
        return there != self.honest

    def segments(self) -> list[Path]:
        return sorted(self.directory.glob("*.jsonl"))

    def lines(self) -> list[bytes]:
        return [line for path in self.segments() for line in path.read_bytes().splitlines(keepends=True)]

    def write(self, lines: list[bytes], *, linked: bool) -> None:
        """Write these lines, in as many files as before; `linked`, with index, chain and head made to fit."""
        if linked:
            chain, made = genesis(LOG), []
            for index, line in enumerate(lines):
                entry = parse(line)
                line, chain = seal(draft(entry.type, entry.time_ms, entry.fields), index, chain)
                made.append(line)
            lines = made
            (self.directory / "head.json").write_bytes(write_head(Head(LOG, len(lines), chain.hex())))
        counts = [path.read_bytes().count(b"\n") for path in self.segments()]
        for path, count in zip(self.segments(), [*counts[:-1], len(lines)], strict=True):
            path.write_bytes(b"".join(lines[:count]))
            lines = lines[count:]

    def sign_anew(self) -> None:
        """Sign whatever is there with the log's own key."""
        for name in ("checkpoint", "keys"):
            (self.directory / name).unlink()
        shutil.rmtree(self.directory / "tree")
        count = len(self.lines())
        Notary(self.directory, LOG, count, self.signing, self.files).close(count)


Change = Callable[[Victim, random.Random], None]


def edited(line: bytes, chance: random.Random) -> bytes:
    """Another whole entry in the place of this one."""
    return line.replace(b'"request_id":"', b'"request_id":"x%d' % chance.randrange(10**6), 1)


def flip(victim: Victim, chance: random.Random) -> None:
    path = chance.choice([path for path in victim.honest if path.name != "keys" and victim.honest[path]])
    content = bytearray(victim.honest[path])
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    path.write_bytes(content)


def some_bytes(victim: Victim, chance: random.Random) -> None:
    path = chance.choice(victim.segments())
    content = victim.honest[path]
    start = chance.randrange(len(content))
    end = min(len(content), start + chance.randrange(1, 200))
    path.write_bytes(content[:start] + chance.randbytes(chance.randrange(20)) + content[end:])


def edit(victim: Victim, chance: random.Random, *, linked: bool = False) -> None:
    lines = victim.lines()
    place = chance.randrange(len(lines))
    lines[place] = edited(lines[place], chance)
    victim.write(lines, linked=linked)


def delete(victim: Victim, chance: random.Random, *, linked: bool = False) -> None:
    lines = victim.lines()
    start = chance.randrange(len(lines))
    del lines[start : start + chance.choice([1, 1, 2, 5])]
    victim.write(lines, linked=linked)


def reorder(victim: Victim, chance: random.Random, *, linked: bool = False) -> None:
    lines = victim.lines()
    one, other = chance.sample(range(len(lines)), 2)
    lines[one], lines[other] = lines[other], lines[one]
    victim.write(lines, linked=linked)


def repeat(victim: Victim, chance: random.Random, *, linked: bool = False) -> None:
    lines = victim.lines()  # the last one, linked once more at the end, would be growth that nobody signed yet
    lines.insert(chance.randrange(len(lines)), chance.choice(lines[:-1]))
    victim.write(lines, linked=linked)


def exchange(victim: Victim, chance: random.Random, *, linked: bool = False) -> None:
    lines = victim.lines()
    lines[chance.randrange(len(lines))] = chance.choice(victim.strange)
    victim.write(lines, linked=linked)


def truncate(victim: Victim, chance: random.Random, *, linked: bool = False) -> None:
    lines = victim.lines()
    victim.write(lines[: chance.randrange(len(lines))], linked=linked)


def lose_a_file(victim: Victim, chance: random.Random) -> None:
    chance.choice([*victim.segments(), victim.directory / "checkpoint"]).unlink()


def put_back(victim: Victim, _: random.Random) -> None:
    """The whole log of some time ago, with the checkpoint that was signed then."""
    for path in victim.honest:
        path.unlink()
    for path, content in victim.earlier.items():
        path.write_bytes(content)


def fork(victim: Victim, chance: random.Random) -> None:
    """Another continuation from some entry on, signed with the log's own key."""
    lines = victim.lines()
    start = chance.randrange(len(lines))
    rest = [edited(line, chance) for line in lines[start:]] + [chance.choice(lines) for _ in range(chance.randrange(9))]
    victim.write(lines[:start] + rest, linked=True)
    victim.sign_anew()


def cut_and_sign(victim: Victim, chance: random.Random) -> None:
    truncate(victim, chance, linked=True)
    victim.sign_anew()


def with_links(change: Callable[..., None]) -> Change:
    return lambda victim, chance: change(victim, chance, linked=True)


CLUMSY: dict[str, Change] = {
    "one bit": flip,
    "some bytes": some_bytes,
    "an edited entry": edit,
    "deleted entries": delete,
    "reordered entries": reorder,
    "a repeated entry": repeat,
    "an entry of another log": exchange,
    "a cut end": truncate,
    "a lost file": lose_a_file,
}
LINKED: dict[str, Change] = {
    f"{name}, chain and head made to fit": with_links(change)
    for name, change in {
        "an edited entry": edit,
        "deleted entries": delete,
        "reordered entries": reorder,
        "a repeated entry": repeat,
        "an entry of another log": exchange,
        "a cut end": truncate,
    }.items()
}
SIGNED: dict[str, Change] = {
    "an earlier state put back": put_back,
    "another continuation signed with the log's key": fork,
    "a cut end signed with the log's key": cut_and_sign,
}
