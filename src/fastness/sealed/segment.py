"""The format of a segment: what a gateway seals, one frame for each request, appended and never rewritten.

    segment = magic | size u16 | JSON of `Opening` | frames
    frame   = size of head u32 | size of sealed u32 | wrapped key 60 | head (JSON of `Head`) | sealed content

Each request has a key of its own; `wrapped` is that key, sealed under the segment's, bound to the request's id and the
policy. The content is sealed under the request's key, bound to the whole head, which has both. The salts of its receipt
follow from the same key (by HMAC, which tells nothing of it), so that nobody can confirm a guess of what was destroyed.
The segment's key follows from an ephemeral X25519 key, whose public half is in the opening, and the public half of the
day's key: whoever writes cannot open what was written before, and forgets the rest with the process. Destroying the
day's key, or sixty bytes of a frame, is destroying the content.

A crash can leave an unfinished frame at the end. Nothing is appended behind one: each process begins segments of its
own.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

import msgspec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from fastness.core.retention import SealingKey
from fastness.sealed.box import KEY_BYTES, OVERHEAD_BYTES, Damaged, derived, seal, unseal

MAGIC: Final = b"fastness-sealed/1\n"
HEAD_BYTES_MAX: Final = 16_384
CONTENT_BYTES_MAX: Final = 268_435_456
"""Request and answer together; larger content is refused, not cut."""
WRAPPED_BYTES: Final = KEY_BYTES + OVERHEAD_BYTES
DESTROYED: Final = bytes(WRAPPED_BYTES)
"""What stands in the place of a wrapped key that was destroyed."""
_SIZES: Final = struct.Struct(">II")
_OPENING_SIZE: Final = struct.Struct(">H")
_PURPOSE: Final = b"fastness.sealed/1 segment key\0"


class Opening(msgspec.Struct, frozen=True):
    """What a segment begins with; `ephemeral` is a public key, in hex."""

    tenant: str
    key: str
    writer: str
    ephemeral: str


class Head(msgspec.Struct, frozen=True, omit_defaults=True):
    """What can be read of a frame without any key: nothing that the ledger does not say, but for the pseudonym.

    `end_user` is HMAC-SHA-256 of the caller's end-user id under the tenant's index key, in hex.
    """

    request_id: str
    time_ms: int
    key: str
    marking: str
    policy: str | None
    operation: str
    model: str | None
    content_bytes: int
    end_user: str | None = None


class Content(msgspec.Struct, frozen=True):
    """What is sealed: the body that came, what was answered (of a stream: its events), and what its receipt binds.

    `said` is the form of the answer that the entry commits to, empty for one that broke off; `salts` are in hex.
    """

    request: bytes
    answer: bytes
    whole: bool
    said: bytes = b""
    salts: dict[str, str] = {}


_OPENINGS: Final = msgspec.json.Decoder(Opening)
_HEADS: Final = msgspec.json.Decoder(Head)


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame, still sealed: where it begins in its file, and where its content does, in bytes."""

    head: Head
    head_bytes: bytes
    wrapped: bytes
    at: int
    sealed_at: int
    sealed_bytes: int

    @property
    def destroyed(self) -> bool:
        """Whether its key is gone: nobody can open it any more."""
        return self.wrapped == DESTROYED


class SegmentWriter:
    """A new segment. For one thread; every method raises OSError."""

    def __init__(self, path: Path, key: SealingKey, writer: str, entropy: Callable[[int], bytes]) -> None:
        ephemeral = X25519PrivateKey.generate()
        public = ephemeral.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        shared = ephemeral.exchange(X25519PublicKey.from_public_bytes(bytes.fromhex(key.public)))
        self._wrap = AESGCM(_segment_key(shared, key.tenant, key.id, public))
        self._entropy = entropy
        self.key, self.path = key, path
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        opening = msgspec.json.encode(Opening(key.tenant, key.id, writer, public.hex()))
        self.size_bytes = 0
        self._write(MAGIC + _OPENING_SIZE.pack(len(opening)) + opening)

    def append(self, head: Head, content: bytes, key: bytes) -> int:
        """Seal one request under a key of its own, and return where its frame begins; `sync` makes it durable."""
        at, head_bytes = self.size_bytes, msgspec.json.encode(head)
        wrapped = seal(self._wrap, _bound_to(head), key, self._entropy)
        sealed = seal(AESGCM(key), head_bytes, content, self._entropy)
        self._write(b"".join((_SIZES.pack(len(head_bytes), len(sealed)), wrapped, head_bytes, sealed)))
        return at

    def sync(self) -> None:
        """Make durable what was written."""
        os.fdatasync(self._descriptor)

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._descriptor)

    def _write(self, content: bytes) -> None:
        left = memoryview(content)
        while left:
            written = os.write(self._descriptor, left)
            self.size_bytes += written
            left = left[written:]


class SegmentReader:
    """Reads a segment. Raises Damaged for a file that is no segment, OSError."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with path.open("rb") as file:
            self.opening = _opening(file)
            self._begins = file.tell()

    def frames(self) -> Iterator[Frame]:
        """Read the frames in order, up to an unfinished one at the end."""
        with self.path.open("rb") as file:
            file.seek(self._begins)
            size_bytes = os.fstat(file.fileno()).st_size
            while (frame := _frame(file, size_bytes)) is not None:
                yield frame
                file.seek(frame.sealed_at + frame.sealed_bytes)

    def frame(self, at: int) -> Frame | None:
        """Read the frame that begins there; None where none does."""
        with self.path.open("rb") as file:
            file.seek(at)
            return _frame(file, os.fstat(file.fileno()).st_size)

    def content(self, frame: Frame, day_key: X25519PrivateKey) -> Content:
        """Open a frame with the private half of its day's key; raises Damaged."""
        key = self.record_key(frame, day_key)
        with self.path.open("rb") as file:
            file.seek(frame.sealed_at)
            plain = unseal(AESGCM(key), frame.head_bytes, file.read(frame.sealed_bytes))
        return msgspec.msgpack.decode(plain, type=Content)

    def record_key(self, frame: Frame, day_key: X25519PrivateKey) -> bytes:
        """Open the key of a frame and nothing of its content; raises Damaged where it was destroyed."""
        if frame.destroyed:
            raise Damaged(f"the key of {frame.head.request_id} was destroyed")
        public = bytes.fromhex(self.opening.ephemeral)
        shared = day_key.exchange(X25519PublicKey.from_public_bytes(public))
        wrap = AESGCM(_segment_key(shared, self.opening.tenant, self.opening.key, public))
        return unseal(wrap, _bound_to(frame.head), frame.wrapped)

    def destroy(self, frames: list[Frame]) -> None:
        """Overwrite the keys of these frames, durably. Doing it again is harmless."""
        with self.path.open("r+b", buffering=0) as file:
            for frame in frames:
                file.seek(frame.at + _SIZES.size)
                file.write(DESTROYED)
            os.fsync(file.fileno())


def _segment_key(shared: bytes, tenant: str, key: str, public: bytes) -> bytes:
    return derived(shared, _PURPOSE + f"{tenant}\0{key}\0".encode() + public)


def _bound_to(head: Head) -> bytes:
    return f"{head.request_id}\0{head.policy}".encode()


def _opening(file: BinaryIO) -> Opening:
    start = file.read(len(MAGIC) + _OPENING_SIZE.size)
    if len(start) < len(MAGIC) + _OPENING_SIZE.size or not start.startswith(MAGIC):
        raise Damaged("it is no segment of sealed content, or it was cut before its first frame")
    (size,) = _OPENING_SIZE.unpack_from(start, len(MAGIC))
    try:
        return _OPENINGS.decode(file.read(size))
    except msgspec.MsgspecError:
        raise Damaged("the opening of the segment cannot be read") from None


def _frame(file: BinaryIO, size_bytes: int) -> Frame | None:
    at = file.tell()
    sizes = file.read(_SIZES.size)
    if len(sizes) < _SIZES.size:
        return None
    head_size, sealed_size = _SIZES.unpack(sizes)
    if not 0 < head_size <= HEAD_BYTES_MAX or sealed_size > CONTENT_BYTES_MAX + OVERHEAD_BYTES:
        return None
    wrapped, head_bytes = file.read(WRAPPED_BYTES), file.read(head_size)
    sealed_at = at + _SIZES.size + WRAPPED_BYTES + head_size
    if sealed_at + sealed_size > size_bytes:
        return None
    try:
        head = _HEADS.decode(head_bytes)
    except msgspec.MsgspecError:
        return None
    return Frame(head, head_bytes, wrapped, at, sealed_at, sealed_size)
