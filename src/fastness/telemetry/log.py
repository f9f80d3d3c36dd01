"""Structured logs without content: JSON lines with a closed set of fields, rotated by size.

Records are buffered and written by `flush`, which the owning loop calls several times a second and at the end: a
request never waits for a log file.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final, TextIO

import msgspec

from fastness.telemetry.names import LOG_FIELDS

LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}
BUFFERED_RECORDS_MAX: Final = 10_000
Field = str | int | float | bool | None


class RequestLine(msgspec.Struct, gc=False):
    """The line that every request ends with. A type of its own: made and written several times faster than a dict."""

    time: float
    level: str
    process: str
    event: str
    request_id: str
    tenant: str | None
    key: str | None
    operation: str
    model: str | None
    replica: str | None
    status: int
    code: str | None
    marking: str | None
    rule: str | None
    stream: bool
    band: str | None
    choices: int | None
    input_tokens: int
    output_tokens: int
    retried: int | None
    resumed: int | None
    queue_ms: int
    first_token_ms: int | None
    commit_ms: int | None
    total_ms: int


assert set(RequestLine.__struct_fields__) <= LOG_FIELDS


class JsonLog:
    """One process's log file, with `files_max` rotated predecessors of at most `bytes_max` each."""

    def __init__(
        self,
        path: Path,
        process: str,
        clock: Callable[[], float],
        *,
        level: str = "info",
        bytes_max: int = 16_777_216,
        files_max: int = 4,
        echo: TextIO | None = None,
    ) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.process: Final = process
        self._path = path
        self._clock = clock
        self._threshold = LEVELS[level]
        self._bytes_max = bytes_max
        self._files_max = files_max
        self._echo = echo
        self._encoder = msgspec.json.Encoder()
        self._lines: list[dict[str, Field] | RequestLine] = []
        self._lost = 0

    def record(self, level: str, event: str, **fields: Field) -> None:
        """Note one event; raises ValueError for a field outside LOG_FIELDS. Beyond the buffer's bound it is counted."""
        if LEVELS[level] < self._threshold:
            return
        if not fields.keys() <= LOG_FIELDS:
            raise ValueError(f"not log fields: {sorted(fields.keys() - LOG_FIELDS)}")
        self._note(self._line(level, event, fields))

    def request(self, line: RequestLine) -> None:
        """Note the end of a request; `time` is what `now` says."""
        if LEVELS[line.level] >= self._threshold:
            self._note(line)

    def now(self) -> float:
        """Return the time of a record: seconds since 1970, to the millisecond."""
        return round(self._clock(), 3)

    def flush(self) -> None:
        """Write what was noted. A disk that refuses loses log records, never an answer."""
        if not self._lines:
            return
        if self._lost:
            self._lines.append(self._line("warning", "log.overflowed", {"count": self._lost}))
            self._lost = 0
        chunk = self._encoder.encode_lines(self._lines)
        self._lines.clear()
        try:
            self._rotate(len(chunk))
            with self._path.open("ab") as file:
                file.write(chunk)
        except OSError:
            self._lost += chunk.count(b"\n")
        if self._echo:
            self._echo.write(chunk.decode())

    def _note(self, line: dict[str, Field] | RequestLine) -> None:
        if len(self._lines) >= BUFFERED_RECORDS_MAX:
            self._lost += 1
        else:
            self._lines.append(line)

    def _line(self, level: str, event: str, fields: dict[str, Field]) -> dict[str, Field]:
        head: dict[str, Field] = {"time": self.now(), "level": level, "process": self.process, "event": event}
        return head | fields

    def _rotate(self, incoming: int) -> None:
        if not self._path.exists() or self._path.stat().st_size + incoming <= self._bytes_max:
            return
        for number in range(self._files_max - 1, 0, -1):
            older = self._path.with_suffix(f".{number}.jsonl")
            if older.exists():
                older.replace(self._path.with_suffix(f".{number + 1}.jsonl"))
        self._path.replace(self._path.with_suffix(".1.jsonl"))
