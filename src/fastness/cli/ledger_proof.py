"""`fastness ledger verify` and `checkpoint`: what the ledger proves, from its files alone."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from fastness.cli import render
from fastness.cli.composition import Composition
from fastness.cli.outcome import ExitCode, Failure
from fastness.cli.progress import Progress
from fastness.cli.render import Column
from fastness.cli.talk import Json, Quiet, Talk

if TYPE_CHECKING:
    from fastness.ledger.note import Note, VerifierKey
    from fastness.ledger.verify import LogReport

VERIFY_EXAMPLES = """\
fastness ledger verify
fastness ledger verify /media/evidence/ledger --key keys.txt --checkpoint last-week.txt --json"""
CHECKPOINT_EXAMPLES = """\
fastness ledger checkpoint > today.txt
fastness ledger checkpoint --keys > keys.txt"""

CHECKPOINTS_BYTES_MAX: Final = 16_777_216
QUICK_S: Final = 0.5
"""A verification that takes no longer needs no progress."""
LOG_COLUMNS = (
    Column("LOG"),
    Column("ENTRIES", right=True),
    Column("SIGNED", right=True),
    Column("FILES", right=True, spare=1),
    Column("SIZE", right=True),
    Column("CHAIN", spare=2),
    Column("VERDICT"),
)


def verify(
    ctx: typer.Context,
    directory: Annotated[
        Path | None,
        typer.Argument(metavar="DIRECTORY", help="A ledger kept elsewhere (default: the one here)."),
    ] = None,
    keys: Annotated[
        list[Path] | None,
        typer.Option("--key", metavar="FILE", help="Keys that the logs must be signed with, one on each line."),
    ] = None,
    checkpoints: Annotated[
        list[Path] | None,
        typer.Option(
            "--checkpoint", metavar="FILE", help="Checkpoints that were kept: the logs must have grown from them."
        ),
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Verify every log, entry by entry.

    Each entry must be in its place and unchanged, and none missing at the end that was once acknowledged or signed.
    Reads the files themselves, so it needs nothing to be running and trusts nothing that runs. Without --key, logs are
    held against the keys beside them: that shows that they are whole, and not who signed them.
    """
    from fastness.ledger import verify as ledger

    composition: Composition = ctx.obj
    talk = Talk(as_json, quiet)
    settings, _ = composition.load_settings({})
    place = directory or settings.home / "ledger"
    told = _Told(Progress(Talk(quiet=quiet)))
    try:
        report = ledger.verify(place, keys=_keys(keys), checkpoints=_checkpoints(checkpoints), progress=told)
    except FileNotFoundError as error:
        raise Failure(ExitCode.NOT_FOUND, str(error), "fastness up begins one") from None
    except OSError as error:
        raise Failure(ExitCode.FAILED, f"{place} cannot be read: {error}.") from None
    finally:
        told.progress.close()
    if as_json:
        talk.document({"sound": report.sound, "logs": [_document(log) for log in report.logs]})
    else:
        talk.table(LOG_COLUMNS, [verdict(log) for log in report.logs], "")
        talk.text("\n".join(reasons(report.logs)))
    if not report.sound:
        raise Failure(
            ExitCode.FAILED,
            "The ledger is not sound.",
            f"keep {place} as it is: it is evidence; compare it with copies and receipts kept elsewhere",
        )


def checkpoint(
    ctx: typer.Context,
    directory: Annotated[
        Path | None,
        typer.Argument(metavar="DIRECTORY", help="A ledger kept elsewhere (default: the one here)."),
    ] = None,
    log: Annotated[str | None, typer.Option(metavar="LOG", help="Only this log (default: all).")] = None,
    keys: Annotated[bool, typer.Option("--keys", help="Write the public keys of the logs instead.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write the last signed checkpoint of each log, to be kept elsewhere.

    Whoever has one can show later that the log still begins with what it covered: `ledger verify --checkpoint`. With
    --keys, what those need who verify: carry it to them on a way that is not this machine's.
    """
    from fastness.ledger.vouching import KEYS_NAME, read_checkpoint, read_keys

    composition: Composition = ctx.obj
    talk = Talk(as_json, quiet)
    settings, _ = composition.load_settings({})
    place = directory or settings.home / "ledger"
    found = sorted(path.parent for path in place.rglob(KEYS_NAME) if log in (None, path.parent.name))
    if not found:
        raise Failure(ExitCode.NOT_FOUND, f"There is no signed log {log or ''} in {place}.", "fastness up begins one")
    if keys:
        public = [str(key) for one in found for key in read_keys(one / KEYS_NAME)]
        talk.document({"keys": public}) if as_json else talk.text("\n".join(public))
        return
    notes = [str(note) for one in found if (note := read_checkpoint(one))]
    talk.document({"checkpoints": notes}) if as_json else talk.text("".join(notes).removesuffix("\n"))


def verdict(log: LogReport) -> tuple[str, ...]:
    """Return one line of a verification."""
    chain = f"{log.chain[:12]}…" if log.chain else ""
    signed = render.count(log.checkpoint_entries) if log.signed_by else "no"
    shown = (render.count(log.entries), signed, str(log.segments), render.size(log.size_bytes), chain)
    return (log.log, *shown, "ok" if log.sound else "BROKEN")


def reasons(logs: Iterable[LogReport]) -> list[str]:
    """Say what was proved, what is wrong and where, and what a crash left."""
    lines = []
    logs = list(logs)
    for log in logs:
        if log.fault:
            place = f"{log.directory / log.fault.segment}, line {log.fault.line}"
            lines.append(f"{log.log}: {log.fault.reason} ({place}). The {log.entries:,} entries before are sound.")
        elif log.torn_bytes:
            lines.append(f"{log.log}: {log.torn_bytes} bytes of an unfinished entry at the end; never acknowledged.")
    if not any(log.fault for log in logs):
        lines.append("Every entry is in its place and unchanged.")
    if any(log.signed_by and not log.known_keys for log in logs):
        lines.append("Whose keys signed is not shown: they were found beside the logs. Give yours with --key.")
    return lines


class _Told:
    """Tells how far verification is, once it lasts."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self._began: dict[str, float] = {}
        self._log: str | None = None

    def __call__(self, log: str, done_bytes: int, total_bytes: int) -> None:
        if log != self._log:
            if time.monotonic() - self._began.setdefault(log, time.monotonic()) < QUICK_S:
                return
            self._end()
            self._log = log
            self.progress.stage(log, "verify")
        self.progress.progress(log, done_bytes, total_bytes)
        if done_bytes >= total_bytes:
            self._end()

    def _end(self) -> None:
        if self._log is not None:
            self.progress.done(self._log, "verify", time.monotonic() - self._began[self._log], "read")
            self._log = None


def _keys(files: list[Path] | None) -> list[VerifierKey]:
    from fastness.ledger.note import NoteInvalid
    from fastness.ledger.vouching import read_keys

    try:
        return [key for file in files or () for key in read_keys(file)]
    except (NoteInvalid, OSError) as error:
        raise Failure(
            ExitCode.USAGE, f"The keys cannot be read: {error}.", "fastness ledger checkpoint --keys"
        ) from None


def _checkpoints(files: list[Path] | None) -> list[Note]:
    from fastness.ledger.checkpoint import parse_checkpoint
    from fastness.ledger.note import parse_notes

    try:
        found = []
        for file in files or ():
            with file.open("rb") as opened:
                found += parse_notes(opened.read(CHECKPOINTS_BYTES_MAX))
        for note in found:
            parse_checkpoint(note.text)
    except (ValueError, OSError) as error:
        raise Failure(
            ExitCode.USAGE, f"Kept checkpoints cannot be read: {error}.", "fastness ledger checkpoint"
        ) from None
    return found


def _document(log: LogReport) -> dict[str, Any]:
    return {"sound": log.sound, **asdict(log), "directory": str(log.directory)}
