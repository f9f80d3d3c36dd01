"""`fastness why`: why a deployment is as it is."""

from __future__ import annotations

import sys
import time
from typing import Annotated

import typer

from fastness.cli import fleet_text
from fastness.cli.client import management_of
from fastness.cli.talk import Json, Quiet, Talk, reading_width

EXAMPLES = """\
fastness why chat
fastness why chat --json"""


def why(
    ctx: typer.Context,
    deployment: Annotated[str, typer.Argument(metavar="DEPLOYMENT", help="The deployment.")],
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Say why a deployment is as it is, and what comes next.

    That is what it needs, what each node says to that, who holds the devices, and what would fit.
    """
    talk = Talk(as_json, quiet)
    with management_of(ctx) as api:
        answer = api.get(f"/deployments/{deployment}/why")
    if as_json:
        talk.document(answer)
        return
    for line in fleet_text.why(answer, time.time(), reading_width(sys.stdout)):
        talk.text(line)
