"""Letters from door to door: what lies in a file here is put into a file there, whole. What it says nobody here knows.

It is the second way of the same letters: a host whose supervisor hears nothing by the first has its door carry them.
A letter is one frame and an end; of several that wait to be sent only the newest counts, so nothing is queued.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, cast

from fastness.fleet.door.frames import END, FrameReader, frame
from fastness.fleet.letter_files import LETTER_BYTES_MAX, LETTERS_IN, LETTERS_OUT, Pigeonhole, door_way, put

WRITE_BUFFER_BYTES_MAX: Final = 262_144
"""Unsent bytes of a line before the next letter waits."""
ACTIVE_S: Final = 5.0
"""For so long after a letter came by a line its answer is looked for: most lines are open and carry nothing."""


class LetterLine(asyncio.Protocol):
    """One connection, on either side. `came` gets each letter; `gone` is called once, when it has ended."""

    def __init__(self, came: Callable[[bytes], None], gone: Callable[[], None]) -> None:
        self._came, self._gone = came, gone
        self._frames, self._begun, self._begun_bytes = FrameReader(), list[bytes](), 0
        self._transport: asyncio.Transport
        self.ready = False
        """Whether a letter that is sent now leaves at once."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES_MAX)
        self.ready = True

    def data_received(self, data: bytes) -> None:
        """Put letters together; somebody who sends more than one letter may have is put out."""
        for piece in self._frames.feed(data):
            self._begun_bytes += len(piece)
            if self._begun_bytes > LETTER_BYTES_MAX:
                self._begun.clear()
                self._transport.abort()
                return
            if piece:
                self._begun.append(piece)
            elif self._begun:
                letter = b"".join(self._begun)
                self._begun.clear()
                self._begun_bytes = 0
                with suppress(OSError):  # a disk that is full: the next one may be written
                    self._came(letter)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the event loop's signature
        """It ended."""
        self.ready = False
        self._gone()

    def pause_writing(self) -> None:
        """The other side takes no more for now."""
        self.ready = False

    def resume_writing(self) -> None:
        """It does again."""
        self.ready = True

    def send(self, letter: bytes) -> None:
        """Send one."""
        self._transport.write(frame(letter) + END)

    def end(self) -> None:
        """End it at once."""
        self._transport.abort()


class LettersHere:
    """The lines of other hosts, at the head's door. What comes by one is put down under its host's certified name."""

    def __init__(self, run_directory: Path, now: Callable[[], float]) -> None:
        self._in, self._out, self._now = run_directory / LETTERS_IN, run_directory / LETTERS_OUT, now
        self._lines: dict[str, _HostLine] = {}

    def take(self, host: str, gone: Callable[[], None]) -> asyncio.BaseProtocol:
        """Attend to a host that came; a line that it had before is ended. `gone` is called once, at the end."""

        def came(letter: bytes) -> None:
            made.heard_s = self._now()
            put(str(self._in), door_way(host), letter)

        def ended() -> None:
            if self._lines.get(host) is made:
                del self._lines[host]
                (self._in / door_way(host)).unlink(missing_ok=True)
            gone()

        made = _HostLine(LetterLine(came, ended), Pigeonhole(self._out / door_way(host)))
        before, self._lines[host] = self._lines.get(host), made
        if before is not None:
            before.line.end()
        return made.line

    def look(self) -> None:
        """Send what is written to hosts that wrote lately. To be called every now and then."""
        since_s = self._now() - ACTIVE_S
        for one in self._lines.values():
            if one.heard_s >= since_s and one.line.ready and (letter := one.letters.poll()):
                one.line.send(letter)


class _HostLine:
    """The line of one host, what is written to it, and when it wrote last."""

    __slots__ = ("heard_s", "letters", "line")

    def __init__(self, line: LetterLine, letters: Pigeonhole) -> None:
        self.line, self.letters, self.heard_s = line, letters, float("-inf")
