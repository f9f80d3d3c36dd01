"""`fastness events`: what happened to the fleet."""

from __future__ import annotations

from typing import Annotated

import typer

from fastness.cli import fleet_text
from fastness.cli.client import management_of
from fastness.cli.talk import Json, Quiet, Talk

EXAMPLES = """\
fastness events
fastness events --deployment chat --limit 200"""


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
