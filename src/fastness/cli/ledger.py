"""`fastness ledger`: the record behind every answer, read and verified."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final
from urllib.parse import quote

import typer

from fastness.cli import render
from fastness.cli.client import management_of
from fastness.cli.composition import Composition
from fastness.cli.outcome import ExitCode, Failure
from fastness.cli.render import Column
from fastness.cli.talk import Json, Quiet, Talk

if TYPE_CHECKING:
    from fastness.ledger.verify import LogReport

TAIL_EXAMPLES = """\
fastness ledger
fastness ledger tail --log control -n 100"""
SHOW_EXAMPLES = """\
fastness ledger show gateway-0 90118
fastness ledger show control 0 --json"""
FIND_EXAMPLES = """\
fastness ledger find req_1a2B3c4D5e6F7g8H9i0J1k
fastness ledger find --tenant health --type inference.refused"""
VERIFY_EXAMPLES = """\
fastness ledger verify
fastness ledger verify /media/evidence/ledger --json"""

ENTRIES_MAX: Final = 1_000
FIND_TIMEOUT_S: Final = 600.0
COLUMNS = (
    Column("TIME", firm=True),
    Column("LOG", firm=True),
    Column("INDEX", right=True, firm=True),
    Column("TYPE", firm=True),
    Column("FIELDS"),
)
LOG_COLUMNS = (
    Column("LOG"),
    Column("ENTRIES", right=True),
    Column("FILES", right=True, spare=1),
    Column("SIZE", right=True),
    Column("CHAIN", spare=2),
    Column("VERDICT"),
)

Log = Annotated[str | None, typer.Option(metavar="LOG", help="Only this log, such as control (default: all).")]
Count = Annotated[int, typer.Option("-n", "--count", metavar="N", min=1, max=ENTRIES_MAX, help="How many.")]


def tail(ctx: typer.Context, count: Count = 20, log: Log = None, as_json: Json = False, quiet: Quiet = False) -> None:
    """Show the last entries of all logs, oldest first."""
    with management_of(ctx) as api:
        answer = api.get("/ledger/tail", count=count, log=log)
    _write(answer, Talk(as_json, quiet))


def show(
    ctx: typer.Context,
    log: Annotated[str, typer.Argument(metavar="LOG", help="A log, such as gateway-0.")],
    index: Annotated[int, typer.Argument(metavar="INDEX", min=0, help="The entry's place in it, from 0.")],
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Show one entry in full."""
    talk = Talk(as_json, quiet)
    with management_of(ctx) as api:
        entry = api.get(f"/ledger/entries/{quote(log, safe='')}/{index}", timeout_s=FIND_TIMEOUT_S)
    if as_json:
        talk.document(entry)
    else:
        talk.text(render.pairs(facts(entry), talk.width))


def find(
    ctx: typer.Context,
    request_id: Annotated[str | None, typer.Argument(metavar="REQUEST_ID", help="The answer's x-request-id.")] = None,
    kind: Annotated[
        str | None, typer.Option("--type", metavar="TYPE", help="Type of the entry, such as key.issued.")
    ] = None,
    tenant: Annotated[str | None, typer.Option(metavar="ID", help="Tenant id.")] = None,
    key: Annotated[str | None, typer.Option(metavar="ID", help="Id of an API key: key_…")] = None,
    model: Annotated[str | None, typer.Option(metavar="NAME", help="Model that was asked.")] = None,
    code: Annotated[str | None, typer.Option(metavar="CODE", help="Error code of a refusal.")] = None,
    count: Count = 100,
    log: Log = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Find the entries of a request, or those with certain values.

    All values given must be in an entry. Log by log, from the oldest entry on.
    """
    wanted = {"request_id": request_id, "type": kind, "tenant": tenant, "key": key, "model": model, "code": code}
    if not any(wanted.values()):
        raise Failure(ExitCode.USAGE, "Nothing to look for was given.", "a request id, or --tenant, --key, --type …")
    with management_of(ctx) as api:
        answer = api.get("/ledger/find", timeout_s=FIND_TIMEOUT_S, count=count, log=log, **wanted)
    _write(answer, Talk(as_json, quiet))
    if not answer["entries"]:
        raise Failure(ExitCode.NOT_FOUND, "No entry has these values.", "fastness ledger tail shows the last ones")
    if len(answer["entries"]) == count:
        Talk(as_json, quiet).say(f"There may be more than these {count}: -n, or narrower values.")


def verify(
    ctx: typer.Context,
    directory: Annotated[
        Path | None,
        typer.Argument(metavar="DIRECTORY", help="A ledger kept elsewhere (default: the one here)."),
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Verify every log, entry by entry.

    Each entry must be in its place and unchanged, and none missing at the end that was once acknowledged.
    Reads the files themselves, so it needs nothing to be running and trusts nothing that runs.
    """
    from fastness.ledger import verify as ledger

    composition: Composition = ctx.obj
    talk = Talk(as_json, quiet)
    settings, _ = composition.load_settings({})
    place = directory or settings.home / "ledger"
    try:
        report = ledger.verify(place)
    except FileNotFoundError as error:
        raise Failure(ExitCode.NOT_FOUND, str(error), "fastness up begins one") from None
    except OSError as error:
        raise Failure(ExitCode.FAILED, f"{place} cannot be read: {error}.") from None
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


def row(entry: dict[str, Any]) -> tuple[str, ...]:
    """Return one line of a list of entries."""
    said = " ".join(f"{name}={render.plain(value)}" for name, value in entry["fields"].items() if value is not None)
    return (_time(entry["time_ms"]), entry["log"], str(entry["index"]), entry["type"], said)


def facts(entry: dict[str, Any]) -> list[tuple[str, str]]:
    """Return everything in one entry as named facts."""
    named = [(name, render.plain(value)) for name, value in entry["fields"].items()]
    return [
        ("log", entry["log"]),
        ("index", str(entry["index"])),
        ("time", _time(entry["time_ms"])),
        ("type", entry["type"]),
        *named,
        ("prev", entry["prev"]),
        ("chain", entry["chain"]),
    ]


def verdict(log: LogReport) -> tuple[str, ...]:
    """Return one line of a verification."""
    shown = (log.log, render.count(log.entries), str(log.segments), render.size(log.size_bytes), f"{log.chain[:12]}…")
    return (*shown, "ok" if log.sound else "BROKEN")


def reasons(logs: Iterable[LogReport]) -> list[str]:
    """Say what was proved, what is wrong and where, and what a crash left."""
    lines = []
    for log in logs:
        if log.fault:
            place = f"{log.directory / log.fault.segment}, line {log.fault.line}"
            lines.append(f"{log.log}: {log.fault.reason} ({place}). The {log.entries:,} entries before are sound.")
        elif log.torn_bytes:
            lines.append(f"{log.log}: {log.torn_bytes} bytes of an unfinished entry at the end; never acknowledged.")
    if not lines:
        lines.append("Every entry is in its place and unchanged.")
    return lines


def _write(answer: dict[str, Any], talk: Talk) -> None:
    if talk.as_json:
        talk.document(answer)
    else:
        talk.table(COLUMNS, [row(entry) for entry in answer["entries"]], "No entries.")


def _document(log: LogReport) -> dict[str, Any]:
    return {"sound": log.sound, **asdict(log), "directory": str(log.directory)}


def _time(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3] + "Z"
