"""`fastness keys`: credentials of tenants. Each is shown once, when it is made."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any, Final
from urllib.parse import quote

import typer

from fastness.cli import render
from fastness.cli.client import management_of
from fastness.cli.render import Column
from fastness.cli.talk import Json, Quiet, Talk, Yes
from fastness.core.tenant import Role

LIST_EXAMPLES = """\
fastness keys
fastness keys list --tenant health"""
CREATE_EXAMPLES = """\
fastness keys create --tenant health --name letters --expires 90d
FASTNESS_KEY=$(fastness keys create --role approver --clearance OFFICIAL) fastness models"""
REVOKE_EXAMPLES = """\
fastness keys revoke key_1a2B3c4D5e6F7g8H
fastness keys revoke key_1a2B3c4D5e6F7g8H --yes"""

COLUMNS = (
    Column("KEY"),
    Column("TENANT"),
    Column("NAME"),
    Column("ROLE"),
    Column("BEGINS", spare=3),
    Column("CLEARANCE", spare=2),
    Column("MODELS", spare=4),
    Column("EXPIRES", spare=1),
    Column("STATE"),
)
_SECONDS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800, "y": 31_536_000}


def lifetime_s(text: str) -> int:
    """Read `30d`, `12h`, `90m`, `45s`, `2w` or `1y` as seconds; raises typer.BadParameter."""
    found = re.fullmatch(r"([1-9]\d{0,8})([smhdwy])", text)
    if not found:
        raise typer.BadParameter(f"{text!r} is no time span; write 30d, 12h, 90m, 45s, 2w or 1y.")
    return int(found.group(1)) * _SECONDS[found.group(2)]


Models = Annotated[
    str | None, typer.Option(metavar="A,B", help="Models that may be used, separated by commas (default: all).")
]
Tenant = Annotated[str, typer.Option(metavar="ID", help="The tenant that is charged.")]
Expires = Annotated[
    int | None, typer.Option(parser=lifetime_s, metavar="SPAN", help="Ends after this: 30d, 12h (default: never).")
]


def named(models: str | None) -> list[str] | None:
    """Read a list of models, separated by commas."""
    return None if models is None else [name.strip() for name in models.split(",")]


def listing(
    ctx: typer.Context,
    tenant: Annotated[str | None, typer.Option(metavar="ID", help="Only keys of this tenant.")] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """List the keys, oldest first.

    BEGINS is how the key itself begins; the rest of it is kept nowhere.
    """
    talk = Talk(as_json, quiet)
    with management_of(ctx) as api:
        answer = api.get("/keys", tenant=tenant)
    if as_json:
        talk.document(answer)
    else:
        talk.table(COLUMNS, [row(key) for key in answer["keys"]], "No keys yet: fastness keys create")


def create(
    ctx: typer.Context,
    tenant: Tenant = "default",
    name: Annotated[
        str, typer.Option(metavar="NAME", help="What the key is for, so that people know what they revoke.")
    ] = "cli",
    role: Annotated[
        Role,
        typer.Option(
            metavar="ROLE",
            help="developer asks models; admin also manages; approver admits models; auditor only reads.",
        ),
    ] = Role.DEVELOPER,
    expires: Expires = None,
    models: Models = None,
    clearance: Annotated[
        str | None,
        typer.Option(metavar="MARKING", help="The most it may handle, caveats included (default: its tenant's)."),
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Make a key and write it on stdout, this once.

    Only a fingerprint of it is kept: a key that was lost is revoked and made anew.
    """
    talk = Talk(as_json, quiet)
    wish = {"tenant": tenant, "name": name, "role": role.value, "ttl_s": expires} | {
        "models": named(models),
        "clearance": clearance,
    }
    with management_of(ctx) as api:
        answer = api.post("/keys", wish)
    if as_json:
        talk.document(answer)
        return
    talk.text(answer["key"])
    end = "never expires" if expires is None else f"expires {render.moment(answer['expires_s'])}"
    talk.say(f"{answer['id']} for tenant {tenant}, role {role.value}, {end}. It is not shown again.")


def revoke(
    ctx: typer.Context,
    key: Annotated[str, typer.Argument(metavar="ID", help="As fastness keys lists it: key_…")],
    as_json: Json = False,
    quiet: Quiet = False,
    yes: Yes = False,
) -> None:
    """Revoke a key, for good. Open gateways refuse it within a second."""
    talk = Talk(as_json, quiet, yes)
    talk.confirm(f"Revoke key {key}, for good?")
    with management_of(ctx) as api:
        answer = api.post(f"/keys/{quote(key, safe='')}/revoke")
    if as_json:
        talk.document(answer)
    talk.say(f"Key {key} is revoked.")


def row(key: dict[str, Any]) -> tuple[str, ...]:
    """Return one line of the list."""
    return (
        key["id"],
        key["tenant"],
        key["name"],
        key["role"],
        f"{key['hint']}…",
        key["clearance"] or "tenant's",
        "all" if key["models"] is None else ", ".join(key["models"]),
        render.moment(key["expires_s"]),
        key["state"],
    )


ACTS: dict[str, tuple[Callable[..., None], str]] = {
    "list": (listing, LIST_EXAMPLES),
    "create": (create, CREATE_EXAMPLES),
    "revoke": (revoke, REVOKE_EXAMPLES),
}
