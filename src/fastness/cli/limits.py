"""`fastness limits`, `fastness usage`: what tenants, keys and models may use, and what they have used."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer

from fastness.cli import render
from fastness.cli.client import management_of
from fastness.cli.render import Column
from fastness.cli.talk import Json, Quiet, Talk, Yes

LIST_EXAMPLES = """\
fastness limits
fastness limits list --json"""
SET_EXAMPLES = """\
fastness limits set --tenant health --requests-per-minute 60 --tokens-per-day 1000000
fastness limits set --tenant health --model smollm2-135m-instruct --concurrent 4"""
REMOVE_EXAMPLES = """\
fastness limits remove --tenant health
fastness limits remove --key key_0Qb4kW1uVxkG2mZ7 --yes"""
USAGE_EXAMPLES = """\
fastness usage
fastness usage --tenant health --json"""

NUMBERS = ("requests_per_minute", "tokens_per_minute", "requests_per_day", "tokens_per_day", "concurrent")
COLUMNS = (
    Column("LIMIT"),
    Column("REQUESTS/MIN"),
    Column("TOKENS/MIN"),
    Column("REQUESTS/DAY"),
    Column("TOKENS/DAY"),
    Column("CONCURRENT"),
)
USAGE_COLUMNS = (
    Column("LIMIT"),
    Column("COUNTED"),
    Column("USED"),
    Column("OF"),
    Column("REMAINING"),
    Column("RESETS", spare=1),
)

Tenant = Annotated[str | None, typer.Option(metavar="ID", help="Requests of this tenant.")]
Key = Annotated[str | None, typer.Option(metavar="ID", help="Requests with this key.")]
Model = Annotated[str | None, typer.Option(metavar="NAME", help="Requests for this model.")]
RequestsPerMinute = Annotated[int | None, typer.Option(metavar="N", min=0, help="Requests in a minute.")]
TokensPerMinute = Annotated[int | None, typer.Option(metavar="N", min=0, help="Tokens, in and out, in a minute.")]
RequestsPerDay = Annotated[int | None, typer.Option(metavar="N", min=0, help="Requests in a day.")]
TokensPerDay = Annotated[int | None, typer.Option(metavar="N", min=0, help="Tokens, in and out, in a day.")]
Concurrent = Annotated[int | None, typer.Option(metavar="N", min=0, help="Requests at the same time.")]


def listing(ctx: typer.Context, as_json: Json = False, quiet: Quiet = False) -> None:
    """List the limits, oldest first."""
    talk = Talk(as_json, quiet)
    with management_of(ctx) as api:
        answer = api.get("/limits")
    if as_json:
        talk.document(answer)
    else:
        rows = [(one["id"], *(shown(one[name]) for name in NUMBERS)) for one in answer["limits"]]
        talk.table(COLUMNS, rows, "No limits yet: fastness limits set --tenant ID --requests-per-minute N")


def put(
    ctx: typer.Context,
    tenant: Tenant = None,
    key: Key = None,
    model: Model = None,
    requests_per_minute: RequestsPerMinute = None,
    tokens_per_minute: TokensPerMinute = None,
    requests_per_day: RequestsPerDay = None,
    tokens_per_day: TokensPerDay = None,
    concurrent: Concurrent = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Limit what a tenant, a key or a model may use, or one with another; every limit that applies is kept.

    Replaces the limits that were set for the same: a number that is left out is not limited any more.
    Minutes and days are those of UTC. Gateways know within a second.
    """
    talk = Talk(as_json, quiet)
    numbers = (requests_per_minute, tokens_per_minute, requests_per_day, tokens_per_day, concurrent)
    with management_of(ctx) as api:
        wish = {"tenant": tenant, "key": key, "model": model, **dict(zip(NUMBERS, numbers, strict=True))}
        answer = api.post("/limits", wish)
    if as_json:
        talk.document(answer)
    talk.say(f"Limits of {answer['id']} set. What is used of them: fastness usage")


def remove(
    ctx: typer.Context,
    tenant: Tenant = None,
    key: Key = None,
    model: Model = None,
    as_json: Json = False,
    quiet: Quiet = False,
    yes: Yes = False,
) -> None:
    """Remove the limits that were set for exactly this tenant, key and model."""
    talk = Talk(as_json, quiet, yes)
    named = " ".join(f"{what} {name}" for what, name in (("tenant", tenant), ("key", key), ("model", model)) if name)
    talk.confirm(f"Remove the limits of {named or 'nobody'}?")
    with management_of(ctx) as api:
        answer = api.post("/limits/remove", {"tenant": tenant, "key": key, "model": model})
    if as_json:
        talk.document(answer)
    talk.say(f"Limits of {answer['id']} removed.")


def usage(
    ctx: typer.Context,
    tenant: Annotated[str | None, typer.Option(metavar="ID", help="Only limits of this tenant and its keys.")] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Show what was used of each limit, and what remains.

    What counts is the present minute or day, of UTC. REMAINING leaves out what gateways hold ready.
    """
    talk = Talk(as_json, quiet)
    with management_of(ctx) as api:
        answer = api.get("/usage", tenant=tenant)
    if as_json:
        talk.document(answer)
    else:
        talk.table(USAGE_COLUMNS, [row(one) for one in answer["usage"]], "No limits yet, so nothing is counted.")


def row(one: dict[str, Any]) -> tuple[str, ...]:
    """Return one line of the table of uses."""
    resets = "" if one["resets_s"] is None else render.moment(one["resets_s"])
    counted = one["metric"].replace("_", " ")
    return one["id"], counted, shown(one["used"]), shown(one["limit"]), shown(one["remaining"]), resets


def shown(number: int | None) -> str:
    """Write a number for people."""
    return "-" if number is None else f"{number:,}"


ACTS: dict[str, tuple[Callable[..., None], str]] = {
    "list": (listing, LIST_EXAMPLES),
    "set": (put, SET_EXAMPLES),
    "remove": (remove, REMOVE_EXAMPLES),
}
