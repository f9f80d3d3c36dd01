"""Signed notes (C2SP signed-note, https://c2sp.org/signed-note): a text, and lines that sign it. Standard library only.

    <text, ended by a newline>
    <an empty line>
    — <name of a key> <base64 of its id, 4 bytes, and of the signature>

A key is written as `<name>+<id in hex>+<base64 of its type, 1 byte, and of the public key>` (a *vkey*). `signing` makes
and checks the signatures.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from hashlib import sha256
from typing import Final

from fastness.ledger.checkpoint import decode

NOTE_BYTES_MAX: Final = 65_536
SIGNATURES_MAX: Final = 32
_DASH: Final = "\u2014 "


class NoteInvalid(ValueError):  # noqa: N818 - what is said of a note
    """A note or a key is not one, or is not signed as it must be; the message says why."""


class SignatureType(IntEnum):
    """What a key signs, and with what."""

    ED25519 = 0x01
    """the text of a note"""
    COSIGNATURE = 0x04
    """a checkpoint at a time, with Ed25519 (C2SP tlog-cosignature)"""
    ML_DSA_44 = 0x06
    """a checkpoint, at a time if the signer says so, with ML-DSA-44 (C2SP tlog-cosignature)"""


PUBLIC_BYTES: Final = {SignatureType.ED25519: 32, SignatureType.COSIGNATURE: 32, SignatureType.ML_DSA_44: 1_312}


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """The public half of a key, with the name that it signs under; `str` of it is its vkey."""

    name: str
    type: SignatureType
    public: bytes

    @property
    def id(self) -> bytes:
        """The four bytes that stand before a signature by it."""
        return sha256(f"{self.name}\n".encode() + bytes([self.type]) + self.public).digest()[:4]

    def __str__(self) -> str:
        return f"{self.name}+{self.id.hex()}+{b64encode(bytes([self.type]) + self.public).decode()}"


@dataclass(frozen=True, slots=True)
class Signature:
    """A line below a note: the name and id (4 bytes) of a key, and what it made of the text."""

    name: str
    key_id: bytes
    content: bytes

    def __str__(self) -> str:
        return f"{_DASH}{self.name} {b64encode(self.key_id + self.content).decode()}\n"


@dataclass(frozen=True, slots=True)
class Note:
    """A text, and the lines that sign it, none of them checked. `str` of it is the note."""

    text: str
    signatures: tuple[Signature, ...]

    def __str__(self) -> str:
        return self.text + "\n" + "".join(map(str, self.signatures))

    def signed_by(self, keys: Iterable[VerifierKey]) -> Note:
        """Return the note with the lines of these keys only."""
        known = {(key.name, key.id) for key in keys}
        return Note(self.text, tuple(line for line in self.signatures if (line.name, line.key_id) in known))

    def signed_also(self, signatures: Iterable[Signature]) -> Note:
        """Return the note with these lines below those that it has, each line once."""
        return Note(self.text, tuple(dict.fromkeys([*self.signatures, *signatures])))


def parse_note(content: bytes) -> Note:
    """Read a note; raises NoteInvalid for what is no note, or one beyond the bounds above."""
    if len(content) > NOTE_BYTES_MAX:
        raise NoteInvalid(f"a note of {len(content)} bytes is longer than the {NOTE_BYTES_MAX} that are read")
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise NoteInvalid("a note is UTF-8; this is not") from None
    if any(char < " " and char != "\n" for char in text):
        raise NoteInvalid("a note has no control characters but newlines")
    signed, separator, lines = text.rpartition("\n\n")
    if not separator or not lines.endswith("\n"):
        raise NoteInvalid("a note is a text, an empty line, and signature lines, each ended by a newline")
    found = tuple(map(parse_signature, lines.removesuffix("\n").split("\n")))
    if len(found) > SIGNATURES_MAX:
        raise NoteInvalid(f"a note with {len(found)} signatures has more than the {SIGNATURES_MAX} that are read")
    return Note(signed + "\n", found)


def parse_notes(content: bytes) -> list[Note]:
    """Read notes that stand one after the other, as a file of kept checkpoints has them; raises NoteInvalid."""
    notes, start, signed = [], 0, False
    lines = content.splitlines(keepends=True)
    for place, line in enumerate(lines):
        is_signature = line.startswith(_DASH.encode())
        if signed and not is_signature:
            notes.append(parse_note(b"".join(lines[start:place])))
            start = place
        signed = is_signature
    return [*notes, parse_note(b"".join(lines[start:]))] if start < len(lines) else notes


def parse_signature(line: str) -> Signature:
    """Read one signature line, without its newline; raises NoteInvalid."""
    name, separator, encoded = line.removeprefix(_DASH).partition(" ")
    if not line.startswith(_DASH) or not separator or not is_key_name(name):
        raise NoteInvalid(f"{line[:80]!r} is not a signature line")
    try:
        signed = decode(encoded)
    except ValueError as error:
        raise NoteInvalid(f"the signature of {name} is no base64: {error}") from None
    if len(signed) < 5:
        raise NoteInvalid(f"the signature of {name} is empty")
    return Signature(name, signed[:4], signed[4:])


def parse_key(vkey: str) -> VerifierKey:
    """Read a vkey; raises NoteInvalid, also for types of keys that are not known here."""
    name, _, rest = vkey.partition("+")
    key_id, separator, encoded = rest.partition("+")
    if not separator or not is_key_name(name):
        raise NoteInvalid(f"{vkey[:80]!r} is not a key; it needs to be name+id+base64")
    try:
        public = decode(encoded)
        key = VerifierKey(name, SignatureType(public[0] if public else 0), public[1:])
    except ValueError:
        known = ", ".join(f"{one:#04x}" for one in SignatureType)
        raise NoteInvalid(f"the key {name} is not base64 of a type that is known here ({known}) and a key") from None
    if len(key.public) != PUBLIC_BYTES[key.type] or key.id.hex() != key_id:
        raise NoteInvalid(f"the key {name} is damaged: its length or its id is not what it must be")
    return key


def is_key_name(name: str) -> bool:
    """Tell whether a key or a log may have this name: not empty, no white space, no plus sign, no control character."""
    return bool(name) and not any(char.isspace() or char == "+" or char < " " for char in name)
