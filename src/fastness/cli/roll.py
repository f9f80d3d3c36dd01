"""`fastness roll`: other replicas in the place of those there are, one after the other, and nothing dropped."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from fastness.cli.apply import as_file_says, show_plan
from fastness.cli.client import Api, management_of
from fastness.cli.following import TIMEOUT_S, Following, Name, NoWait, Timeout, next_entry, only_recorded, summary
from fastness.cli.outcome import ExitCode, Failure
from fastness.cli.talk import Json, Quiet, Talk, Yes

EXAMPLES = """\
fastness roll chat --model smollm2-360m-instruct@sha256:77ab09
fastness roll chat --back"""


def roll(
    ctx: typer.Context,
    name: Name,
    model: Annotated[str | None, typer.Option(metavar="MODEL", help="To this model, or MODEL@sha256:DIGITS.")] = None,
    parameters: Annotated[
        list[str] | None,
        typer.Option("--parameters", metavar="NAME=VALUE", help="To this parameter; may come several times."),
    ] = None,
    back: Annotated[bool, typer.Option("--back", help="Instead: to what was good before.")] = False,
    no_wait: NoWait = False,
    timeout: Timeout = TIMEOUT_S,
    as_json: Json = False,
    quiet: Quiet = False,
    yes: Yes = False,
) -> None:
    """Replace the replicas of a deployment, with nothing dropped.

    One by one: each new one is ready before an old one drains. To another model, to other parameters, or, with
    neither, to fresh replicas of the same. A canary, and when it goes back by itself, are in the deployment's
    `rollout`.
    """
    talk = Talk(as_json, quiet, yes)
    given = dict(map(_parameter, parameters or []))
    with management_of(ctx) as api:
        view = api.get(f"/deployments/{name}")
        if not yes:
            _ask(api, talk, view, model, given, back)
        since = next_entry(api)
        answer = api.post(f"/deployments/{name}/roll", {"model": model, "parameters": given, "back": back})
        outcome = None
        if not api.running:
            only_recorded(talk)
        elif not no_wait:
            follow = Following(api, talk, since, count=True, expected=int(answer["applied"][0]["revision"]))
            outcome = follow.until_settled([name], timeout)
            wanted = api.get(f"/deployments/{name}")["wanted"]
    if as_json:
        talk.document(answer | {"took": outcome})
    elif outcome:
        talk.say(f"done  {wanted}/{wanted} {summary(outcome)}")


def _ask(
    api: Api, talk: Talk, view: dict[str, Any], model: str | None, parameters: dict[str, int | str], back: bool
) -> None:
    name = view["name"]
    if not back:
        body: dict[str, Any] = {"roll": [name]}
        if model or parameters:
            given = as_file_says(api, name) or {"name": name, "model": model}
            given["model"] = model or given["model"]
            given["parameters"] |= parameters
            body = {"deployment": [given]}
        answer = api.post("/plan", body)
        if not talk.as_json:
            show_plan(talk, answer, on_stderr=True)
    talk.confirm(f"Replace the {view['wanted']} replicas of {name}?")


def _parameter(text: str) -> tuple[str, int | str]:
    name, given, value = text.partition("=")
    if not given or not name:
        raise Failure(ExitCode.USAGE, f"--parameters needs NAME=VALUE; {text[:80]!r} came.", "--parameters slots=4")
    return name, int(value) if value.isascii() and value.isdigit() else value
