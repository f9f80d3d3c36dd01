"""`fastness retention`: what departments have kept, and what is there of it. `disclosures` opens it."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Annotated, Any

import typer

from fastness.cli import disclosures, render
from fastness.cli.client import management_of
from fastness.cli.render import Column
from fastness.cli.talk import Json, Quiet, Talk

SHOW_EXAMPLES = """\
fastness retention
fastness retention show --json"""
SET_EXAMPLES = """\
fastness retention set health sealed --days 30
fastness retention set health none"""

COLUMNS = (
    Column("TENANT"),
    Column("RETENTION"),
    Column("REQUESTS", right=True),
    Column("DESTROYED", right=True),
    Column("SIZE", right=True),
    Column("OLDEST"),
)


class Kind(StrEnum):
    """The classes of retention, as the management API names them."""

    NONE = "none"
    SEALED = "sealed"
    HOLD = "hold"


def show(ctx: typer.Context, as_json: Json = False, quiet: Quiet = False) -> None:
    """Show what each tenant has kept, and what is there of it.

    DESTROYED are requests whose keys are gone; of whole days that are over nothing is left to count.
    """
    talk = Talk(as_json, quiet)
    with management_of(ctx) as api:
        answer = api.get("/retention")
    if as_json:
        talk.document(answer)
    else:
        rows = [_row(one) for one in answer["retention"]]
        talk.table(COLUMNS, rows, "No tenants yet: fastness tenants create ID")


def put(
    ctx: typer.Context,
    tenant: Annotated[str, typer.Argument(metavar="TENANT", help="As fastness tenants lists it.")],
    retention: Annotated[Kind, typer.Argument(metavar="RETENTION", help="none, sealed or hold.")],
    days: Annotated[int | None, typer.Option(metavar="N", min=1, help="With sealed: for how many days.")] = None,
    release: Annotated[
        str | None, typer.Option(metavar="ID", help="To end a hold: what was asked and approved for that.")
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Have a tenant's content kept sealed for some days, on hold until further notice, or not at all.

    Without it nothing is kept. What is sealed already stays for the days it was sealed for; a hold lets nothing be
    destroyed, and to end it takes two people: fastness retention ask release.
    """
    talk = Talk(as_json, quiet)
    with management_of(ctx) as api:
        answer = api.post(
            "/retention", {"tenant": tenant, "retention": retention.value, "days": days, "release": release}
        )
    if as_json:
        talk.document(answer)
    talk.say(f"Retention of {tenant}: {answer['retention']}.")


def _row(one: dict[str, Any]) -> tuple[str, ...]:
    oldest = "-" if one["oldest_day_s"] is None else render.moment(one["oldest_day_s"])[:10]
    return (
        one["tenant"],
        one["retention"],
        render.count(one["requests"]),
        render.count(one["destroyed"]),
        render.size(one["size_bytes"]),
        oldest,
    )


ACTS: dict[str, tuple[Callable[..., None], str]] = {
    "show": (show, SHOW_EXAMPLES),
    "set": (put, SET_EXAMPLES),
    **disclosures.ACTS,
}
