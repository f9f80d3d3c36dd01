"""`fastness undeploy`: a deployment that is wanted no more."""

from __future__ import annotations

import typer

from fastness.cli.client import management_of
from fastness.cli.following import TIMEOUT_S, Following, Name, NoWait, Timeout, next_entry, only_recorded, summary
from fastness.cli.talk import Json, Quiet, Talk, Yes

EXAMPLES = """\
fastness undeploy chat
fastness undeploy chat --yes --no-wait"""


def undeploy(
    ctx: typer.Context,
    name: Name,
    no_wait: NoWait = False,
    timeout: Timeout = TIMEOUT_S,
    as_json: Json = False,
    quiet: Quiet = False,
    yes: Yes = False,
) -> None:
    """Remove a deployment, once its running answers are finished."""
    talk = Talk(as_json, quiet, yes)
    with management_of(ctx) as api:
        view = api.get(f"/deployments/{name}")
        talk.confirm(f"Remove {name} with its {len(view['placed'])} replicas?")
        since = next_entry(api)
        answer = api.post(f"/deployments/{name}/remove")
        outcome = None
        if not api.running:
            only_recorded(talk)
        elif not no_wait:
            outcome = Following(api, talk, since).until_gone(name, timeout)
    if as_json:
        talk.document(answer | {"took": outcome})
    elif outcome:
        talk.say(f"done  {name} is gone {summary(outcome)}")
