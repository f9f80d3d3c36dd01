"""`fastness init cluster` and `fastness node`: which hosts belong to this installation, and what is said of each."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from fastness.cli import render
from fastness.cli.client import management_of
from fastness.cli.outcome import ExitCode, Failure
from fastness.cli.render import Column
from fastness.cli.talk import Json, Quiet, Talk, Yes

INIT_EXAMPLES = """\
fastness init cluster --address 10.0.0.1
fastness init cluster --name bristol-head --address 10.0.0.1 --address fd00::1"""
INVITE_EXAMPLES = """\
fastness node invite bristol-07 --address 10.0.0.7 --operator crown --label rack=b7
fastness node invite bristol-07 --out /media/stick/bristol-07.invitation"""
LIST_EXAMPLES = """\
fastness node list
fastness node list --json | jq '.hosts[] | select(.revoked_s == null) | .name'"""
REVOKE_EXAMPLES = """\
fastness node revoke bristol-07
fastness node revoke bristol-07 --yes"""
COLUMNS = (
    Column("HOST"),
    Column("ROLE"),
    Column("ADDRESSES"),
    Column("LAW"),
    Column("CEILING", spare=2),
    Column("SERIAL", spare=4),
    Column("EXPIRES", spare=1),
    Column("STATE"),
)
SERIAL_CHARS: Final = 12

Address = Annotated[list[str], typer.Option("--address", metavar="IP", help="Where it is reached; may be repeated.")]


def create(
    ctx: typer.Context,
    address: Address,
    name: Annotated[str, typer.Option(metavar="NAME", help="Name of this host (default: `node.name`).")] = "",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Make this host the head of a cluster: its own certificate authority, and a certificate for this host.

    What the certificate says of its place is what `node.*` says. Nothing is replaced where there is a cluster.
    """
    talk = Talk(as_json, quiet)
    settings, _ = ctx.obj.load_settings({})
    with management_of(ctx) as api:
        made = api.post("/cluster", {"name": name or settings.node.name, "addresses": address})
    if as_json:
        talk.document(made)
        return
    talk.text(f"{made['name']} is the head of a new cluster, until {render.moment(made['expires_s'])}.")
    talk.say(
        f"Whoever has {settings.home / 'cluster/ca.key'} says who belongs: keep a copy offline.\n"
        f"Next: fastness node invite NAME --address IP, then here: fastness up --ray {address[0]}"
    )


def invite(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The host: lower-case letters, digits and hyphens.")],
    address: Address = [],  # noqa: B006 - typer copies it
    jurisdiction: Annotated[str | None, typer.Option(metavar="CODE", help="Whose law it stands under.")] = None,
    operator: Annotated[str | None, typer.Option(metavar="ID", help="Who runs it, by the profile.")] = None,
    ceiling: Annotated[str | None, typer.Option(metavar="LABEL", help="The most it may handle.")] = None,
    pool: Annotated[str | None, typer.Option(metavar="NAME", help="Pool that it belongs to.")] = None,
    domain: Annotated[str | None, typer.Option(metavar="NAME", help="What fails together with it.")] = None,
    label: Annotated[
        list[str], typer.Option("--label", metavar="KEY=VALUE", help="What deployments may ask for; may be repeated.")
    ] = [],  # noqa: B006
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where to write it (default: NAME.invitation).")
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Certify a host, and write the one file to carry there: whoever has it can be that host.

    A host that was invited before is renewed: what is not given stays as it was.
    """
    talk, path = Talk(as_json, quiet), out or Path(f"{name}.invitation")
    if path.exists():
        raise Failure(ExitCode.USAGE, f"{path} is there already.", "fastness node invite NAME --out FILE")
    said = {
        "name": name,
        "addresses": address or None,
        "jurisdiction": jurisdiction,
        "operator": operator,
        "ceiling": ceiling,
        "pool": pool,
        "domain": domain,
        "labels": ",".join(label) or None,
    }
    with management_of(ctx) as api:
        answer = api.post("/cluster/hosts", {key: value for key, value in said.items() if value is not None})
    _write_secret(path, answer["invitation"])
    host = answer["host"]
    if as_json:
        talk.document({"host": host, "file": str(path)})
        return
    talk.text(f"{path} makes a host {host['name']}, until {render.moment(host['expires_s'])}.")
    talk.say(f"Carry it there, then on that host: fastness node join {path.name}; afterwards delete it.")


def listing(ctx: typer.Context, as_json: Json = False, quiet: Quiet = False) -> None:
    """List the certificates that this installation issued, oldest first."""
    talk = Talk(as_json, quiet)
    with management_of(ctx) as api:
        answer = api.get("/cluster/hosts")
    if as_json:
        talk.document(answer)
        return
    talk.table(COLUMNS, [_row(one) for one in answer["hosts"]], "No cluster here yet: fastness init cluster")


def revoke(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The host.")],
    as_json: Json = False,
    quiet: Quiet = False,
    yes: Yes = False,
) -> None:
    """Revoke all certificates of a host: no door lets it in, and nothing that it says counts any more."""
    talk = Talk(as_json, quiet, yes)
    talk.confirm(f"Shall no host believe {name} any more?")
    with management_of(ctx) as api:
        answer = api.post(f"/cluster/hosts/{name}/revoke")
    if as_json:
        talk.document(answer)
        return
    talk.text(f"{len(answer['hosts'])} certificates of {name} are revoked; hosts hear of it with their next orders.")


def _row(one: dict[str, Any]) -> tuple[str, ...]:
    state = "counts" if one["revoked_s"] is None else f"revoked {render.moment(one['revoked_s'])}"
    law = f"{one['jurisdiction']} {one['operator']}".strip()
    serial, ends = one["serial"][:SERIAL_CHARS], render.moment(one["expires_s"])
    return one["name"], one["role"], " ".join(one["addresses"]), law, one["ceiling"], serial, ends, state


def _write_secret(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)


INIT_ACTS: dict[str, tuple[Callable[..., None], str]] = {"cluster": (create, INIT_EXAMPLES)}
NODE_ACTS: dict[str, tuple[Callable[..., None], str]] = {
    "list": (listing, LIST_EXAMPLES),
    "invite": (invite, INVITE_EXAMPLES),
    "revoke": (revoke, REVOKE_EXAMPLES),
}
