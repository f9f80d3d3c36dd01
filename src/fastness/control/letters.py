"""What the head and a node write to each other, and who seals it. Whoever carries the letters sees bytes."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import msgspec

from fastness.core.observation import NodeOrders, NodeReport
from fastness.fleet.door.orders import HostDoor, WantedModel
from fastness.identity.cluster.counters import Counters
from fastness.identity.cluster.membership import Membership
from fastness.identity.cluster.vouching import Vouched, Voucher, open_vouched

LETTER_BYTES_MAX: Final = 16_777_216
"""One letter; a larger one is not read."""
REPORT_PERIOD_S: Final = 0.5
"""How often the head hears of a node on which nothing changes, if there are not many. A lease is several of these."""
WORD, REPORT = "word", "report"
"""What the head writes, and what a node writes: an envelope for the one is not taken for the other."""


@dataclass(frozen=True, slots=True)
class Word:
    """From the head to a node: that its report of `answers_ms` was heard, and all that it has to run.

    `orders` are None while control has given none yet; the node keeps to what it has. `revoked` is the list of revoked
    certificates, as PEM. `missing` are models that the node lacks and who has them, `records` those of the admission of
    what it was ordered to run, as JSON. The node reports at least every `pace_s`. `doors` are those of the hosts with
    which it shares gangs, and its own.
    """

    answers_ms: int
    orders: NodeOrders | None = None
    revoked: str = ""
    missing: tuple[WantedModel, ...] = ()
    records: tuple[str, ...] = ()
    pace_s: float = REPORT_PERIOD_S
    doors: tuple[HostDoor, ...] = ()


class Post(Protocol):
    """Seals letters of this host, and opens those for it."""

    def seal(self, to: str, body: bytes) -> bytes:
        """Return a letter that only its reader takes, once. Raises ValueError when it is too large."""
        ...

    def open(self, letter: bytes) -> Vouched:
        """Return what a letter says and who wrote it, by certificate; raises NotTrusted."""
        ...


class SealedPost:
    """The post of one host: envelopes signed under its certificate. `purpose` is what it writes, `reads` what it opens.

    `clock_ms` is milliseconds since 1970.
    """

    def __init__(self, membership: Membership, writes: str, reads: str, clock_ms: Callable[[], int]) -> None:
        self._membership, self._reads, self._clock_ms = membership, reads, clock_ms
        self._voucher = Voucher(membership, writes, clock_ms())
        self._heard = Counters()

    def seal(self, to: str, body: bytes) -> bytes:
        """See Post."""
        return self._voucher.vouch(to, body, self._clock_ms())

    def open(self, letter: bytes) -> Vouched:
        """See Post."""
        return open_vouched(letter, self._membership, self._reads, self._heard, self._clock_ms() / 1_000)


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


def put(folder: str, name: str, letter: bytes) -> None:
    """Replace a letter, whole. Raises OSError."""
    draft, path = f"{folder}/.{name}", f"{folder}/{name}"
    with open(draft, "wb") as file:  # noqa: PTH123 - thousands a second at most
        file.write(letter)
    os.replace(draft, path)  # noqa: PTH105


def fetch(path: str) -> bytes:
    """Return a letter; nothing where there is none, or one that is too large."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            content = file.read(LETTER_BYTES_MAX + 1)
    except OSError:
        return b""
    return content if len(content) <= LETTER_BYTES_MAX else b""


class Pigeonhole:
    """A file that somebody else replaces: gives each new content once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None

    def poll(self) -> bytes:
        """Return what was put there since the last time; nothing: nothing, or nothing that can be read."""
        try:
            found = self._path.stat()
        except OSError:
            return b""
        seen = (found.st_mtime_ns, found.st_ino, found.st_size)
        if seen == self._seen:
            return b""
        self._seen = seen
        return fetch(str(self._path))
