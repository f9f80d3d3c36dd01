"""`fastness events` and `fastness why`: what happened to the fleet, and why something is as it is."""

from __future__ import annotations

import sys
import time
from typing import Annotated

import typer

from fastness.cli import fleet_text
from fastness.cli.client import management_of
from fastness.cli.talk import Json, Quiet, Talk, reading_width

EVENTS_EXAMPLES = """\
fastness events
fastness events --deployment chat --limit 200"""
WHY_EXAMPLES = """\
fastness why chat
fastness why chat --json"""


def events(
    ctx: typer.Context,
    since: Annotated[
        int | None, typer.Option(metavar="ENTRY", min=0, help="From this entry of the log `control` on.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", metavar="N", min=1, max=1_000, help="How many at most.")] = 50,
    deployment: Annotated[str | None, typer.Option(metavar="NAME", help="Only of this deployment.")] = None,
    node: Annotated[str | None, typer.Option(metavar="NODE", help="Only of this node.")] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Show what happened to the fleet, and who asked for it.

    Oldest first; each is an entry of the ledger. Without --since: the last. Times are UTC. What has no author was
    decided by the control plane itself.
    """
    talk = Talk(as_json, quiet)
    with management_of(ctx) as api:
        answer = api.get("/events", since=since, limit=limit, deployment=deployment, node=node)
    if as_json:
        talk.document(answer)
        return
    for one in answer["events"]:
        talk.text(fleet_text.event(one))
    if not answer["events"]:
        talk.say("Nothing happened yet.")


def why(
    ctx: typer.Context,
    deployment: Annotated[str, typer.Argument(metavar="DEPLOYMENT", help="The deployment.")],
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Say why a deployment is as it is, and what comes next.

    That is what it needs, what each node says to that, who holds the devices, and what would fit.
    """
    talk = Talk(as_json, quiet)
    with management_of(ctx) as api:
        answer = api.get(f"/deployments/{deployment}/why")
    if as_json:
        talk.document(answer)
        return
    for line in fleet_text.why(answer, time.time(), reading_width(sys.stdout)):
        talk.text(line)
