"""Two runs of one generation, of which the one that begins first is the answer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from fastness.core.request import Delta
from fastness.gateway.relay import Taker
from fastness.gateway.slot import Slot


class Race:
    """Two runs of one generation. `begun` resolves when the first of them begins; that one is the `winner`."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.begun: asyncio.Future[None] = loop.create_future()
        self.winner: Slot | None = None

    def gate(self, slot: Slot, taker: Taker) -> Taker:
        """Let through to `taker` what comes on that slot, if it wins."""
        return _Gate(self, slot, taker)

    def may_pass(self, slot: Slot) -> bool:
        """Tell whether what comes on a slot is the answer: the first that comes decides."""
        if self.winner is None:
            self.winner = slot
            if not self.begun.done():
                self.begun.set_result(None)
        return self.winner is slot


class _Gate:
    __slots__ = ("_race", "_slot", "_taker")

    def __init__(self, race: Race, slot: Slot, taker: Taker) -> None:
        self._race, self._slot, self._taker = race, slot, taker

    def texts(self, texts: Sequence[str]) -> None:
        """See Taker."""
        if self._race.may_pass(self._slot):
            self._taker.texts(texts)

    def delta(self, delta: Delta) -> None:
        """See Taker."""
        if self._race.may_pass(self._slot):
            self._taker.delta(delta)
