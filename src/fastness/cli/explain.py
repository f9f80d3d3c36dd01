"""`fastness explain`: why a request went to the replica that it went to."""

from __future__ import annotations

import json
import string
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from fastness.cli import render
from fastness.cli.composition import Composition
from fastness.cli.outcome import ExitCode, Failure
from fastness.cli.render import Column
from fastness.cli.running import answers, find_running, nothing_runs, run_path
from fastness.cli.talk import Json, Quiet, Talk
from fastness.core.gateways import FIRST, sockets_in

EXAMPLES = """\
fastness explain req_0123456789abcdef0123456789abcdef
fastness explain req_0123456789abcdef0123456789abcdef --json | jq '.choices[].replica'"""

TIMEOUT_S: Final = 10.0
_ID: Final = frozenset(string.ascii_letters + string.digits + "_-")

COLUMNS = (
    Column("REPLICA", firm=True),
    Column("CACHED", right=True),
    Column("TO READ", right=True),
    Column("IN FLIGHT", right=True),
    Column("UNREAD", right=True, spare=1),
    Column("SCORE", right=True),
    Column(""),
)


def explain(
    ctx: typer.Context,
    request: Annotated[str, typer.Argument(metavar="REQUEST_ID", help="From the x-request-id header of an answer.")],
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Show why a request went to the replica that it went to.

    CACHED and TO READ are bytes of its prompt that each replica remembered and did not; IN FLIGHT are the generations
    under way there, over its slots; UNREAD the bytes of theirs not read yet. The least SCORE is chosen. Each gateway
    remembers its last 1,024 requests, and no content.
    """
    composition: Composition = ctx.obj
    talk = Talk(as_json, quiet)
    settings, _ = composition.load_settings({})
    if not request or not set(request) <= _ID:
        raise Failure(
            ExitCode.USAGE, f"{render.printable(request[:100])!r} is no request id.", "x-request-id of an answer"
        )
    if find_running(settings) is None:
        raise nothing_runs(settings)
    answer = ask_all(sockets_in(run_path(settings)), request)
    if as_json:
        talk.document(answer)
        return
    for number, choice in enumerate(answer["choices"]):
        if number:
            talk.text("")
        beside = ", beside the one before, which was late to begin" if choice.get("hedged") else ""
        moment = render.moment(choice["at_s"])
        talk.text(f"{choice['model']}, a prompt of {choice['size']:,} bytes, at {moment}{beside}")
        talk.table(COLUMNS, rows(choice), "")


def rows(choice: dict[str, Any]) -> list[tuple[str, ...]]:
    """Return one line for each candidate, the best first."""
    return [
        (
            one["replica"],
            f"{one['cached']:,}",
            f"{one['to_read']:,}",
            f"{one['in_flight']}/{one['capacity']}",
            f"{one['unread']:,}",
            f"{one['score']:,.1f}",
            "chosen" if one["replica"] == choice["replica"] else "",
        )
        for one in choice["candidates"]
    ]


def ask_all(paths: Sequence[Path], request: str) -> dict[str, Any]:
    """Ask each gateway, since only one of them had the request; raises Failure when none knows it."""
    failures = []
    for path in paths:
        try:
            return ask(path, request)
        except Failure as failure:
            failures.append(failure)
    # One that is silent might know it.
    silent = next((one for one in failures if one.exit_code is ExitCode.UNREACHABLE), None)
    raise silent or (failures[0] if failures else _silent(FIRST))


def ask(path: Path, request: str) -> dict[str, Any]:
    """Ask a gateway on its Unix socket, which this user alone may open; raises Failure."""
    import httpx

    silent = _silent(path.stem)
    if not answers(path):
        raise silent
    try:
        with httpx.Client(
            transport=httpx.HTTPTransport(uds=str(path), verify=False), base_url="http://gateway", trust_env=False
        ) as client:
            response = client.get(f"/choices/{request}", timeout=TIMEOUT_S)
        body = response.json()
    except (httpx.TransportError, json.JSONDecodeError):
        raise silent from None
    if response.is_success:
        return dict(body)
    raise Failure(ExitCode.NOT_FOUND, str(body["error"]["message"]), "")


def _silent(gateway: str) -> Failure:
    return Failure(ExitCode.UNREACHABLE, f"{gateway} does not answer.", f"fastness logs {gateway}")
