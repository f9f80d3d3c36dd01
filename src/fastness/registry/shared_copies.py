"""One sealed copy of a model's weights for all replicas that run it, kept for as long as any of them does."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, field
from pathlib import Path

from fastness.registry.folder import Weighed
from fastness.registry.sealed_copy import sealed_copies


@dataclass(slots=True)
class _Copy:
    making: asyncio.Task[dict[str, int]]
    users: set[str] = field(default_factory=set)


class SharedCopies:
    """Copies by digest. Two deployments of one model share one, since nobody can write to it."""

    def __init__(self) -> None:
        self._copies: dict[str, _Copy] = {}

    async def take(self, user: str, card: Weighed, weights: Path) -> dict[str, int]:
        """Return the descriptors of the copy by the paths of its files (of a single file: by no name).

        It is made and verified where there is none yet; `user` holds it from now on. Raises what sealed_copy raises;
        then `user` holds nothing.
        """
        copy = self._copies.get(card.digest)
        if copy is None:
            making = asyncio.create_task(asyncio.to_thread(sealed_copies, card, weights))
            copy = self._copies[card.digest] = _Copy(making)
        copy.users.add(user)
        try:
            return await asyncio.shield(copy.making)
        except BaseException:
            self._let_go(user, card.digest)
            raise

    def held_by(self, user: str) -> tuple[int, ...]:
        """Return the descriptors of everything that `user` holds, all of which is made."""
        held = (copy.making.result() for copy in self._copies.values() if user in copy.users)
        return tuple(descriptor for copies in held for descriptor in copies.values())

    def release(self, user: str) -> None:
        """Let go of what `user` holds; with its last user a copy is closed, and its memory is free."""
        for digest in tuple(self._copies):
            self._let_go(user, digest)

    def _let_go(self, user: str, digest: str) -> None:
        copy = self._copies[digest]
        copy.users.discard(user)
        if not copy.users:
            del self._copies[digest]
            copy.making.add_done_callback(_close)


def _close(made: asyncio.Task[dict[str, int]]) -> None:
    if not made.cancelled() and made.exception() is None:
        for descriptor in made.result().values():
            os.close(descriptor)
