"""`fastness models`: what can be asked here."""

from __future__ import annotations

from typing import Any

import typer

from fastness.cli import render
from fastness.cli.client import Api, management_of
from fastness.cli.outcome import ExitCode, Failure
from fastness.cli.render import Column
from fastness.cli.talk import Json, Quiet, Talk

EXAMPLES = """\
fastness models
fastness models list --json | jq -r '.models[].name'"""

COLUMNS = (
    Column("MODEL"),
    Column("KIND"),
    Column("READY"),
    Column("CONTEXT", right=True),
    Column("SIZE", right=True),
    Column("REPLICA", right=True),
    Column("ADMITTED TO"),
    Column("LICENCE", spare=2),
    Column("SHA256", spare=1),
)


def models(ctx: typer.Context, as_json: Json = False, quiet: Quiet = False) -> None:
    """List the models served here. READY counts replicas; CONTEXT is in tokens, REPLICA what one takes of memory."""
    talk = Talk(as_json, quiet)
    with management_of(ctx) as api:
        answer = api.get("/models")
        known = [] if as_json else _imported(api)
    if as_json:
        talk.document(answer)
        return
    talk.table(COLUMNS, [row(model) for model in answer["models"]], "No models yet: the first fastness up admits them.")
    if answer["models"] and not api.running:
        talk.say("Nothing is running, so none is ready: fastness up")
    adapters = [name for model in answer["models"] for name in model["adapters"]]
    if adapters:
        talk.say(f"With adapters: {', '.join(adapters)}.")
    shown = {model["name"] for model in answer["models"]} | {name.partition(":")[2] for name in adapters}
    if idle := [one["name"] for one in known if one["state"] == "admitted" and one["name"] not in shown]:
        talk.say(f"Admitted, not served now: {', '.join(idle)}.")
    if waiting := [one["name"] for one in known if one["state"] == "quarantined"]:
        talk.say(f"Waiting to be admitted: {', '.join(waiting)}. Look at one: fastness models inspect {waiting[0]}")


def _imported(api: Api) -> list[dict[str, Any]]:
    """Return what was imported here."""
    try:
        found: list[dict[str, Any]] = api.get("/artefacts")["artefacts"]
    except Failure as failure:
        if failure.exit_code is ExitCode.NOT_FOUND:  # a control process from before there were any
            return []
        raise
    return found


def row(model: dict[str, Any]) -> tuple[str, ...]:
    """Return one line of the list."""
    return (
        model["name"],
        model["kind"],
        f"{model['replicas_ready']}/{model['replicas']}",
        render.count(model["context_tokens"]),
        render.size(model["size_bytes"]),
        "-" if model["replica_bytes"] is None else render.size(model["replica_bytes"]),
        model["model_ceiling"] or "-",
        model["licence"],
        f"{model['digest'][:12]}…",
    )
