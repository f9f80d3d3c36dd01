"""What vouches for a log: the checkpoints of it, beside it and kept elsewhere, and the keys that signed them.

Core and the standard library, and `cryptography` where there is a signature to check.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from fastness.ledger.checkpoint import Checkpoint, parse_checkpoint
from fastness.ledger.note import NOTE_BYTES_MAX, Note, NoteInvalid, VerifierKey, parse_key, parse_note
from fastness.ledger.tiles import CHECKPOINT_PATH

KEYS_NAME: Final = "keys"
KEYS_BYTES_MAX: Final = 1_048_576


@dataclass(frozen=True, slots=True)
class Vouched:
    """What is known of a log before it is read.

    `origin` is its name in its checkpoint, None without one. `roots` has the roots (32 bytes) by the number of entries
    below them, `own` being the number in the checkpoint beside the log. `signed_by` are the keys whose signatures that
    one has, `known` tells whether they came from whoever verifies, and `fault` what is wrong with it.
    """

    origin: str | None = None
    roots: dict[int, set[bytes]] = field(default_factory=dict)
    own: int = 0
    signed_by: tuple[str, ...] = ()
    known: bool = False
    fault: str | None = None


def vouched(directory: Path, log: str, keys: Iterable[VerifierKey], kept: Iterable[Note]) -> Vouched:
    """Collect what vouches for the log in `directory`, called `log` unless its checkpoint says more.

    `keys` are those known to whoever verifies; without any for this log, those beside it are taken. `kept` are
    checkpoints of any log. Raises OSError.
    """
    roots: dict[int, set[bytes]] = defaultdict(set)
    own: Checkpoint | None = None
    trusted = [key for key in keys if key.name.rpartition("/")[2] == log]
    known = bool(trusted)
    signed_by: tuple[str, ...] = ()
    try:
        trusted = trusted or _beside(directory)
        note = read_checkpoint(directory)
        if note is not None:
            own, signed_by = checked(note, trusted, whole=True)
            roots[own.size].add(own.root)
        elif trusted:
            raise NoteInvalid("it is missing, and this log was signed before")
        for one in kept:
            origin = parse_checkpoint(one.text).origin
            if origin == own.origin if own else origin.rpartition("/")[2] == log:
                checkpoint, _ = checked(one, trusted)
                roots[checkpoint.size].add(checkpoint.root)
    except ValueError as error:
        return Vouched(fault=str(error), known=known)
    return Vouched(own.origin if own else None, roots, own.size if own else 0, signed_by, known)


def checked(note: Note, keys: Iterable[VerifierKey], *, whole: bool = False) -> tuple[Checkpoint, tuple[str, ...]]:
    """Return what a checkpoint says and which keys signed it; raises NoteInvalid unless one of its log's own did.

    With `whole`, a key of each kind that is known for the log must have: nobody takes the stronger signature away.
    """
    from fastness.ledger.signing import verify_note  # here, so that what is not signed is read without `cryptography`

    keys = list(keys)
    checkpoint = parse_checkpoint(note.text)
    signed = verify_note(note, keys)
    kinds = {one.key.type for one in signed if one.key.name == checkpoint.origin}
    if not kinds:
        raise NoteInvalid(f"the checkpoint of {checkpoint.origin} is signed by none of the keys known for that log")
    missing = {key.type.name for key in keys if key.name == checkpoint.origin and key.type not in kinds}
    if whole and missing:
        raise NoteInvalid(f"{checkpoint.origin} has no signature with {missing.pop()}, and a key for one is known")
    return checkpoint, tuple(f"{one.key.name}+{one.key.id.hex()}" for one in signed)


def read_checkpoint(directory: Path) -> Note | None:
    """Return the checkpoint beside a log, None without one; raises NoteInvalid, OSError."""
    try:
        with (directory / CHECKPOINT_PATH).open("rb") as file:
            return parse_note(file.read(NOTE_BYTES_MAX + 1))
    except FileNotFoundError:
        return None


def read_keys(path: Path) -> list[VerifierKey]:
    """Read a file of verifier keys, one a line; empty lines and those that begin with # do not count.

    Raises NoteInvalid, OSError.
    """
    with path.open("rb") as file:
        content = file.read(KEYS_BYTES_MAX)
    try:
        found = [line.strip() for line in content.decode().splitlines()]
    except UnicodeDecodeError:
        raise NoteInvalid(f"{path} is not UTF-8: it needs a verifier key on each line") from None
    return [parse_key(line) for line in found if line and not line.startswith("#")]


def _beside(directory: Path) -> list[VerifierKey]:
    try:
        return read_keys(directory / KEYS_NAME)
    except FileNotFoundError:
        return []
