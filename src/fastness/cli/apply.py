"""`fastness apply`: deployments as a file says, and the file that says what there is."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from fastness.cli import fleet_text
from fastness.cli.client import Api, management_of
from fastness.cli.deployment_file import read_deployments, written
from fastness.cli.following import TIMEOUT_S, Following, NoWait, Timeout, next_entry, only_recorded, summary
from fastness.cli.outcome import ExitCode, Failure
from fastness.cli.render import Column
from fastness.cli.talk import Json, Quiet, Talk, Yes, reading_width

EXAMPLES = """\
fastness apply deployment.toml
fastness apply --export > deployment.toml"""

COLUMNS = (Column("DEPLOYMENT"), Column("OUTCOME"), Column("REVISION", right=True))

DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would differ and happen; change nothing.")]
Pending = Annotated[bool, typer.Option("--pending", help="Also what no node here could take yet.")]


def apply(
    ctx: typer.Context,
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="TOML file of deployments; `-` for standard input.")
    ] = None,
    export: Annotated[
        bool, typer.Option("--export", help="Instead: write the file that says what is wanted now.")
    ] = False,
    dry_run: DryRun = False,
    pending: Pending = False,
    no_wait: NoWait = False,
    timeout: Timeout = TIMEOUT_S,
    as_json: Json = False,
    quiet: Quiet = False,
    yes: Yes = False,
) -> None:
    """Make deployments as a file says, and wait until it is so.

    The same file again changes nothing. Everything in the file is taken, or nothing. Deployments that it does not
    name stay as they are. Asks first where running replicas would be replaced.
    """
    talk = Talk(as_json, quiet, yes)
    if (file is None) != export:
        raise Failure(ExitCode.USAGE, "Needed: a file, or --export; one of the two.", "fastness apply deployment.toml")
    with management_of(ctx) as api:
        if file is None:
            exported = api.get("/deployment-file")
            if as_json:
                talk.document(exported)
            else:
                typer.echo(written(exported["deployment"]), nl=False)
            return
        given = read_deployments(file)
        if dry_run:
            show_plan(talk, api.post("/plan", {"deployment": given}))
            return
        carry_out(api, talk, given, pending=pending, no_wait=no_wait, timeout_s=timeout)


def carry_out(
    api: Api, talk: Talk, given: list[dict[str, Any]], *, pending: bool, no_wait: bool, timeout_s: float
) -> None:
    """Apply deployments, after asking where replicas would be replaced, and wait until they are as wanted."""
    if not talk.yes:
        ask_about_rolls(api, talk, given)
    since = next_entry(api)
    answer = api.post("/deployments", {"deployment": given, "pending": pending})
    changed = [one["name"] for one in answer["applied"] if one["outcome"] != "unchanged"]
    outcome = None
    if changed and not api.running:
        only_recorded(talk)
    elif not no_wait and api.running:
        rolls = any(one["outcome"] == "rolling" for one in answer["applied"])
        names = [one["name"] for one in answer["applied"]]
        outcome = Following(api, talk, since, count=rolls).until_settled(names, timeout_s)
    if talk.as_json:
        talk.document(answer | {"took": outcome})
        return
    talk.table(COLUMNS, [(one["name"], one["outcome"], str(one["revision"])) for one in answer["applied"]], "")
    if changed and outcome:
        talk.say(f"done  {summary(outcome)}")


def as_file_says(api: Api, name: str) -> dict[str, Any] | None:
    """Return a deployment as it is wanted now, as a file would say it; None: there is none."""
    exported = api.get("/deployment-file")["deployment"]
    return next((one for one in exported if one["name"] == name), None)


def ask_about_rolls(api: Api, talk: Talk, given: list[dict[str, Any]]) -> None:
    """Show what would happen and ask, where running replicas would be replaced; raises Failure for a no."""
    answer = api.post("/plan", {"deployment": given})
    if any(one["outcome"] == "rolling" for one in answer["changes"]):
        if not talk.as_json:
            show_plan(talk, answer, on_stderr=True)
        talk.confirm("Looks right?")


def show_plan(talk: Talk, answer: dict[str, Any], *, on_stderr: bool = False) -> None:
    """Show what would differ and happen."""
    if talk.as_json:
        talk.document(answer)
        return
    tell = talk.say if on_stderr else talk.text
    lines = [*fleet_text.difference(answer["changes"]), *fleet_text.plan(answer, reading_width(sys.stdout))]
    if not answer["steps"] and not answer["pending"]:
        lines.append("Nothing would happen.")
    elif answer["complete"]:
        lines.append("Then all is as wanted.")
    for line in lines:
        tell(line)
