"""`fastness tenants`: the departments that are served and charged."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any
from urllib.parse import quote

import typer

from fastness.cli import render
from fastness.cli.client import management_of
from fastness.cli.keys import Models, named
from fastness.cli.render import Column
from fastness.cli.talk import Json, Quiet, Talk, Yes

LIST_EXAMPLES = """\
fastness tenants
fastness tenants list --json"""
CREATE_EXAMPLES = """\
fastness tenants create health --name "Department of Health" --share 4
fastness tenants create trials --clearance "OFFICIAL-SENSITIVE; PERSONAL" --marking OFFICIAL"""
SET_EXAMPLES = """\
fastness tenants set health --share 4
fastness tenants set trials --share 0.5 --json"""
REVOKE_EXAMPLES = """\
fastness tenants revoke trials
fastness tenants revoke trials --yes"""

SHARE_HELP = "Its weight where tenants compete for slots: with 4 it gets four times as much as with 1."
COLUMNS = (
    Column("TENANT"),
    Column("NAME", spare=1),
    Column("CLEARANCE"),
    Column("MARKING", spare=3),
    Column("SHARE", spare=5),
    Column("MODELS", spare=2),
    Column("CREATED", spare=4),
    Column("STATE"),
)


def listing(ctx: typer.Context, as_json: Json = False, quiet: Quiet = False) -> None:
    """List the tenants, oldest first."""
    talk = Talk(as_json, quiet)
    with management_of(ctx) as api:
        answer = api.get("/tenants")
    if as_json:
        talk.document(answer)
    else:
        talk.table(COLUMNS, [row(tenant) for tenant in answer["tenants"]], "No tenants yet: fastness tenants create ID")


def create(
    ctx: typer.Context,
    tenant: Annotated[str, typer.Argument(metavar="ID", help="Lower-case letters, digits and hyphens.")],
    name: Annotated[str | None, typer.Option(metavar="NAME", help="What people call it (default: the id).")] = None,
    models: Models = None,
    clearance: Annotated[
        str | None,
        typer.Option(
            metavar="MARKING", help="The most it may handle, caveats included (default: the profile's default)."
        ),
    ] = None,
    marking: Annotated[
        str | None,
        typer.Option(
            metavar="MARKING", help="What its requests carry that say nothing (default: the profile's default)."
        ),
    ] = None,
    share: Annotated[float, typer.Option(metavar="SHARE", help=SHARE_HELP)] = 1.0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Create a tenant. Its keys may use every model served, unless --models says which.

    A MARKING is written as in "OFFICIAL-SENSITIVE; PERSONAL, LEGAL"; fastness policy show lists them.
    """
    talk = Talk(as_json, quiet)
    with management_of(ctx) as api:
        wish = {"id": tenant, "name": name, "models": named(models), "clearance": clearance, "marking": marking}
        answer = api.post("/tenants", wish | {"share": share})
    if as_json:
        talk.document(answer)
    talk.say(f"Tenant {tenant} created. Next: fastness keys create --tenant {tenant}")


def change(
    ctx: typer.Context,
    tenant: Annotated[str, typer.Argument(metavar="ID", help="As fastness tenants lists it.")],
    share: Annotated[float, typer.Option(metavar="SHARE", help=SHARE_HELP)],
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Change what a tenant weighs where tenants compete. Gateways know within a second."""
    talk = Talk(as_json, quiet)
    with management_of(ctx) as api:
        answer = api.post(f"/tenants/{quote(tenant, safe='')}/set", {"share": share})
    if as_json:
        talk.document(answer)
    talk.say(f"Tenant {tenant} has a share of {answer['share']:g}.")


def revoke(
    ctx: typer.Context,
    tenant: Annotated[str, typer.Argument(metavar="ID", help="As fastness tenants lists it.")],
    as_json: Json = False,
    quiet: Quiet = False,
    yes: Yes = False,
) -> None:
    """Revoke a tenant and every key of it, for good. Open gateways refuse its keys within a second."""
    talk = Talk(as_json, quiet, yes)
    talk.confirm(f"Revoke tenant {tenant} and all of its keys, for good?")
    with management_of(ctx) as api:
        answer = api.post(f"/tenants/{quote(tenant, safe='')}/revoke")
    if as_json:
        talk.document(answer)
    talk.say(f"Tenant {tenant} and its keys are revoked.")


def row(tenant: dict[str, Any]) -> tuple[str, ...]:
    """Return one line of the list."""
    return (
        tenant["id"],
        tenant["name"],
        tenant["clearance"] or "default",
        tenant["marking"] or "default",
        f"{tenant['share']:g}",
        "all" if tenant["models"] is None else ", ".join(tenant["models"]),
        render.moment(tenant["created_s"]),
        tenant["state"],
    )


ACTS: dict[str, tuple[Callable[..., None], str]] = {
    "list": (listing, LIST_EXAMPLES),
    "create": (create, CREATE_EXAMPLES),
    "set": (change, SET_EXAMPLES),
    "revoke": (revoke, REVOKE_EXAMPLES),
}
