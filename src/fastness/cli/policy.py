"""`fastness policy`: who may do what, shown, tried, compared and changed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from fastness.cli import render
from fastness.cli.client import Api, management_of
from fastness.cli.outcome import ExitCode, Failure
from fastness.cli.policy_files import read_policy, read_text, write_policy
from fastness.cli.policy_text import CHANGES, HISTORY, changed_rows, explained, shown, tried
from fastness.cli.talk import Json, Quiet, Talk, Yes, reading_width, wants_colour
from fastness.core.policy import Action
from fastness.core.tenant import Role

SHOW_EXAMPLES = """\
fastness policy show
fastness policy show --output my-policy"""
HISTORY_EXAMPLES = """\
fastness policy history
fastness policy history --json | jq '.policies[] | {version, applied_by}'"""
TEST_EXAMPLES = """\
fastness policy test cases.toml
fastness policy test cases.toml --policy my-policy"""
EXPLAIN_EXAMPLES = """\
fastness policy explain --tenant health --model smollm2-135m-instruct --marking OFFICIAL-SENSITIVE
fastness policy explain --key key_1a2B3c4D5e6F7g8H --action admit"""
DIFF_EXAMPLES = """\
fastness policy diff my-policy
fastness policy diff --version 1"""
APPLY_EXAMPLES = """\
fastness policy apply my-policy
fastness policy apply --version 1 --yes"""

DIFF_TIMEOUT_S: Final = 300.0
"""Comparing two policies asks each of them about every key, deployment, node and marking."""

Directory = Annotated[
    Path | None,
    typer.Argument(metavar="DIR", help="Directory with profile.toml and *.cedar, or the file that a bundle carried."),
]
Version = Annotated[
    int | None,
    typer.Option(metavar="N", min=1, help="A policy that was in force, as fastness policy history lists it."),
]


def show(
    ctx: typer.Context,
    version: Version = None,
    output: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write it there, as files to edit: a new or empty directory.")
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Show the policy in force: its markings, who runs nodes, and its rules."""
    talk = Talk(as_json, quiet)
    with management_of(ctx) as api:
        answer = api.get("/policy", version=version)
    if output is not None:
        names = write_policy(answer, output)
        talk.say(f"Policy {answer['version']} written to {output}: {', '.join(names)}.")
    if as_json:
        talk.document(answer)
    elif output is None:
        talk.text(shown(answer, reading_width(sys.stdout), wants_colour(sys.stdout)))


def history(
    ctx: typer.Context,
    count: Annotated[int, typer.Option("--count", "-n", metavar="N", min=1, help="How many at most.")] = 20,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """List the policies that were in force, the newest, which is, first."""
    talk = Talk(as_json, quiet)
    with management_of(ctx) as api:
        answer = api.get("/policy/history", count=count)
    if as_json:
        talk.document(answer)
        return
    rows = [
        (str(one["version"]), render.moment(one["applied_s"]), one["applied_by"], one["digest"])
        for one in answer["policies"]
    ]
    talk.table(HISTORY, rows, "No policy was ever in force here.")


def hold(
    ctx: typer.Context,
    cases: Annotated[
        Path, typer.Argument(metavar="FILE", help="TOML file of cases: who asks for what, and what comes out.")
    ],
    policy: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Try this policy, instead of the one in force.")
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Hold a policy against expected decisions. Exits with 1 when one comes out otherwise; changes nothing."""
    talk = Talk(as_json, quiet)
    body = {"cases": read_text(cases), "name": cases.name} | ({} if policy is None else read_policy(policy))
    with management_of(ctx) as api:
        answer = api.post("/policy/test", body)
    if as_json:
        talk.document(answer)
    else:
        talk.text(tried(answer, reading_width(sys.stdout), wants_colour(sys.stdout)))
    raise typer.Exit(ExitCode.OK if answer["passed"] else ExitCode.FAILED)


def explain(
    ctx: typer.Context,
    key: Annotated[str | None, typer.Option(metavar="ID", help="The key that would ask: key_…")] = None,
    tenant: Annotated[str | None, typer.Option(metavar="ID", help="Instead of a key: any key of this tenant.")] = None,
    role: Annotated[Role, typer.Option(metavar="ROLE", help="With --tenant: the key's role.")] = Role.DEVELOPER,
    model: Annotated[str | None, typer.Option(metavar="NAME", help="The model that would be asked.")] = None,
    marking: Annotated[
        str | None, typer.Option(metavar="MARKING", help="What it would be marked with, caveats included.")
    ] = None,
    action: Annotated[Action, typer.Option(metavar="ACTION", help=f"One of {', '.join(Action)}.")] = Action.INFER,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Explain what policy decides: the rule, what it needed, what there was, and every fact.

    Without --key and --tenant it is about whoever runs this.
    """
    if key is not None and tenant is not None:
        raise Failure(ExitCode.USAGE, "Both --key and --tenant came.", "one of them, or neither")
    talk = Talk(as_json, quiet)
    wish = {
        "key": key,
        "tenant": tenant,
        "role": role.value,
        "model": model,
        "marking": marking,
        "action": action.value,
    }
    with management_of(ctx) as api:
        answer = api.post("/policy/explain", wish)
    if as_json:
        talk.document(answer)
    else:
        talk.text(explained(answer, reading_width(sys.stdout), wants_colour(sys.stdout)))


def diff(
    ctx: typer.Context,
    directory: Directory = None,
    version: Version = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Compare a policy with the one in force: who gains and who loses what. Changes nothing."""
    talk = Talk(as_json, quiet)
    policy = _given(directory, version)
    with management_of(ctx) as api:
        answer = _compare(api, policy)
    if as_json:
        talk.document(answer)
    else:
        _tell_difference(talk, answer)


def apply(
    ctx: typer.Context,
    directory: Directory = None,
    version: Version = None,
    force: Annotated[
        bool, typer.Option("--force", help="Also one under which nobody could apply another from this machine.")
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
    yes: Yes = False,
) -> None:
    """Put a policy in force, everywhere within a second. Shows first whose rights change; it is recorded.

    With --version: one that was in force before.
    """
    talk = Talk(as_json, quiet, yes)
    policy = _given(directory, version)
    with management_of(ctx) as api:
        before = api.get("/policy")["version"] if yes else _looked_at(api, policy, talk)
        answer = api.post("/policy/apply", policy | {"force": force})
    if as_json:
        talk.document(answer)
    if answer["version"] == before:
        talk.say(f"Policy {answer['version']} is in force already: nothing changed.")
    else:
        talk.say(
            f"Policy {answer['version']} is in force (sha256 {answer['digest'][:12]}…). "
            f"Back: fastness policy apply --version {before}"
        )


def _given(directory: Path | None, version: int | None) -> dict[str, Any]:
    if (directory is None) == (version is None):
        raise Failure(ExitCode.USAGE, "Needed: a directory, or --version N; one of the two.", "fastness policy history")
    return {"version": version} if directory is None else read_policy(directory)


def _compare(api: Api, policy: dict[str, Any]) -> Any:
    return api.post("/policy/diff", policy, timeout_s=DIFF_TIMEOUT_S)


def _looked_at(api: Api, policy: dict[str, Any], talk: Talk) -> int:
    """Show the difference and ask; return the version in force. Raises Failure when the answer is no."""
    version: int = api.get("/policy")["version"]
    answer = _compare(api, policy)
    if answer["before"] != answer["after"]:
        if not talk.as_json:
            _tell_difference(talk, answer)
        talk.confirm("Put this policy in force?")
    return version


def _tell_difference(talk: Talk, answer: dict[str, Any]) -> None:
    if answer["before"] == answer["after"]:
        talk.say("That is the policy in force.")
        return
    talk.table(CHANGES, changed_rows(answer["changes"]), "Nobody gains or loses a right.")
    talk.say(
        f"From {answer['before'][:12]}… to {answer['after'][:12]}…, for the local operator and "
        f"{answer['principals'] - 1} keys. People and services that identity providers vouch for were not asked about."
    )
