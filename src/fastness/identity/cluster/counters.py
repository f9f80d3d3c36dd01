"""What was heard last of each host, for each purpose: so that nothing is heard twice, nor after something newer."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Final, NamedTuple

from fastness.identity.cluster.certificate import NotTrusted

SENDERS_MAX: Final = 16_384
"""Hosts times purposes that are remembered: far more than certificates that an installation issues."""


class Counter(NamedTuple):
    """When the sender's process began, in milliseconds since 1970, and how many envelopes it had made."""

    started_ms: int
    number: int


class HeardBefore(NotTrusted):
    """An envelope that is its sender's, and not newer than the last; `is_copy`: it is the last one again."""

    def __init__(self, sender: str, counter: Counter, last: Counter) -> None:
        super().__init__(
            f"The envelope of {sender} is a copy, or older than the last: it is number "
            f"{counter.number} since {counter.started_ms}, and number {last.number} since {last.started_ms} came."
        )
        self.sender, self.is_copy = sender, counter == last


class Counters:
    """The last counter of each sender. With a `path` they outlive the process: a copy from before is refused, too."""

    def __init__(self, path: Path | None = None) -> None:
        """Read what is kept at `path`; raises NotTrusted when that is damaged, rather than believe a copy."""
        self._path = path
        self._last: dict[str, Counter] = {}
        if path is not None and path.exists():
            try:
                self._last = {sender: Counter(*map(int, last)) for sender, last in json.loads(path.read_text()).items()}
            except (ValueError, TypeError, AttributeError) as error:
                raise NotTrusted(f"{path} is damaged ({error}). Without it envelopes could be replayed.") from None

    def advance(self, sender: str, counter: Counter) -> None:
        """Take a counter that is newer than the last one; raises HeardBefore for any other, or NotTrusted."""
        last = self._last.get(sender)
        if last is not None and counter <= last:
            raise HeardBefore(sender.partition(" ")[0], counter, last)
        if last is None and len(self._last) >= SENDERS_MAX:
            raise NotTrusted(f"{SENDERS_MAX} senders are remembered at most, and that many there were.")
        self._last[sender] = counter
        if self._path is not None:
            self._keep(self._path)

    def _keep(self, path: Path) -> None:
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        draft.write_text(json.dumps(self._last))
        draft.replace(path)
