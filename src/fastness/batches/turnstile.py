"""How many lines of all batches are under way at once, and whose is next: tenants take turns."""

from __future__ import annotations

import asyncio
from collections import deque


class Turnstile:
    """At most `most` pass at the same time. Of those who wait, each tenant's first is let through in turn."""

    def __init__(self, most: int) -> None:
        self._room = most
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}

    async def go(self, tenant: str) -> None:
        """Wait until one more line of `tenant` may be under way; `back` has to follow."""
        if self._room and not self._waiting:
            self._room -= 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(tenant, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # it was let through and did not hear of it
                self.back()
            raise

    def back(self) -> None:
        """One has come back: the next may go."""
        self._room += 1
        while self._room and self._waiting:
            tenant, turns = next(iter(self._waiting.items()))
            del self._waiting[tenant]
            turn = turns.popleft()
            if turns:
                self._waiting[tenant] = turns  # behind all others
            if not turn.done():
                self._room -= 1
                turn.set_result(None)
