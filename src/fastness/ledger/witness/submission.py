"""What a log sends to a witness (C2SP tlog-witness, https://c2sp.org/tlog-witness): a checkpoint and how it grew.

old <size of the checkpoint that the witness saw last>
<base64 of a hash of the consistency proof>...

<the checkpoint, signed>
"""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass
from typing import Final

from fastness.ledger.checkpoint import decode_hash, number
from fastness.ledger.note import NOTE_BYTES_MAX, Note, parse_note
from fastness.ledger.tree import PROOF_HASHES_MAX

PATH: Final = "/add-checkpoint"
SIZE_TYPE: Final = "text/x.tlog.size"
SUBMISSION_BYTES_MAX: Final = NOTE_BYTES_MAX + 8_192


@dataclass(frozen=True, slots=True)
class Submission:
    """A checkpoint with the proof that it grew out of one of `old` entries. `bytes` of it is what is sent."""

    old: int
    proof: tuple[bytes, ...]
    checkpoint: Note

    def __bytes__(self) -> bytes:
        hashes = [b64encode(one).decode() for one in self.proof]
        return "\n".join([f"old {self.old}", *hashes, "", str(self.checkpoint)]).encode()


def parse_submission(content: bytes) -> Submission:
    """Read what came; raises ValueError, which says why it cannot be read."""
    if len(content) > SUBMISSION_BYTES_MAX:
        raise ValueError(f"a submission has at most {SUBMISSION_BYTES_MAX} bytes")
    above, separator, note = content.partition(b"\n\n")
    old, *hashes = above.decode().split("\n")
    if not separator or not old.startswith("old "):
        raise ValueError("a submission begins with a line `old SIZE`, and has an empty line before its checkpoint")
    if len(hashes) > PROOF_HASHES_MAX:
        raise ValueError(f"a proof has at most {PROOF_HASHES_MAX} hashes")
    return Submission(number(old.removeprefix("old ")), tuple(map(decode_hash, hashes)), parse_note(note))
