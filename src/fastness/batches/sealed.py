"""The format of a sealed file: frames that can be streamed, appended to, and continued after a crash.

    frame = size u32 | tag u32 | last u8 | nonce 12 | ciphertext with its 16 bytes of authentication

AES-256-GCM under a key of this file alone, a random nonce for each frame, and as associated data the file's name, the
number of the frame, its tag and whether it is the last. So a frame that is changed, moved, left out or taken from
another file does not open, and a file that is cut lacks its last frame. `tag` is for whoever writes: results carry the
number of their line. It is the only thing that can be read without the key.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from fastness.sealed.box import NONCE_BYTES, TAG_BYTES, Damaged

FRAME_BYTES: Final = 65_536
"""Content of one frame of an uploaded file."""
FRAME_BYTES_MAX: Final = 67_108_864
"""Content of any frame."""
_HEAD: Final = struct.Struct("<IIB")
_PLACE: Final = struct.Struct("<QIB")


class Frame(NamedTuple):
    """One frame, opened."""

    tag: int
    last: bool
    content: bytes


class SealedFile:
    """A sealed file that is being written. Not for several threads at once; every method raises OSError."""

    def __init__(self, path: Path, key: bytes, name: str, entropy: Callable[[int], bytes] = os.urandom) -> None:
        """Open for appending, after what is whole already: a torn end is cut. `tags` are those of the whole frames."""
        self._seal = AESGCM(key)
        self._name = name.encode()
        self._entropy = entropy
        self._file = open(path, "a+b", buffering=0, opener=_private)  # noqa: SIM115 - closed by `close`
        self.tags: list[int] = []
        self.size_bytes = 0
        self.finished = False
        self.cut_bytes = self._recover()
        self._frames = len(self.tags)

    def append(self, content: bytes, tag: int = 0) -> None:
        """Write one frame. It survives the end of the process; `sync` makes it survive that of the machine."""
        self._write(content, tag, last=False)

    def finish(self) -> None:
        """Write the last frame, unless it is there already, and make all durable."""
        if not self.finished:
            self._write(b"", 0, last=True)
            self.finished = True
        self.sync()

    def sync(self) -> None:
        """Make what was written durable."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def _write(self, content: bytes, tag: int, *, last: bool) -> None:
        nonce = self._entropy(NONCE_BYTES)
        sealed = self._seal.encrypt(nonce, content, _place(self._name, self._frames, tag, last))
        frame = memoryview(_HEAD.pack(len(content), tag, last) + nonce + sealed)
        while frame:
            frame = frame[self._file.write(frame) :]
        self._frames += 1
        self.size_bytes += len(content)

    def _recover(self) -> int:
        self._file.seek(0)
        whole = 0
        try:
            for frame in _frames(self._file, self._seal, self._name):
                whole = self._file.tell()
                self.finished = frame.last
                if not frame.last:
                    self.tags.append(frame.tag)
                    self.size_bytes += len(frame.content)
        except Damaged:
            pass
        size = self._file.seek(0, os.SEEK_END)
        if size > whole:
            self._file.truncate(whole)
        return size - whole


def write_sealed(path: Path, key: bytes, name: str, content: Iterable[bytes]) -> None:
    """Write a whole file, durably; raises OSError."""
    path.unlink(missing_ok=True)
    sealed = SealedFile(path, key, name)
    try:
        for piece in content:
            for start in range(0, len(piece), FRAME_BYTES):
                sealed.append(piece[start : start + FRAME_BYTES])
        sealed.finish()
    finally:
        sealed.close()


def read_sealed(path: Path, key: bytes, name: str) -> Iterator[bytes]:
    """Read a finished file, frame by frame; raises Damaged (at the end for one that was cut) or OSError."""
    last = False
    with path.open("rb") as file:
        for frame in _frames(file, AESGCM(key), name.encode()):
            if last:
                raise Damaged(f"{name} goes on after its end")
            last = frame.last
            if frame.content:
                yield frame.content
    if not last:
        raise Damaged(f"{name} was cut")


def _frames(file: BinaryIO, seal: AESGCM, name: bytes) -> Iterator[Frame]:
    index = 0
    while head := file.read(_HEAD.size):
        if len(head) < _HEAD.size:
            raise Damaged("a frame was cut")
        size, tag, last = _HEAD.unpack(head)
        if size > FRAME_BYTES_MAX or last > 1:
            raise Damaged("a frame has an impossible head")
        nonce, sealed = file.read(NONCE_BYTES), file.read(size + TAG_BYTES)
        if len(nonce) < NONCE_BYTES or len(sealed) < size + TAG_BYTES:
            raise Damaged("a frame was cut")
        try:
            content = seal.decrypt(nonce, sealed, _place(name, index, tag, bool(last)))
        except InvalidTag:
            raise Damaged("a frame was changed, or is not of this file") from None
        yield Frame(tag, bool(last), content)
        index += 1


def _place(name: bytes, index: int, tag: int, last: bool) -> bytes:
    return name + b"\0" + _PLACE.pack(index, tag, last)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
