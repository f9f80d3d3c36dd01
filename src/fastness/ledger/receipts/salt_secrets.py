"""What salts follow from: the key of a sealed record, or, of an answer that nobody keeps, a key of its day.

The key of a day is made of that of the day before, and tells nothing of it. The file has the oldest that is wanted
still: from it follow all later ones. So a gateway needs the disk at its start only, and to write a later day's key over
the file is to destroy what every older salt followed from. Core and standard library only.
"""

from __future__ import annotations

import hmac
import json
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from fastness.ledger.commitment import Salting, Salts
from fastness.ledger.durable import create_once, sync_directory, write_new

DAY_MS: Final = 86_400_000
KEY_BYTES: Final = 32
_NEXT: Final = b"fastness salts of the next day v1\n"
_FILE_BYTES_MAX: Final = 1_024


class SaltsUnusable(OSError):  # noqa: N818 - a state of a file
    """The file of the days' keys is not what it must be; the message says what to do."""


@dataclass(frozen=True, slots=True, repr=False)
class DayKey:
    """The key of one day, counted from 1970 (UTC), and on which day the first of these keys was made."""

    day: int
    key: bytes
    began: int

    def on(self, day: int) -> DayKey | None:
        """Return the key of a day; None for one before this one's."""
        key = self.key
        for _ in range(self.day, day):
            key = hmac.digest(key, _NEXT, "sha256")
        return replace(self, day=day, key=key) if day >= self.day else None


class DaySalting:
    """Makes the salts of a gateway's answers. It holds the key of one day, and forgets it when the day is over."""

    def __init__(self, key: DayKey) -> None:
        self._key, self._salting = key, Salting(key.key)

    def of(self, request_id: str, time_ms: int) -> tuple[Salts, int]:
        """Return the salts of the answer to `request_id`, and the day whose key they follow from.

        That is the day of `time_ms`, or a later one that was seen already: a clock that steps back makes no key again.
        """
        if (day := time_ms // DAY_MS) > self._key.day:
            self._key = self._key.on(day) or self._key
            self._salting = Salting(self._key.key)
        return self._salting.of(request_id), self._key.day


def new_salting(now_s: float, entropy: Callable[[int], bytes] = os.urandom) -> DaySalting:
    """Return one whose key is kept nowhere, for a gateway whose receipts nobody will ask for."""
    today = int(now_s * 1_000) // DAY_MS
    return DaySalting(DayKey(today, entropy(KEY_BYTES), today))


class SaltSecrets:
    """Finds what the salts of an entry follow from, for as long as it is there. Methods raise OSError.

    `path` is the file of days, `before` what salts followed from in releases that had no days: that goes when they do.
    For `days` after it was given, salts can be had of an answer that nobody keeps. `record_key` returns the key of a
    sealed record by tenant, `content_at` and request id, None once it was destroyed.
    """

    def __init__(
        self, path: Path, before: Path, days: int, record_key: Callable[[str, str, str], bytes | None]
    ) -> None:
        self._path, self._before, self._days, self._record_key = path, before, days, record_key

    def of(self, answer: Mapping[str, Any]) -> bytes | None:
        """Return what the salts of this entry's fields follow from; None once it was destroyed."""
        if (at := answer.get("content_at")) is not None:
            return self._record_key(answer["tenant"], at, answer["request_id"])
        if (day := answer.get("salt_day")) is None:
            return self._before.read_bytes() if self._before.exists() else None
        key = read_day_key(self._path).on(day)
        return None if key is None else key.key

    def forget(self, today: int) -> None:
        """Destroy the keys of the days that are over. Doing it again is harmless, and so is being killed on the way.

        For one process at a time.
        """
        now = read_day_key(self._path)
        oldest = now.on(today - self._days) or now
        if oldest.day > now.day:
            _write_over(self._path, oldest)
        if oldest.day > oldest.began:
            _destroy(self._before)


def load_or_begin(path: Path, today: int, entropy: Callable[[int], bytes] = os.urandom) -> DayKey:
    """Return the oldest key in the file, made at first use: whoever comes first makes it. Raises OSError."""
    if not path.exists():
        create_once(path, _content(DayKey(today, entropy(KEY_BYTES), today)))
    return read_day_key(path)


def read_day_key(path: Path) -> DayKey:
    """Read the file of the days' keys; raises SaltsUnusable, OSError."""
    for _ in range(2):  # what is just being replaced may be blank: then another one is there
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_mode & 0o077:
                raise SaltsUnusable(f"{path} may be read by others: chmod 600 {path}")
            content = file.read(_FILE_BYTES_MAX)
        with suppress(ValueError, KeyError, TypeError):
            said = json.loads(content)
            found = DayKey(int(said["day"]), bytes.fromhex(said["key"]), int(said["began"]))
            if len(found.key) == KEY_BYTES:
                return found
    raise SaltsUnusable(f"{path} holds no key of a day. Restore it from a backup: without it receipts have no salts.")


def _write_over(path: Path, key: DayKey) -> None:
    draft = path.with_name(f".{path.name}.new")
    _destroy(draft)  # of one that was killed
    write_new(draft, _content(key))
    with path.open("r+b", buffering=0) as old:
        draft.replace(path)
        sync_directory(path.parent)
        _blank(old.fileno())


def _content(key: DayKey) -> bytes:
    return json.dumps({"day": key.day, "key": key.key.hex(), "began": key.began}, sort_keys=True).encode()


def _destroy(path: Path) -> None:
    with suppress(FileNotFoundError):
        with path.open("r+b", buffering=0) as file:
            _blank(file.fileno())
        path.unlink()


def _blank(fd: int) -> None:
    os.pwrite(fd, bytes(os.fstat(fd).st_size), 0)
    os.fsync(fd)
