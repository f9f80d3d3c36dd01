"""`fastness plan`: what would happen, and what would be needed, before anything does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from fastness.cli import plan_capacity
from fastness.cli.apply import show_plan
from fastness.cli.client import management_of
from fastness.cli.deployment_file import read_deployments
from fastness.cli.talk import Json, Quiet, Talk

SHOW_EXAMPLES = """\
fastness plan
fastness plan show --file deployment.toml --remove old-chat"""


def show(
    ctx: typer.Context,
    file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="If this file of deployments were applied; `-`: standard input.")
    ] = None,
    remove: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="If this deployment were removed; may come several times.")
    ] = None,
    roll: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="If this deployment were rolled; may come several times.")
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Show what would happen, step by step; without an option, what happens next anyway. Changes nothing.

    The steps are those of the control plane's own plan, if every node does as it is told and nothing breaks.
    """
    talk = Talk(as_json, quiet)
    given = [] if file is None else read_deployments(file)
    with management_of(ctx) as api:
        answer = api.post("/plan", {"deployment": given, "remove": remove or [], "roll": roll or []})
    show_plan(talk, answer)


ACTS: dict[str, tuple[Callable[..., None], str]] = {
    "show": (show, SHOW_EXAMPLES),
    "capacity": (plan_capacity.capacity, plan_capacity.EXAMPLES),
}
