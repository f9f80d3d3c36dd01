"""`fastness shares`: what departments and teams are guaranteed of the devices, and what they hold."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer

from fastness.cli.client import management_of
from fastness.cli.render import Column
from fastness.cli.talk import Json, Quiet, Talk

SHOW_EXAMPLES = """\
fastness shares
fastness shares show --json"""
SET_EXAMPLES = """\
fastness shares set health 8
fastness shares set health/triage 4 --pool h100"""

COLUMNS = (
    Column("OWNER"),
    Column("POOL"),
    Column("GUARANTEED", right=True),
    Column("HELD", right=True),
    Column("BORROWED", right=True),
    Column("LEAVING", right=True),
)
POOLS = (Column("POOL"), Column("DEVICES", right=True), Column("FREE", right=True), Column("GUARANTEED", right=True))


def show(ctx: typer.Context, as_json: Json = False, quiet: Quiet = False) -> None:
    """Show who is guaranteed how many devices of which pool, and who holds and borrows how many.

    A department is without its teams. LEAVING is still held by what drains or is lost.
    """
    talk = Talk(as_json, quiet)
    with management_of(ctx) as api:
        answer = api.get("/shares")
    _show(talk, answer)


def put(
    ctx: typer.Context,
    owner: Annotated[str, typer.Argument(metavar="OWNER", help="A tenant, or department/team.")],
    devices: Annotated[int, typer.Argument(metavar="DEVICES", help="How many; 0 takes the guarantee away.")],
    pool: Annotated[str, typer.Option(metavar="NAME", help="Of which pool of nodes.")] = "default",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Guarantee a department or a team so many devices of a pool, and never more than there are.

    What idles of them may be borrowed; when its owner wants it, borrowed replicas drain. A department's guarantee is
    also its weight in the fair queue.
    """
    talk = Talk(as_json, quiet)
    with management_of(ctx) as api:
        answer = api.post("/shares", {"owner": owner, "devices": devices, "pool": pool})
    _show(talk, answer)


def _show(talk: Talk, answer: dict[str, Any]) -> None:
    if talk.as_json:
        talk.document(answer)
        return
    rows = [
        (one["owner"], one["pool"], *(str(one[what]) for what in ("guaranteed", "held", "borrowed", "leaving")))
        for one in answer["shares"]
    ]
    talk.table(COLUMNS, rows, "Nobody is guaranteed devices, and nobody holds any: fastness shares set OWNER DEVICES")
    pools = [(one["pool"], str(one["devices"]), str(one["free"]), str(one["guaranteed"])) for one in answer["pools"]]
    if pools:
        talk.text("")
        talk.table(POOLS, pools, "")


ACTS: dict[str, tuple[Callable[..., None], str]] = {"show": (show, SHOW_EXAMPLES), "set": (put, SET_EXAMPLES)}
