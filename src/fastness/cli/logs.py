"""`fastness logs`: what the processes wrote, also when none of them runs any more."""

from __future__ import annotations

import difflib
import json
import os
import re
import sys
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, BinaryIO, Final

import typer

from fastness.cli import render
from fastness.cli.composition import Composition
from fastness.cli.outcome import ExitCode, Failure
from fastness.cli.talk import Json, Quiet, Talk, wants_colour

EXAMPLES = """\
fastness logs
fastness logs control -n 200 -f"""

LINES_MAX: Final = 100_000
LINE_BYTES_MAX: Final = 65_536
POLL_S: Final = 0.2
_ROTATED: Final = re.compile(r"\.\d+\.jsonl$")


def logs(
    ctx: typer.Context,
    process: Annotated[
        str | None, typer.Argument(metavar="PROCESS", help="One process, such as control; without it, all.")
    ] = None,
    lines: Annotated[
        int, typer.Option("-n", "--lines", metavar="N", min=0, max=LINES_MAX, help="How many of the last.")
    ] = 50,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on with what is written from now on.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Show the last log lines of the processes.

    Oldest first, times in UTC. Logs never hold prompts or answers. With --json each line is the record
    as it was written.
    """
    composition: Composition = ctx.obj
    settings, _ = composition.load_settings({})
    directory = settings.home / "logs"
    tails = {path: Tail(path) for path in log_files(directory, process)}
    if not tails:
        Talk(as_json, quiet).say(f"No logs yet in {directory}.")
    try:
        _write([line for tail in tails.values() for line in tail.last(lines)], lines, as_json)
        while follow:
            time.sleep(POLL_S)
            for path in log_files(directory, process):
                tails.setdefault(path, Tail(path))
            _write([line for tail in tails.values() for line in tail.more()], LINES_MAX, as_json)
    except KeyboardInterrupt:
        return
    finally:
        for tail in tails.values():
            tail.close()


def log_files(directory: Path, process: str | None) -> list[Path]:
    """Return the log files of all processes, or of one; raises Failure for a process that never wrote one."""
    files = sorted(path for path in directory.glob("*.jsonl") if not _ROTATED.search(path.name))
    if process is None or not files:
        return files
    named = {path.stem: path for path in files}
    if process not in named:
        near = difflib.get_close_matches(process, named, n=1)
        raise Failure(
            ExitCode.NOT_FOUND,
            f"No process {process!r} has logged here." + (f" Did you mean {near[0]}?" if near else ""),
            "",
            (f"there are logs of: {', '.join(named)}",),
        )
    return [named[process]]


class Tail:
    """The end of one log file, and what is added to it, through rotations."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None
        self._partial = b""

    def last(self, lines: int) -> list[bytes]:
        """Return the last lines, reaching into the file rotated before if the newest has fewer."""
        kept: deque[bytes] = deque(self.more(), maxlen=lines)
        older = self._path.with_suffix(".1.jsonl")
        if len(kept) < lines and older.exists():
            with older.open("rb") as file:
                kept.extendleft(reversed(deque((line.rstrip(b"\n") for line in file), maxlen=lines - len(kept))))
        return list(kept)

    def more(self) -> list[bytes]:
        """Return the whole lines written since the last call; a line half written waits for its other half."""
        found = self._read()
        if self._rotated():
            self.close()
            found += self._read()
        return found

    def close(self) -> None:
        """Close the file."""
        if self._file:
            self._file.close()
        self._file = None

    def _read(self) -> list[bytes]:
        if self._file is None:
            try:
                self._file = self._path.open("rb")
            except OSError:
                return []
        *lines, self._partial = (self._partial + self._file.read()).split(b"\n")
        self._partial = self._partial[-LINE_BYTES_MAX:]
        return lines

    def _rotated(self) -> bool:
        try:
            return self._file is not None and os.fstat(self._file.fileno()).st_ino != self._path.stat().st_ino
        except OSError:
            return False


@dataclass(frozen=True, slots=True)
class LogLine:
    """One record: its time for sorting, its line as written, and its fields (None: it is not JSON)."""

    time_s: float
    raw: str
    fields: dict[str, object] | None

    def text(self, colour: bool) -> str:
        """Write the record for people: time (UTC), level, process, event, then its fields."""
        if self.fields is None:
            return render.printable(self.raw)
        rest = dict(self.fields)
        level, process, event = (str(rest.pop(name, "-")) for name in ("level", "process", "event"))
        rest.pop("time", None)
        clock = datetime.fromtimestamp(self.time_s, UTC).strftime("%m-%d %H:%M:%S.%f")[:-3]
        said = " ".join(f"{name}={render.plain(value)}" for name, value in rest.items() if value is not None)
        style = {"error": "red", "warning": "yellow"}.get(level)
        shown = render.printable(f"{clock}  {level:<7}  {process:<10}  {event:<22}  {said}").rstrip()
        return render.paint(shown, style, colour) if style else shown


def read_line(raw: bytes) -> LogLine:
    """Read one line; what is no record is kept as text."""
    text = raw[:LINE_BYTES_MAX].decode("utf-8", "replace")
    try:
        fields = json.loads(text)
        return LogLine(float(fields["time"]), text, fields)
    except (ValueError, KeyError, TypeError):
        return LogLine(0.0, text, None)


def _write(lines: Iterable[bytes], count: int, as_json: bool) -> None:
    records = sorted((read_line(line) for line in lines), key=lambda record: record.time_s)
    for record in records[max(0, len(records) - count) :]:
        if not as_json:
            typer.echo(record.text(wants_colour(sys.stdout)))
        elif record.fields is not None:
            typer.echo(record.raw)
