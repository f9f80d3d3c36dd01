"""What a witness keeps: its key, the logs that it knows, and the last checkpoint of each that it cosigned.

    key       the 32 bytes that the key is made from, in base64, and the name that it signs under
    logs      keys of logs, one a line
    seen/     the last cosigned checkpoint of each log, by the SHA-256 of its name
    forks/    what logs that contradict themselves have signed: evidence, the first FORKS_MAX of it
    unproved/ what each log signed last without proving that it grew out of what was seen

Only `seen/` changes as it works, and a checkpoint is durable in it before its cosignature is given away.
"""

from __future__ import annotations

import fcntl
import os
from base64 import b64encode
from hashlib import sha256
from pathlib import Path
from typing import Final

from fastness.ledger.checkpoint import Checkpoint, decode_hash, parse_checkpoint
from fastness.ledger.durable import sync_directory
from fastness.ledger.note import Note, SignatureType, VerifierKey, is_key_name, parse_key, parse_note
from fastness.ledger.signing import SEED_BYTES, SigningKey, signing_key

FORKS_MAX: Final = 64
FILE_BYTES_MAX: Final = 1_048_576


class StateUnusable(Exception):  # noqa: N818 - a state of a directory
    """The directory of a witness cannot be used; the message says what is wrong, and what to do."""


def begin(directory: Path, name: str, logs: tuple[VerifierKey, ...]) -> SigningKey:
    """Make the directory of a new witness, with a key of its own; raises StateUnusable, OSError."""
    if not is_key_name(name):
        raise StateUnusable(f"{name!r} cannot be the name of a witness: it has no white space and no plus sign.")
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    if (directory / "key").exists():
        raise StateUnusable(f"{directory} is the directory of a witness already: `fastness witness show` tells of it.")
    seed = os.urandom(SEED_BYTES)
    _replace(directory / "logs", "".join(f"{key}\n" for key in logs))
    _replace(directory / "key", f"{name} {b64encode(seed).decode()}\n")
    return signing_key(name, SignatureType.COSIGNATURE, seed)


class WitnessState:
    """The directory of a witness, for one process at a time where `exclusive`. Raises StateUnusable, OSError."""

    def __init__(self, directory: Path, *, exclusive: bool = True) -> None:
        self._directory = directory
        self._lock_fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if exclusive:
                fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.key = self._read_key()
            self.logs = self._read_logs()
            for name in ("seen", "forks", "unproved"):
                (directory / name).mkdir(exist_ok=True, mode=0o700)
        except BlockingIOError:
            os.close(self._lock_fd)
            raise StateUnusable(f"Another process is the witness in {directory}. A witness is one process.") from None
        except BaseException:
            os.close(self._lock_fd)
            raise

    def close(self) -> None:
        """Let another process be this witness."""
        os.close(self._lock_fd)

    def seen(self, origin: str) -> tuple[Checkpoint, Note] | None:
        """Return the last checkpoint of a log that was cosigned; raises StateUnusable for one that is damaged."""
        path = self._seen(origin)
        try:
            note = parse_note(path.read_bytes())
            checkpoint = parse_checkpoint(note.text)
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise StateUnusable(f"{path} is damaged: {error}. Restore it; without it a fork could pass.") from None
        if checkpoint.origin != origin:
            raise StateUnusable(f"{path} is of another log, {checkpoint.origin}. Restore it.")
        return checkpoint, note

    def keep(self, origin: str, note: Note) -> None:
        """Remember this as the last one, durably; raises OSError."""
        _replace(self._seen(origin), str(note))

    def keep_fork(self, origin: str, evidence: str) -> None:
        """Keep what a log signed that contradicts itself; beyond FORKS_MAX no more is kept. Raises OSError."""
        forks = self._directory / "forks"
        name = sha256(origin.encode() + evidence.encode()).hexdigest()
        if len(list(forks.iterdir())) < FORKS_MAX:
            _replace(forks / name, evidence)

    def keep_unproved(self, origin: str, signed: str) -> None:
        """Keep the last thing that a log signed and did not prove; raises OSError."""
        _replace(self._directory / "unproved" / sha256(origin.encode()).hexdigest(), signed)

    @property
    def forks(self) -> int:
        """How many contradictions are kept."""
        return len(list((self._directory / "forks").iterdir()))

    def _seen(self, origin: str) -> Path:
        return self._directory / "seen" / sha256(origin.encode()).hexdigest()

    def _read_key(self) -> SigningKey:
        path = self._directory / "key"
        try:
            if path.stat().st_mode & 0o077:
                raise StateUnusable(f"{path} may be read by others: chmod 600 {path}")
            name, seed = _read(path).split()
            return signing_key(name, SignatureType.COSIGNATURE, decode_hash(seed))
        except FileNotFoundError:
            raise StateUnusable(f"{self._directory} has no witness's key: `fastness witness init` makes one.") from None
        except ValueError as error:
            raise StateUnusable(f"{path} is damaged: {error}. Restore it from a backup.") from None

    def _read_logs(self) -> dict[str, list[VerifierKey]]:
        logs: dict[str, list[VerifierKey]] = {}
        try:
            for line in _read(self._directory / "logs").split():
                key = parse_key(line)
                logs.setdefault(key.name, []).append(key)
        except FileNotFoundError:
            pass
        except ValueError as error:
            raise StateUnusable(f"{self._directory / 'logs'} needs keys of logs, one a line: {error}.") from None
        return logs


def _read(path: Path) -> str:
    with path.open("rb") as file:
        return file.read(FILE_BYTES_MAX).decode()


def _replace(path: Path, content: str) -> None:
    """Write a file whole or not at all, and durably."""
    draft = path.with_name(f"{path.name}.new")
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(content.encode())
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    sync_directory(path.parent)
