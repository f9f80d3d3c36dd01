"""`fastness ledger`: the record behind every answer, read. What it proves is in ledger_proof.py."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Final
from urllib.parse import quote

import typer

from fastness.cli import render
from fastness.cli.client import management_of
from fastness.cli.outcome import ExitCode, Failure
from fastness.cli.render import Column
from fastness.cli.talk import Json, Quiet, Talk

TAIL_EXAMPLES = """\
fastness ledger
fastness ledger tail --log control -n 100"""
SHOW_EXAMPLES = """\
fastness ledger show gateway-0 90118
fastness ledger show control 0 --json"""
FIND_EXAMPLES = """\
fastness ledger find req_1a2B3c4D5e6F7g8H9i0J1k
fastness ledger find --tenant health --type inference.refused"""

ENTRIES_MAX: Final = 1_000
FIND_TIMEOUT_S: Final = 600.0
COLUMNS = (
    Column("TIME", firm=True),
    Column("LOG", firm=True),
    Column("INDEX", right=True, firm=True),
    Column("TYPE", firm=True),
    Column("FIELDS"),
)
Log = Annotated[str | None, typer.Option(metavar="LOG", help="Only this log, such as control (default: all).")]
Count = Annotated[int, typer.Option("-n", "--count", metavar="N", min=1, max=ENTRIES_MAX, help="How many.")]


def tail(ctx: typer.Context, count: Count = 20, log: Log = None, as_json: Json = False, quiet: Quiet = False) -> None:
    """Show the last entries of all logs, oldest first."""
    with management_of(ctx, of_host=True) as api:
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
    with management_of(ctx, of_host=True) as api:
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
    with management_of(ctx, of_host=True) as api:
        answer = api.get("/ledger/find", timeout_s=FIND_TIMEOUT_S, count=count, log=log, **wanted)
    _write(answer, Talk(as_json, quiet))
    if not answer["entries"]:
        raise Failure(ExitCode.NOT_FOUND, "No entry has these values.", "fastness ledger tail shows the last ones")
    if len(answer["entries"]) == count:
        Talk(as_json, quiet).say(f"There may be more than these {count}: -n, or narrower values.")


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


def _write(answer: dict[str, Any], talk: Talk) -> None:
    if talk.as_json:
        talk.document(answer)
    else:
        talk.table(COLUMNS, [row(entry) for entry in answer["entries"]], "No entries.")


def _time(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3] + "Z"
