"""Frames on a connection between doors: four bytes of length, then so many bytes. A frame without bytes is an end.

An engine closes its connection after each streamed answer. The TLS connection before it must not end with that: a
handshake costs as much as twenty requests. So what stands for one connection to an engine begins with the first frame
and ends when each side has sent one end. Whoever began may begin the next as soon as its own end is sent.
"""

from __future__ import annotations

from typing import Final

HEAD_BYTES: Final = 4
FRAME_BYTES_MAX: Final = (1 << 32) - 1
END: Final = bytes(HEAD_BYTES)


def frame(content: bytes) -> bytes:
    """Return `content`, which is not empty, as one frame."""
    return len(content).to_bytes(HEAD_BYTES, "big") + content


class FrameReader:
    """Takes bytes as they come and gives contents as they come: whoever needs whole frames joins the pieces."""

    __slots__ = ("_head", "_left")

    def __init__(self) -> None:
        self._head = b""
        self._left = 0

    def feed(self, received: bytes) -> list[bytes]:
        """Return pieces of content, in order; an empty one is an end."""
        if not self._left and not self._head and int.from_bytes(received[:HEAD_BYTES], "big") == len(received) - 4 > 0:
            return [received[HEAD_BYTES:]]
        found, at, size = [], 0, len(received)
        while at < size:
            if self._left:
                piece = received[at : at + self._left]
                self._left -= len(piece)
                at += len(piece)
                found.append(piece)
                continue
            missing = HEAD_BYTES - len(self._head)
            self._head += received[at : at + missing]
            at += missing
            if len(self._head) == HEAD_BYTES:
                self._left, self._head = int.from_bytes(self._head, "big"), b""
                if not self._left:
                    found.append(b"")
        return found
