"""What makes a log of entries a transparency log: a thread that follows it, hashes it, and signs checkpoints of it.

It reads only what is durable already, from the files, and nothing waits for it but who asks for a checkpoint. So the
path of an answer is no longer than without it, and after a crash it goes on as it always does: from the last
checkpoint. The order on disk is the entries, then their hashes, then the checkpoint: what that names is always there.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fastness.ledger.checkpoint import Checkpoint, parse_checkpoint
from fastness.ledger.following import Place, place_of, take_lines
from fastness.ledger.log_key import LogKey
from fastness.ledger.note import Note, NoteInvalid
from fastness.ledger.port import LedgerCorrupt, LedgerUnavailable
from fastness.ledger.signing import SigningKey, sign_note, verify_note
from fastness.ledger.stored_tree import TreeDamaged, TreeWriter, Writing
from fastness.ledger.tiles import CHECKPOINT_PATH, TILE_WIDTH
from fastness.ledger.tree import EMPTY_ROOT, leaf_hash
from fastness.ledger.vouching import KEYS_NAME, read_checkpoint

STEP_ENTRIES: Final = 65_536
"""A checkpoint is signed after so many entries at the latest, so that a long log is not begun anew after a crash."""
RETRY_S: Final = 1.0
_ADVICE: Final = "Keep the directory as evidence, and run `fastness ledger verify`."

Told = Callable[[Note | LedgerUnavailable], None]


@dataclass(frozen=True, slots=True)
class Signing:
    """How a log is signed: by which key, and under whose name if the log has none yet; at most so often."""

    key: LogKey
    installation: str = ""
    interval_s: float = 1.0

    def origin(self, log: str) -> str:
        """Return the name that a new log gets."""
        return f"{self.installation or self.key.installation}/{log}"


class Notary:
    """Signs one log. Used by its writer; `reach` and `ask` from any thread."""

    def __init__(self, directory: Path, log: str, entries: int, signing: Signing, files: Writing) -> None:
        """Take up a log with `entries` durable entries where its last checkpoint left it, and begin to follow it.

        Raises LedgerCorrupt when the checkpoint is not this log's, or not by this key; OSError.
        """
        self._directory, self._log, self._signing, self._files = directory, log, signing, files
        self._tree = TreeWriter(directory, files)
        self._fault: LedgerCorrupt | None = None
        self._entries, self._closing = entries, False
        self._idle, self._wake = False, threading.Event()
        self._lock = threading.Lock()
        self._asked: list[tuple[int, Told]] = []
        note, self._signed, self._signers = self._last_checkpoint()
        self.origin = self._signed.origin
        self._place = self._resume(self._signed)
        self.checkpoint = note or self._sign()  # of nothing yet: from its first entry on, no log is without one
        self._write_keys()
        self._thread = threading.Thread(target=self._follow, name=f"notary-{log}", daemon=True)
        self._thread.start()

    @property
    def fault(self) -> LedgerCorrupt | None:
        """What is wrong with the log, if it was found to be: then nothing more may be recorded in it."""
        return self._fault

    def reach(self, entries: int) -> None:
        """Hear that so many entries are durable."""
        self._entries = entries
        if self._idle:
            self._wake.set()

    def ask(self, told: Told) -> None:
        """Call `told` once, on the notary's thread, with a checkpoint of all entries durable by now, soon."""
        with self._lock:
            if not self._closing:
                self._asked.append((self._entries, told))
                self._wake.set()
                return
        told(LedgerUnavailable(f"The log {self._log} is closed."))

    def close(self, entries: int) -> None:
        """Sign a last checkpoint, of `entries` entries, and stop. Raises nothing."""
        self._entries = entries
        with self._lock:
            self._closing = True
        self._wake.set()
        self._thread.join()
        self._tree.close()

    def _last_checkpoint(self) -> tuple[Note | None, Checkpoint, tuple[SigningKey, ...]]:
        """Return it, what it says, and the keys that the log goes on with: those that signed it."""
        path = self._directory / CHECKPOINT_PATH
        try:
            note = read_checkpoint(self._directory)
            if note is None and (self._directory / KEYS_NAME).exists():
                raise NoteInvalid("it is missing, and this log was signed before")
            if note is None:
                origin = self._signing.origin(self._log)
                return None, Checkpoint(origin, 0, EMPTY_ROOT), self._signing.key.signers(origin)
            signed = parse_checkpoint(note.text)
            both = self._signing.key.signers(signed.origin), self._signing.key.shared_signers(signed.origin)
            signers = next((some for some in both if verify_note(note, [one.verifier for one in some])), None)
            if signers is None:
                raise NoteInvalid("it is signed by none of the keys of this installation (secrets/ledger.key)")
        except ValueError as error:
            raise LedgerCorrupt(f"{path} is not what was written there: {error}. {_ADVICE}") from None
        if signed.origin.rpartition("/")[2] != self._log:
            raise LedgerCorrupt(f"{path} is of {signed.origin!r}; the log {self._log!r} was to be opened. {_ADVICE}")
        if signed.size > self._entries:
            raise LedgerCorrupt(
                f"The log in {self._directory} has {self._entries} entries, and {signed.size} when its checkpoint was "
                f"signed: its end was cut. {_ADVICE}"
            )
        return note, signed, signers

    def _resume(self, signed: Checkpoint) -> Place:
        """Return where the entries begin that the tree lacks."""
        if self._tree.resume(signed.size, signed.root):
            return place_of(self._directory, signed.size)
        place = self._extend(Place(0), signed.size)  # no crash does this; all of it follows from the entries
        if self._tree.root(signed.size) != signed.root:
            raise LedgerCorrupt(
                f"The first {signed.size} entries of the log in {self._directory} are not those that its checkpoint "
                f"was signed for. {_ADVICE}"
            )
        return place

    # From here on: the notary's thread.

    def _follow(self) -> None:
        due = 0.0
        while True:
            self._wait(due)
            ending = self._closing  # asked before the step: the last one knows of all entries
            try:
                if self._behind:
                    self._step()
                    far = self._entries - self._tree.size >= STEP_ENTRIES
                    due = 0.0 if far else time.monotonic() + self._signing.interval_s
                self._tell(self.checkpoint)
            except LedgerCorrupt as fault:
                self._fault = fault
                self._tell(fault)
                return
            except OSError as error:
                reason = error.strerror or str(error)
                self._tell(LedgerUnavailable(f"The log {self._log} cannot sign a checkpoint: {reason}."))
                due = time.monotonic() + RETRY_S
            if ending:  # what is left, if any, the next start signs
                self._tell(LedgerUnavailable(f"The log {self._log} is closed."))
                return

    @property
    def _behind(self) -> bool:
        return self._tree.size < self._entries

    def _wait(self, due: float) -> None:
        """Return when there is something to sign: at once if somebody asked, else not before `due`."""
        while not (self._closing or self._asked):
            self._idle = True  # before looking: who reaches more from here on sets the event
            left = due - time.monotonic() if self._behind else None
            if left is not None:
                self._idle = False  # once is enough: from here on the time decides
                if left <= 0:
                    return
            self._wake.wait(left)
            self._wake.clear()
        self._idle = False

    def _step(self) -> None:
        signed = self._tree.size
        try:
            place = self._extend(self._place, min(self._entries, signed + STEP_ENTRIES))
            note = self._sign()
        except TreeDamaged:  # somebody removed the hashes
            self._place = self._resume(self._signed)
        except OSError:
            self._tree.size = signed  # after a failed sync it is not known what is there: it is written again
            raise
        else:
            self._place, self.checkpoint = place, note

    def _sign(self) -> Note:
        self._tree.sync()
        checkpoint = Checkpoint(self.origin, self._tree.size, self._tree.root(self._tree.size))
        note = sign_note(str(checkpoint), self._signers, int(time.time()))
        self._replace(CHECKPOINT_PATH, str(note).encode())
        self._signed = checkpoint
        return note

    def _extend(self, place: Place, size: int) -> Place:
        """Hash the entries from `place` on until the tree has `size`; returns where it goes on."""
        while self._tree.size < size:
            lines, place = take_lines(self._directory, place, min(TILE_WIDTH, size - self._tree.size))
            self._tree.extend([leaf_hash(line[:-1]) for line in lines])
            time.sleep(0)  # the event loop may have something to do
        return place

    def _tell(self, outcome: Note | LedgerUnavailable) -> None:
        """Tell those whose entries are covered, or everybody that they cannot be."""
        with self._lock:
            size = self._tree.size
            ripe = [asked for asked in self._asked if asked[0] <= size or isinstance(outcome, LedgerUnavailable)]
            self._asked = [asked for asked in self._asked if asked not in ripe]
        for _, told in ripe:
            told(outcome)

    def _write_keys(self) -> None:
        """Publish the public keys beside the log. Whoever verifies needs them from elsewhere."""
        content = "".join(f"{signer.verifier}\n" for signer in self._signers).encode()
        path = self._directory / KEYS_NAME
        if not path.exists() or path.read_bytes() != content:
            self._replace(KEYS_NAME, content)

    def _replace(self, name: str, content: bytes) -> None:
        """Write a file whole or not at all; after a power cut the one before it may be there again."""
        new = self._directory / f"{name}.new"
        fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            written = 0
            while written < len(content):
                written += self._files.write(fd, content[written:], written)
            self._files.sync(fd)
        finally:
            os.close(fd)
        new.replace(self._directory / name)
