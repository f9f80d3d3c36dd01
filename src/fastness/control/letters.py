"""What the head and a node write to each other, and who seals it. Whoever carries the letters sees bytes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import msgspec

from fastness.core.observation import NodeOrders, NodeReport
from fastness.identity.cluster.vouching import Vouched

LETTER_BYTES_MAX: Final = 16_777_216
"""One letter; a larger one is not read."""


@dataclass(frozen=True, slots=True)
class Word:
    """From the head to a node: that its report of `answers_ms` was heard, and all that it has to run.

    `orders` are None while control has given none yet; the node keeps to what it has.
    """

    answers_ms: int
    orders: NodeOrders | None = None


class Post(Protocol):
    """Seals letters of this host, and opens those for it."""

    def seal(self, to: str, body: bytes) -> bytes:
        """Return a letter that only its reader takes, once. Raises NotTrusted when this host may not sign any more."""
        ...

    def open(self, letter: bytes) -> Vouched:
        """Return what a letter says and who wrote it, by certificate; raises NotTrusted."""
        ...


_WORDS: Final = msgspec.json.Decoder(Word)
_REPORTS: Final = msgspec.json.Decoder(NodeReport)


def write(content: Word | NodeReport) -> bytes:
    """Return the body of a letter."""
    return msgspec.json.encode(content)


def read_word(body: bytes) -> Word:
    """Read what the head wrote; raises ValueError."""
    return _WORDS.decode(body)


def read_report(body: bytes) -> NodeReport:
    """Read what a node wrote; raises ValueError."""
    return _REPORTS.decode(body)


class Pigeonhole:
    """A file that somebody else replaces: gives each new content once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None

    def poll(self) -> bytes | None:
        """Return what was put there since the last time; None: nothing, or nothing that can be read."""
        try:
            with self._path.open("rb") as file:
                found = self._path.stat()
                seen = (found.st_mtime_ns, found.st_ino, found.st_size)
                if seen == self._seen:
                    return None
                self._seen = seen
                content = file.read(LETTER_BYTES_MAX + 1)
        except OSError:
            return None
        return content if 0 < len(content) <= LETTER_BYTES_MAX else None
