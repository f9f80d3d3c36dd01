"""The proof that an entry is in a log, as one text (C2SP tlog-proof, https://c2sp.org/tlog-proof).

It holds the entry's index, the way up to the root, and the checkpoint with all its signatures; not the entry itself.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from fastness.ledger.checkpoint import Checkpoint, decode, decode_hash, number, parse_checkpoint
from fastness.ledger.note import NOTE_BYTES_MAX, Note, NoteInvalid, SignatureType, VerifierKey, parse_note
from fastness.ledger.signing import Signed, verify_note
from fastness.ledger.tree import PROOF_HASHES_MAX, ProofInvalid, verify_inclusion

HEADING: Final = "c2sp.org/tlog-proof@v1"
EXTRA_BYTES_MAX: Final = 65_536
PROOF_BYTES_MAX: Final = 2 * EXTRA_BYTES_MAX + NOTE_BYTES_MAX


@dataclass(frozen=True, slots=True)
class TlogProof:
    """A proof as it was read: nothing in it is checked. `extra` is not proved by anything, ever."""

    index: int
    hashes: tuple[bytes, ...]
    checkpoint: Note
    extra: bytes | None = None

    def __str__(self) -> str:
        extra = [] if self.extra is None else [f"extra {b64encode(self.extra).decode()}"]
        hashes = [b64encode(one).decode() for one in self.hashes]
        return "\n".join([HEADING, *extra, f"index {self.index}", *hashes, "", str(self.checkpoint)])


@dataclass(frozen=True, slots=True)
class Proved:
    """What a proof showed: the tree head that the entry is under, and who signed that."""

    checkpoint: Checkpoint
    signed: tuple[Signed, ...]


def parse_proof(content: bytes) -> TlogProof:
    """Read a proof; raises ProofInvalid for what is no proof."""
    if len(content) > PROOF_BYTES_MAX:
        raise ProofInvalid(f"a proof of {len(content)} bytes is longer than the {PROOF_BYTES_MAX} that are read")
    try:
        return _parse(content)
    except ValueError as error:
        raise ProofInvalid(f"this is no {HEADING}: {error}") from None


def verify_proof(
    proof: TlogProof, leaf: bytes, log: Iterable[VerifierKey], others: Iterable[VerifierKey] = ()
) -> Proved:
    """Check that `leaf` (a hash) is in a log that one of the keys in `log` signs for, and return what was shown.

    A key of a log signs for the log of its own name only. `others` are keys of witnesses, whose cosignatures are
    checked if they are there; how many of these are enough is for the caller to say. Raises ProofInvalid.
    """
    try:
        checkpoint = parse_checkpoint(proof.checkpoint.text)
        own = [key for key in log if key.name == checkpoint.origin]
        signed = verify_note(proof.checkpoint, [*own, *others])
    except NoteInvalid as error:
        raise ProofInvalid(str(error)) from None
    except ValueError as error:
        raise ProofInvalid(f"what was signed is no checkpoint: {error}") from None
    if not any(one.key in own for one in signed):
        raise ProofInvalid(f"no key that is known for the log {checkpoint.origin} signed its checkpoint")
    verify_inclusion(proof.index, checkpoint.size, checkpoint.root, leaf, proof.hashes)
    return Proved(checkpoint, tuple(signed))


def cosigned(proved: Proved) -> list[Signed]:
    """Return the cosignatures of keys under other names than the log's own: those of witnesses."""
    own = proved.checkpoint.origin
    return [one for one in proved.signed if one.key.name != own and one.key.type is not SignatureType.ED25519]


def _parse(content: bytes) -> TlogProof:
    above, separator, checkpoint = content.partition(b"\n\n")
    heading, *lines = above.decode().split("\n")
    if heading != HEADING or not separator:
        raise ValueError(f"it needs to begin with {HEADING} and to have a checkpoint after an empty line")
    extra = decode(lines.pop(0).removeprefix("extra ")) if lines and lines[0].startswith("extra ") else None
    if not lines or not lines[0].startswith("index "):
        raise ValueError("it has no line with an index")
    if len(lines) - 1 > PROOF_HASHES_MAX:
        raise ValueError(f"it has more than {PROOF_HASHES_MAX} hashes")
    index = number(lines[0].removeprefix("index "))
    return TlogProof(index, tuple(map(decode_hash, lines[1:])), parse_note(checkpoint), extra)
