"""The log's side of witnessing: one checkpoint, offered to each witness with the proof that it grew.

What a witness says is believed only as far as its signature goes. Core, standard library and signatures only.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fastness.ledger.checkpoint import number, parse_checkpoint
from fastness.ledger.note import Note, Signature, parse_note
from fastness.ledger.signing import verify_note
from fastness.ledger.stored_log import StoredLog
from fastness.ledger.stored_tree import TreeDamaged
from fastness.ledger.witness.policy import Witness
from fastness.ledger.witness.submission import PATH, Submission

TRIES: Final = 3
"""A witness that saw another size than was thought tells which; somebody else may have submitted meanwhile."""

Post = Callable[[str, bytes], Awaitable[tuple[int, bytes]]]
"""Sends a body to a URL, and returns status and body of the answer; raises what `Submitter` was told it does."""


class NotCosigned(Exception):  # noqa: N818 - an outcome
    """The message says why. `disputed`: the witness was there, and would not."""

    def __init__(self, message: str, *, disputed: bool) -> None:
        super().__init__(message)
        self.disputed = disputed


@dataclass(slots=True)
class Submitter:
    """Submits checkpoints of one log to one witness. `failures` is what `post` raises when nobody answers."""

    directory: Path
    witness: Witness
    post: Post
    failures: tuple[type[Exception], ...]
    seen: int = 0

    async def submit(self, note: Note) -> Signature:
        """Return the witness's cosignature of a checkpoint of this log; raises NotCosigned, OSError."""
        size = parse_checkpoint(note.text).size
        for _ in range(TRIES):
            status, body = await self._ask(note, size)
            if status == 200:
                self.seen = size
                return self._cosignature(note, body)
            if status != 409 or not body.strip().isdigit():
                raise NotCosigned(
                    f"it answered {status}: {body[:200].decode('utf-8', 'replace').strip()}", disputed=True
                )
            self.seen = number(body.decode().strip())
            if self.seen > size:
                raise NotCosigned(
                    f"it has seen {self.seen} entries, and the log has {size}: the log was cut or went back in time",
                    disputed=True,
                )
        raise NotCosigned("it answers each time that it saw another size", disputed=True)

    async def _ask(self, note: Note, size: int) -> tuple[int, bytes]:
        try:
            proof = StoredLog(self.directory).prove_growth(min(self.seen, size), size)
        except TreeDamaged as error:
            raise NotCosigned(f"the proof cannot be made: {error}", disputed=False) from None
        submission = Submission(min(self.seen, size), tuple(proof), note)
        try:
            return await self.post(self.witness.url.rstrip("/") + PATH, bytes(submission))
        except self.failures as error:
            raise NotCosigned(str(error), disputed=False) from None

    def _cosignature(self, note: Note, body: bytes) -> Signature:
        key = self.witness.key
        try:
            with_lines = parse_note(str(note).encode() + body)
            mine = [line for line in with_lines.signatures if (line.name, line.key_id) == (key.name, key.id)]
            if verify_note(Note(note.text, tuple(mine)), [key]):
                return mine[0]
        except ValueError as error:
            raise NotCosigned(f"what it signed is not valid: {error}", disputed=True) from None
        raise NotCosigned(f"it did not sign with the key {key.name} that the policy names", disputed=True)
