"""`fastness scale`: more or fewer replicas."""

from __future__ import annotations

from typing import Annotated

import typer

from fastness.cli.client import management_of
from fastness.cli.following import TIMEOUT_S, Following, Name, NoWait, Timeout, next_entry, only_recorded, summary
from fastness.cli.talk import Json, Quiet, Talk

EXAMPLES = """\
fastness scale chat 3
fastness scale chat --min 0 --max 4"""


def scale(
    ctx: typer.Context,
    name: Name,
    replicas: Annotated[int | None, typer.Argument(metavar="[N]", min=0, help="How many replicas.")] = None,
    low: Annotated[int | None, typer.Option("--min", metavar="N", min=0, help="Never fewer, from now on.")] = None,
    high: Annotated[int | None, typer.Option("--max", metavar="N", min=1, help="Never more, from now on.")] = None,
    no_wait: NoWait = False,
    timeout: Timeout = TIMEOUT_S,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Want more or fewer replicas, or other bounds of their number.

    Between its bounds the number changes by itself with the load.
    """
    talk = Talk(as_json, quiet)
    with management_of(ctx) as api:
        since = next_entry(api)
        answer = api.post(f"/deployments/{name}/scale", {"replicas": replicas, "min": low, "max": high})
        outcome = None
        if not api.running:
            only_recorded(talk)
        elif not no_wait:
            outcome = Following(api, talk, since).until_settled([name], timeout)
            answer = api.get(f"/deployments/{name}")
    if as_json:
        talk.document(answer | {"took": outcome})
        return
    by_itself = f", between {answer['min']} and {answer['max']} by itself" if answer["min"] < answer["max"] else ""
    took = f"  {summary(outcome)}" if outcome else ""
    talk.say(f"{name}: {answer['ready']} of {answer['wanted']} replicas ready{by_itself}.{took}")
