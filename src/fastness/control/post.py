"""Who seals letters between the head and a node, and opens them. Whoever carries them, by whichever way, sees bytes.

Each run of a supervisor has a mark that nobody could guess, and a letter bears two: its writer's, and that of the run
that it is written to. So one that was kept from before a restart counts for nothing after it, and nothing has to be
remembered for that: whoever has just begun is written to in vain, until the other side has heard of it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from typing import Final, Protocol

from fastness.identity.cluster.certificate import NotTrusted
from fastness.identity.cluster.counters import Counters
from fastness.identity.cluster.membership import Membership
from fastness.identity.cluster.vouching import Vouched, Voucher, open_vouched

WORD, REPORT = "word", "report"
"""What the head writes, and what a node writes: an envelope for the one is not taken for the other."""
MARK_BYTES: Final = 16
_NOBODY: Final = bytes(MARK_BYTES)


class ForAnotherRun(NotTrusted):
    """The letter is its writer's, and was not written to this run of ours, as one from before would not be."""

    def __init__(self, writer: str) -> None:
        super().__init__(f"The letter of {writer} is to an earlier run of this host; it is written to anew.")
        self.writer = writer


class Post(Protocol):
    """Seals letters of this host, and opens those for it."""

    def seal(self, to: str, body: bytes) -> bytes:
        """Return a letter that only its reader takes, once. Raises ValueError when it is too large."""
        ...

    def open(self, letter: bytes) -> Vouched:
        """Return what a letter says and who wrote it, by certificate.

        Raises NotTrusted; of that, HeardBefore for a copy and what is older, ForAnotherRun for what does not answer us.
        """
        ...


class SealedPost:
    """The post of one host: envelopes signed under its certificate. `writes` is what it writes, `reads` what it opens.

    `clock_ms` is milliseconds since 1970, `mark` that of this run.
    """

    def __init__(
        self,
        membership: Membership,
        writes: str,
        reads: str,
        clock_ms: Callable[[], int],
        mark: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._membership, self._reads, self._clock_ms = membership, reads, clock_ms
        self._voucher = Voucher(membership, writes, clock_ms())
        self._heard, self._mark, self._theirs = Counters(), mark(MARK_BYTES), dict[str, bytes]()

    def seal(self, to: str, body: bytes) -> bytes:
        """See Post."""
        marked = self._mark + self._theirs.get(to, _NOBODY) + body
        return self._voucher.vouch(to, marked, self._clock_ms())

    def open(self, letter: bytes) -> Vouched:
        """See Post."""
        opened = open_vouched(letter, self._membership, self._reads, self._heard, self._clock_ms() / 1_000)
        name, body = opened.claims.name, opened.body
        if len(body) < 2 * MARK_BYTES:
            raise NotTrusted(f"The letter of {name} does not say from which run it is, as this version's do.")
        self._theirs[name] = body[:MARK_BYTES]
        if body[MARK_BYTES : 2 * MARK_BYTES] != self._mark:
            raise ForAnotherRun(name)
        return replace(opened, body=body[2 * MARK_BYTES :])
