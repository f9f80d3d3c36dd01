"""`fastness deploy`: one deployment, without a file."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from fastness.cli.apply import Pending, as_file_says, carry_out
from fastness.cli.client import management_of
from fastness.cli.following import TIMEOUT_S, NoWait, Timeout
from fastness.cli.talk import Json, Quiet, Talk, Yes

EXAMPLES = """\
fastness deploy smollm2-135m-instruct
fastness deploy chat --model smollm2-135m-instruct --replicas 2 --tenant health"""


def deploy(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="What callers will send as `model`.")],
    model: Annotated[
        str | None, typer.Option(metavar="MODEL", help="The model, or MODEL@sha256:DIGITS; NAME if left out.")
    ] = None,
    owner: Annotated[
        str | None, typer.Option(metavar="OWNER", help="The tenant that is charged, or department/team.")
    ] = None,
    replicas: Annotated[int | None, typer.Option(metavar="N", min=0, help="So many, and no more or fewer.")] = None,
    low: Annotated[int | None, typer.Option("--min", metavar="N", min=0, help="Never fewer.")] = None,
    high: Annotated[int | None, typer.Option("--max", metavar="N", min=1, help="Never more.")] = None,
    ceiling: Annotated[str | None, typer.Option(metavar="MARKING", help="The most that it may handle.")] = None,
    tenant: Annotated[
        list[str] | None, typer.Option(metavar="ID", help="Only for this tenant; may come several times.")
    ] = None,
    devices: Annotated[int | None, typer.Option(metavar="N", min=1, help="Devices of each replica.")] = None,
    accelerator: Annotated[str | None, typer.Option(metavar="TYPE", help="Type of the devices.")] = None,
    pool: Annotated[str | None, typer.Option(metavar="NAME", help="Nodes of which pool.")] = None,
    slots: Annotated[int | None, typer.Option(metavar="N", min=1, help="Answers at the same time.")] = None,
    context: Annotated[int | None, typer.Option(metavar="TOKENS", min=1, help="Context of each slot.")] = None,
    pending: Pending = False,
    no_wait: NoWait = False,
    timeout: Timeout = TIMEOUT_S,
    as_json: Json = False,
    quiet: Quiet = False,
    yes: Yes = False,
) -> None:
    """Deploy a model under a name, and wait until it is ready.

    Of one that is there, only what is given changes. What has no option here has a field in the file of fastness
    apply.
    """
    talk = Talk(as_json, quiet, yes)
    with management_of(ctx) as api:
        given = as_file_says(api, name) or {"name": name, "model": model or name}
        wished: dict[str, Any] = {"model": model, "owner": owner, "ceiling": ceiling, "tenants": tenant or None}
        _put(given, wished)
        _put(given.setdefault("needs", {}), {"devices": devices, "accelerator": accelerator, "pool": pool})
        _put(given.setdefault("parameters", {}), {"slots": slots, "slot_context_tokens": context})
        bounds = {"min": replicas if low is None else low, "max": max(1, replicas) if replicas is not None else high}
        _put(given.setdefault("scaling", {}), bounds)
        carry_out(api, talk, [given], pending=pending, no_wait=no_wait, timeout_s=timeout)


def _put(table: dict[str, Any], wished: dict[str, Any]) -> None:
    table.update({name: value for name, value in wished.items() if value is not None})
