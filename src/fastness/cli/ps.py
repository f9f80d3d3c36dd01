"""`fastness ps`: what runs, and what does not and why."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import typer

from fastness.cli import render
from fastness.cli.client import management
from fastness.cli.composition import Composition
from fastness.cli.render import Column
from fastness.cli.talk import Json, Quiet, Talk

EXAMPLES = """\
fastness ps
fastness ps --json | jq '.replicas[] | {model, state, memory_bytes}'"""

COLUMNS = (
    Column("MODEL"),
    Column("REPLICAS"),
    Column("STATE"),
    Column("ENGINE", spare=5),
    Column("PID", right=True, spare=4),
    Column("MEM", right=True),
    Column("CTX", right=True, spare=3),
    Column("SLOTS", right=True, spare=2),
    Column("RESTARTS", right=True, spare=1),
    Column("SINCE", right=True),
    Column("CEILING", spare=6),
    Column("SEALED"),
)


def ps(ctx: typer.Context, as_json: Json = False, quiet: Quiet = False) -> None:
    """Show what runs here, and what does not and why.

    REPLICAS is ready/wanted of the model; CTX is the context of one slot, in tokens; CEILING is the most that may be
    handled there.
    """
    composition: Composition = ctx.obj
    talk = Talk(as_json, quiet)
    settings, _ = composition.load_settings({})
    with management(composition, settings, must_run=True) as api:
        answer = api.get("/replicas")
    if as_json:
        talk.document(answer)
        return
    replicas = answer["replicas"]
    ceilings = {one["id"]: ceiling(one, answer) for one in replicas}
    talk.table(COLUMNS, rows(replicas, ceilings, time.time()), "No replica is wanted: engine.chat_model is empty.")
    for line in (*places(answer["nodes"], talk.width), *troubles(replicas, talk.width)):
        talk.text(line)


def ceiling(replica: dict[str, Any], served: dict[str, Any]) -> str:
    """Say what may be handled on a replica: one label, or whose is which where they differ."""
    deployment = next((one for one in served["deployments"] if one["name"] == replica["model"]), None)
    node = next((one for one in served["nodes"] if one["name"] == replica["node"]), None)
    if deployment is None or node is None:
        return "nothing"
    found = {"deployment": deployment["ceiling"], "model": deployment["model_ceiling"], "node": node["ceiling"]}
    labels = set(found.values())
    return labels.pop() if len(labels) == 1 else ", ".join(f"{whose} {label}" for whose, label in found.items())


def places(nodes: list[dict[str, Any]], width: int) -> list[str]:
    """Say of each node what its operator declared, and what follows when nothing was."""
    lines = []
    for node in nodes:
        if node["operator"]:
            run_by = f"run by {node['operator']}, owned in {node['owner']}"
        else:
            run_by = "its operator is not declared, so markings that ask who owns it are refused (node.operator)"
        declared = f"law {node['jurisdiction']}; {run_by}; ceiling {node['ceiling']}"
        lines += ["", render.hanging(f"node {node['name']}  ", declared, width)]
    return lines


def rows(replicas: list[dict[str, Any]], ceilings: dict[str, str], now_s: float) -> list[tuple[str, ...]]:
    """Return one line for each replica."""
    wanted = Counter(replica["model"] for replica in replicas)
    ready = Counter(replica["model"] for replica in replicas if replica["state"] == "ready")
    return [
        (
            replica["model"],
            f"{ready[replica['model']]}/{wanted[replica['model']]}",
            replica["state"],
            replica["engine"],
            "-" if replica["pid"] is None else str(replica["pid"]),
            render.size(replica["memory_bytes"]),
            render.count(replica["context_tokens"]),
            str(replica["slots"]),
            str(replica["restarts"]),
            render.age(now_s - replica["since_s"]),
            ceilings[replica["id"]],
            render.yes_no(replica["sealed"]),
        )
        for replica in replicas
    ]


def troubles(replicas: list[dict[str, Any]], width: int) -> list[str]:
    """Say of each replica that is not ready why, with the engine's own words and what to try."""
    lines = []
    for replica in replicas:
        diagnosis = replica["diagnosis"]
        if replica["state"] == "ready" or diagnosis is None:
            continue
        lines += ["", render.hanging(f"{replica['id']}  ", f"{diagnosis['summary']} ({diagnosis['code']})", width)]
        lines += [render.hanging("  engine said  ", line, width) for line in diagnosis["evidence"]]
        if diagnosis["hint"]:
            lines.append(render.hanging("  try          ", diagnosis["hint"], width))
    return lines
