"""The acts of `fastness retention` that it takes two people for: find, ask, approve; then open, export or shred."""

from __future__ import annotations

import base64
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer

from fastness.cli import disclosed, render
from fastness.cli.client import management_of
from fastness.cli.moments import From, To, milliseconds
from fastness.cli.outcome import ExitCode, Failure
from fastness.cli.render import Column
from fastness.cli.talk import Json, Quiet, Talk, Yes

FIND_EXAMPLES = """\
fastness retention find --tenant health --end-user citizen-7
fastness retention find --tenant health --from 2026-11-01 --to 2026-12-01"""
ASK_EXAMPLES = """\
fastness retention ask open --tenant health --end-user citizen-7 --reason "SAR 2026/114"
fastness retention ask shred --tenant health --everything --reason "The department leaves"
"""
REQUESTS_EXAMPLES = """\
fastness retention requests
fastness retention requests disc_0123456789abcdef0123"""
APPROVE_EXAMPLES = """\
fastness retention approve disc_0123456789abcdef0123
fastness retention approve disc_0123456789abcdef0123 --yes"""
OPEN_EXAMPLES = """\
fastness retention open disc_0123456789abcdef0123
fastness retention open disc_0123456789abcdef0123 --json"""
EXPORT_EXAMPLES = """\
fastness retention export disc_0123456789abcdef0123 -o citizen-7.zip
fastness retention export disc_0123456789abcdef0123 -o citizen-7.sealed --reader reader.pub"""
SHRED_EXAMPLES = """\
fastness retention shred disc_0123456789abcdef0123 -o certificate.json
fastness retention shred disc_0123456789abcdef0123 -o certificate.json --yes"""
DECRYPT_EXAMPLES = """\
fastness retention decrypt citizen-7.sealed --key reader.key -o citizen-7.zip
fastness retention decrypt citizen-7.sealed --key reader.key -o citizen-7.zip --json"""
SLOW_S = 600.0
"""Content of a day is read, opened and hashed within it."""

FOUND = (
    Column("REQUEST"),
    Column("TIME"),
    Column("KEY"),
    Column("MARKING", spare=1),
    Column("MODEL", spare=2),
    Column("SIZE", right=True),
)
ASKED = (
    Column("ID"),
    Column("TO"),
    Column("TENANT"),
    Column("REQUESTS", right=True),
    Column("STATE"),
    Column("ASKED BY", spare=1),
    Column("APPROVED BY", spare=1),
    Column("UNTIL", spare=2),
)

Tenant = Annotated[str, typer.Option(metavar="ID", help="Whose content.")]
Request = Annotated[list[str] | None, typer.Option(metavar="ID", help="This request; may be given several times.")]
Key = Annotated[str | None, typer.Option(metavar="ID", help="Requests with this key.")]
EndUser = Annotated[str | None, typer.Option(metavar="ID", help="Whose `safety_identifier` or `user` it had.")]
Id = Annotated[str, typer.Argument(metavar="ID", help="As fastness retention requests lists it.")]
Output = Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Where to write it; it must not exist.")]


class Aim(StrEnum):
    """What content is asked for."""

    OPEN = "open"
    EXPORT = "export"
    SHRED = "shred"
    RELEASE = "release"


def find(
    ctx: typer.Context,
    tenant: Tenant,
    request: Request = None,
    key: Key = None,
    end_user: EndUser = None,
    from_: From = None,
    to: To = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Find what is kept, by what stands outside. Nothing is opened."""
    talk = Talk(as_json, quiet)
    selection = _selection(request, key, end_user, from_, to)
    with management_of(ctx) as api:
        answer = api.post("/retention/find", {"tenant": tenant, "selection": selection}, timeout_s=SLOW_S)
    if as_json:
        talk.document(answer)
        return
    talk.table(FOUND, [_found(one) for one in answer["found"]], "Nothing that is kept fits this selection.")
    if answer["more"]:
        talk.say("And more: narrow the selection.")


def ask(
    ctx: typer.Context,
    purpose: Annotated[
        Aim, typer.Argument(metavar="PURPOSE", help="open, export or shred; or release, to end a hold.")
    ],
    tenant: Tenant,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why; whoever approves reads it.")],
    request: Request = None,
    key: Key = None,
    end_user: EndUser = None,
    from_: From = None,
    to: To = None,
    everything: Annotated[bool, typer.Option("--everything", help="To shred: all keys of the tenant.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Ask to open, export or shred content, or to end a hold. Nothing happens before somebody else approves it."""
    talk = Talk(as_json, quiet)
    wish = {"purpose": purpose.value, "tenant": tenant, "reason": reason, "everything": everything}
    selection = _selection(request, key, end_user, from_, to)
    with management_of(ctx) as api:
        answer = api.post("/retention/requests", wish | {"selection": selection}, timeout_s=SLOW_S)
    if as_json:
        talk.document(answer)
    else:
        talk.text(answer["id"])
    what = "all keys" if answer["everything"] else f"{answer['requests_total']:,} requests"
    what = "the hold" if purpose is Aim.RELEASE else what
    talk.say(f"Asked to {purpose.value} {what} of {tenant}, until {render.moment(answer['expires_s'])}.")
    talk.say(f"Somebody else approves it: fastness retention approve {answer['id']}")


def requests(
    ctx: typer.Context,
    disclosure: Annotated[str | None, typer.Argument(metavar="ID", help="One, with its reason.")] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """List what was asked; or show one with its reason, to who asked it and who may approve it."""
    talk = Talk(as_json, quiet)
    with management_of(ctx) as api:
        answer = api.get("/retention/requests" if disclosure is None else f"/retention/requests/{_quoted(disclosure)}")
    if as_json:
        talk.document(answer)
    elif disclosure is None:
        talk.table(ASKED, [_asked(one) for one in answer["requests"]], "Nobody has asked for content.")
    else:
        talk.text(render.pairs(_detail(answer), talk.width))


def approve(ctx: typer.Context, disclosure: Id, as_json: Json = False, quiet: Quiet = False, yes: Yes = False) -> None:
    """Approve what somebody else asked."""
    talk = Talk(as_json, quiet, yes)
    with management_of(ctx) as api:
        asked = api.get(f"/retention/requests/{_quoted(disclosure)}")
        what, total = asked["request"], asked["request"]["requests_total"]
        said = "all keys" if what["everything"] else f"{total:,} requests"
        said = "the hold" if what["purpose"] == Aim.RELEASE else said
        talk.say(f"{what['asked_by']} asks to {what['purpose']} {said} of {what['tenant']}: {asked['reason']}")
        talk.confirm("Approve it?")
        answer = api.post(f"/retention/requests/{_quoted(disclosure)}/approve")
    if as_json:
        talk.document(answer)
    talk.say(f"Approved: {answer['asked_by']} may {answer['purpose']} it until {render.moment(answer['expires_s'])}.")


def open_(ctx: typer.Context, disclosure: Id, as_json: Json = False, quiet: Quiet = False) -> None:
    """Open what you asked for and somebody else approved. It is recorded before it is shown.

    With --json, answers are shown as they went over the wire, too.
    """
    talk = Talk(as_json, quiet)
    with management_of(ctx) as api:
        answer = api.post(f"/retention/requests/{_quoted(disclosure)}/open", timeout_s=SLOW_S)
    if as_json:
        talk.document(answer)
        return
    for one in answer["opened"]:
        broke = "" if one["whole"] else ", broke off"
        talk.text(
            f"{one['request_id']}  {render.moment(one['time_ms'] / 1_000)}  {one['key']}  {one['marking']}{broke}"
        )
        talk.text(f"asked     {render.printable(one['request'])}")
        talk.text(f"answered  {render.printable(one['said'] or one['answer'])}")


def export(
    ctx: typer.Context,
    disclosure: Id,
    output: Output,
    reader: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Seal it to this X25519 public key, in PEM.")
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write what you asked for and somebody else approved to a file, with the entries and proofs of the ledger."""
    talk = Talk(as_json, quiet)
    body = {"reader": disclosed.read(reader).decode("ascii", "replace")} if reader else {}
    _check_new(output)
    with management_of(ctx) as api:
        answer = api.post(f"/retention/requests/{_quoted(disclosure)}/export", body, timeout_s=SLOW_S)
    content = base64.b64decode(answer["file"])
    write_new(output, content)
    if as_json:
        talk.document({"path": str(output), "sha256": answer["sha256"], "size_bytes": len(content)})
    talk.say(f"{output}: {render.size(len(content))}, sha256 {answer['sha256']}")


def shred(
    ctx: typer.Context, disclosure: Id, output: Output, as_json: Json = False, quiet: Quiet = False, yes: Yes = False
) -> None:
    """Destroy the keys of what you asked for and somebody else approved, and write the certificate. It is for good."""
    talk = Talk(as_json, quiet, yes)
    talk.confirm(f"Destroy what {disclosure} names, for good?")
    _check_new(output)
    with management_of(ctx) as api:
        answer = api.post(f"/retention/requests/{_quoted(disclosure)}/shred", timeout_s=SLOW_S)
    if as_json:
        talk.document(answer)
    body = answer["body"]
    write_new(output, canonical(answer))
    talk.say(
        f"{body['requests_total']:,} requests of {body['tenant']} destroyed; {body['opened_after']} of them still open."
        f" Entry {body['index']} of the log {body['log']} says so. {output}: the certificate"
    )


def decrypt(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="An export that was sealed to you.")],
    key: Annotated[Path, typer.Option(metavar="FILE", help="Your X25519 private key, in PEM.")],
    output: Output,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Open an export that was sealed to a reader. Needs nothing but the two files."""
    from fastness.sealed.addressed import NotAReader, read_addressed, read_own
    from fastness.sealed.box import Damaged

    _check_new(output)
    try:
        content = read_addressed(disclosed.read(file), read_own(disclosed.read(key)))
    except (NotAReader, Damaged) as error:
        raise Failure(ExitCode.FAILED, f"{file} cannot be opened with {key}: {error}.") from None
    write_new(output, content)
    talk = Talk(as_json, quiet)
    if as_json:
        talk.document({"path": str(output), "size_bytes": len(content)})
    talk.say(f"{output}: {render.size(len(content))}")


def write_new(path: Path, content: bytes) -> None:
    """Write a file that only its owner reads and that was not there; raises Failure."""
    import os

    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
    except OSError as error:
        raise Failure(ExitCode.FAILED, f"{path} cannot be written: {error.strerror}.", "-o another file") from None


def canonical(answer: dict[str, Any]) -> bytes:
    """Return a signed file again as it was signed: JSON with sorted keys and no spaces."""
    import json

    return json.dumps(answer, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"


def _check_new(path: Path) -> None:
    if path.exists():
        raise Failure(ExitCode.USAGE, f"{path} is there already, and nothing is overwritten.", "-o another file")


def _selection(
    request: list[str] | None, key: str | None, end_user: str | None, from_: str | None, to: str | None
) -> dict[str, Any]:
    return {
        "requests": request or [],
        "key": key,
        "end_user": end_user,
        "from_ms": milliseconds(from_, "--from"),
        "to_ms": milliseconds(to, "--to"),
    }


def _quoted(disclosure: str) -> str:
    return quote(disclosure, safe="")


def _found(one: dict[str, Any]) -> tuple[str, ...]:
    time = render.moment(one["time_ms"] / 1_000)
    return one["request_id"], time, one["key"], one["marking"], one["model"] or "-", render.size(one["content_bytes"])


def _asked(one: dict[str, Any]) -> tuple[str, ...]:
    total = "all" if one["everything"] else render.count(one["requests_total"])
    until, approved_by = render.moment(one["expires_s"]), one["approved_by"] or "-"
    return one["id"], one["purpose"], one["tenant"], total, one["state"], one["asked_by"], approved_by, until


def _detail(answer: dict[str, Any]) -> list[tuple[str, str]]:
    one, selection = answer["request"], answer["selection"]
    chosen = ", ".join(f"{name} {value}" for name, value in selection.items() if value)
    return [
        ("id", one["id"]),
        ("to", f"{one['purpose']}, of {one['tenant']}" + (", breaking the glass" if one["break_glass"] else "")),
        ("reason", render.printable(answer["reason"])),
        ("selection", render.printable(chosen) or "everything"),
        ("found", "all keys" if one["everything"] else f"{one['requests_total']:,} requests"),
        ("markings", ", ".join(answer["labels"]) or "-"),
        ("state", one["state"]),
        ("asked by", one["asked_by"]),
        ("approved by", one["approved_by"] or "nobody yet"),
        ("until", render.moment(one["expires_s"])),
    ]


ACTS: dict[str, tuple[Callable[..., None], str]] = {
    "find": (find, FIND_EXAMPLES),
    "ask": (ask, ASK_EXAMPLES.rstrip("\n")),
    "requests": (requests, REQUESTS_EXAMPLES),
    "approve": (approve, APPROVE_EXAMPLES),
    "open": (open_, OPEN_EXAMPLES),
    "export": (export, EXPORT_EXAMPLES),
    "shred": (shred, SHRED_EXAMPLES),
    "decrypt": (decrypt, DECRYPT_EXAMPLES),
    "verify": (disclosed.verify, disclosed.VERIFY_EXAMPLES),
}
