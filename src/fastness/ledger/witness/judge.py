"""The decision of a witness on one submission: yes only to what grew out of what it saw, and never back."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from fastness.ledger.checkpoint import Checkpoint, EmptyRootWrong, parse_checkpoint
from fastness.ledger.note import NoteInvalid
from fastness.ledger.signing import verify_note
from fastness.ledger.tree import EMPTY_ROOT, ProofInvalid, verify_consistency
from fastness.ledger.witness.state import WitnessState
from fastness.ledger.witness.submission import SIZE_TYPE, Submission, parse_submission

TEXT: Final = "text/plain; charset=utf-8"
WARN_AGAIN_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP status, a body, and of which type it is."""

    status: int
    body: str
    type: str = TEXT


class Judge:
    """Judges submissions, from any thread, one at a time. `clock` tells seconds since 1970."""

    def __init__(self, state: WitnessState, clock: Callable[[], float], tell: Callable[[str], None]) -> None:
        """`tell` is told what a person should know: growth that was cosigned, and every contradiction."""
        self._state, self._clock, self._tell = state, clock, tell
        self._turn = threading.Lock()
        self._warned_s: dict[str, float] = {}

    def judge(self, content: bytes) -> Reply:
        """Answer what a log sent, as C2SP tlog-witness says; raises StateUnusable, OSError."""
        try:
            submission = parse_submission(content)
            checkpoint = parse_checkpoint(submission.checkpoint.text)
        except EmptyRootWrong as error:
            return Reply(422, f"{error}\n")
        except ValueError as error:
            return Reply(400, f"{error}\n")
        keys = self._state.logs.get(checkpoint.origin)
        if keys is None:
            return Reply(404, f"The log {checkpoint.origin} is not one that this witness knows.\n")
        try:
            signed = verify_note(submission.checkpoint, keys)
        except NoteInvalid as error:
            return Reply(403, f"The checkpoint is not the log's: {error}.\n")
        if not signed:
            return Reply(403, "No key that is known here signed the checkpoint.\n")
        if submission.old > checkpoint.size:
            return Reply(400, f"A log of {checkpoint.size} entries cannot have grown out of {submission.old}.\n")
        with self._turn:
            return self._decide(submission, checkpoint)

    def _decide(self, submission: Submission, checkpoint: Checkpoint) -> Reply:
        before = self._state.seen(checkpoint.origin)
        size, root = (before[0].size, before[0].root) if before else (0, EMPTY_ROOT)
        if before and checkpoint.size == size and checkpoint.root != root:
            self._state.keep_fork(checkpoint.origin, f"{before[1]}\n{submission.checkpoint}")
            self._warn(checkpoint, f"signed two trees of {size} entries: a fork. The evidence is kept in forks/")
            if submission.old == size:
                return Reply(422, "It is another tree of the same size than this witness saw.\n")
        if submission.old != size:
            return Reply(409, f"{size}\n", SIZE_TYPE)
        try:
            verify_consistency(size, root, checkpoint.size, checkpoint.root, submission.proof)
        except ProofInvalid as error:
            self._state.keep_unproved(checkpoint.origin, f"{before[1] if before else ''}\n{submission.checkpoint}")
            self._warn(checkpoint, f"did not prove that {checkpoint.size} entries grew out of {size}: see unproved/")
            return Reply(422, f"It does not follow from what this witness saw: {error}.\n")
        text = submission.checkpoint.text
        cosignature = self._state.key.sign(text, int(self._clock()))
        self._state.keep(checkpoint.origin, submission.checkpoint.signed_also([cosignature]))
        if checkpoint.size != size:
            self._tell(f"{checkpoint.origin} grew from {size} to {checkpoint.size} entries: cosigned")
        return Reply(200, str(cosignature))

    def _warn(self, checkpoint: Checkpoint, what: str) -> None:
        """Tell of trouble with a log, now and then: anybody may send what it signed, as often as they like."""
        now_s = self._clock()
        if now_s - self._warned_s.get(checkpoint.origin, -WARN_AGAIN_S) >= WARN_AGAIN_S:
            self._warned_s[checkpoint.origin] = now_s
            self._tell(f"NOT cosigned: {checkpoint.origin} {what}")
