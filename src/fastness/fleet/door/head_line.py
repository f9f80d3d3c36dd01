"""The line from the door of a node to that of its head: always open, so that no handshake is due when it is needed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from fastness.fleet.door.letters import LetterLine
from fastness.fleet.door.orders import HostPlace
from fastness.fleet.letter_files import HEAD, HEAD_BY_DOOR, LETTERS_IN, LETTERS_OUT, Pigeonhole, put

RETRY_FIRST_S: Final = 0.1
RETRY_MAX_S: Final = 2.0
"""Between two tries to reach the head: well within a lease, so that a head's door that begins anew costs nothing."""

Open = Callable[[HostPlace, asyncio.Protocol], Awaitable[None]]
"""Connects to the door of the head, which is proved to be its own, and leads it to a protocol; raises OSError."""


class HeadLine:
    """Keeps a line to the head it is told, and carries letters by it when it is told to. Used on one event loop."""

    def __init__(self, run_directory: Path, open_line: Open, tell: Callable[[str], None]) -> None:
        self._open, self._tell = open_line, tell
        self._in = str(run_directory / LETTERS_IN)
        self._written = run_directory / LETTERS_OUT / HEAD
        self._letters = Pigeonhole(self._written)
        self._head: HostPlace | None = None
        self._carries = False
        self._keeping: asyncio.Task[None] | None = None
        self._line: LetterLine | None = None

    def want(self, head: HostPlace | None, carries: bool) -> None:
        """Keep a line to this one from now on; None: to nobody. `carries` tells whether letters go by it."""
        self._carries = carries
        if head != self._head:
            self._head = head
            self._end()
            self._keeping = None if head is None else asyncio.get_running_loop().create_task(self._keep(head))

    def look(self) -> None:
        """Send what was written since the last time, if letters go this way. To be called every now and then."""
        if self._carries and self._line is not None and self._line.ready and (letter := self._letters.poll()):
            self._line.send(letter)

    async def close(self) -> None:
        """End it."""
        keeping = self._keeping
        self._end()
        if keeping is not None:
            await asyncio.gather(keeping, return_exceptions=True)

    def _end(self) -> None:
        if self._keeping is not None:
            self._keeping.cancel()
        if self._line is not None:
            self._line.end()

    async def _keep(self, head: HostPlace) -> None:
        wait_s, trouble = RETRY_FIRST_S, ""
        while True:
            lost = asyncio.Event()
            line = LetterLine(lambda letter: put(self._in, HEAD_BY_DOOR, letter), lost.set)
            try:
                await self._open(head, line)
            except OSError as error:
                if str(error) != trouble:
                    trouble = str(error)
                    self._tell(f"{head.host} at {head.place}: {trouble}")
                await asyncio.sleep(wait_s)
                wait_s = min(2 * wait_s, RETRY_MAX_S)
                continue
            self._letters = Pigeonhole(self._written)  # what was on its way by the last line may be lost
            self._line, wait_s, trouble = line, RETRY_FIRST_S, ""
            await lost.wait()
            self._line = None
            await asyncio.sleep(RETRY_FIRST_S)
