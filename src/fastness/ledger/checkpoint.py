"""What a checkpoint says (C2SP tlog-checkpoint, https://c2sp.org/tlog-checkpoint). Standard library only.

Three lines or more: the log's origin, how many entries it has, the root over them in base64. `note` signs this text.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode, b64encode
from dataclasses import dataclass
from typing import Final

from fastness.ledger.tree import EMPTY_ROOT, HASH_BYTES, SIZE_MAX

_NUMBER: Final = re.compile(r"0|[1-9][0-9]{0,18}")


class EmptyRootWrong(ValueError):  # noqa: N818 - what is said of a checkpoint
    """A checkpoint of no entries has a root that is not that of the empty tree; witnesses say that apart."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A tree head: the log named `origin` had `size` entries, and `root` (32 bytes) over them."""

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = (self.origin, str(self.size), b64encode(self.root).decode(), *self.extensions)
        return "\n".join(lines) + "\n"


def parse_checkpoint(text: str) -> Checkpoint:
    """Read the text of a checkpoint, without its signatures; raises ValueError (EmptyRootWrong) with why."""
    lines = text.split("\n")
    if len(lines) < 4 or lines.pop():
        raise ValueError("a checkpoint has three lines or more, each ended by a newline")
    if not all(lines):
        raise ValueError("a checkpoint has no empty line")
    origin, size, root, *extensions = lines
    read = Checkpoint(origin, number(size), decode_hash(root), tuple(extensions))
    if not read.size and read.root != EMPTY_ROOT:
        raise EmptyRootWrong("a log without entries has the root of the empty tree")
    return read


def number(text: str) -> int:
    """Read a size or an index, a decimal without leading zeroes of at most SIZE_MAX; raises ValueError."""
    if not _NUMBER.fullmatch(text) or int(text) > SIZE_MAX:
        raise ValueError(f"{text[:32]!r} is not a number from 0 to {SIZE_MAX} without leading zeroes")
    return int(text)


def decode_hash(text: str) -> bytes:
    """Read the base64 of a hash, 32 bytes; raises ValueError."""
    found = decode(text)
    if len(found) != HASH_BYTES:
        raise ValueError(f"{text[:64]!r} is not the base64 of {HASH_BYTES} bytes")
    return found


def decode(text: str) -> bytes:
    """Read base64 exactly as RFC 4648, section 4, writes it (padding bits included); raises ValueError."""
    try:
        found = b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        found = b""
    if b64encode(found).decode() != text:
        raise ValueError(f"{text[:64]!r} is not base64")
    return found
