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
from fastness.cli.running import find_joined
from fastness.cli.talk import Json, Quiet, Talk
from fastness.core.own_process import BY_HAND, WITHOUT

EXAMPLES = """\
fastness ps
fastness ps --json | jq '.replicas[] | {model, state, memory_bytes}'"""

COLUMNS = (
    Column("DEPLOYMENT"),
    Column("REPLICAS"),
    Column("STATE"),
    Column("REV", right=True, spare=2),
    Column("NODE", spare=3),
    Column("ENGINE", spare=6),
    Column("PID", right=True, spare=5),
    Column("MEM", right=True),
    Column("CTX", right=True, spare=4),
    Column("SLOTS", right=True, spare=2),
    Column("RESTARTS", right=True, spare=1),
    Column("SINCE", right=True),
    Column("CEILING", spare=7),
    Column("SEALED"),
)


def ps(ctx: typer.Context, as_json: Json = False, quiet: Quiet = False) -> None:
    """Show what runs here, and what does not and why.

    REPLICAS is ready/wanted of the deployment; REV is its revision, which grows when replicas are replaced; CTX is the
    context of one slot, in tokens; CEILING is the most that may be handled there. On a host that was joined to a
    cluster it shows the engines of that host, and whether the head is heard.
    """
    composition: Composition = ctx.obj
    talk = Talk(as_json, quiet)
    settings, _ = composition.load_settings({})
    if (host := find_joined(settings)) is not None:
        from fastness.cli.joined import show

        show(host, talk, as_json=as_json)
        return
    with management(composition, settings, must_run=True) as api:
        answer = api.get("/replicas")
        answer["wanted"] = api.get("/deployments")["deployments"]
        answer["processes"] = api.get("/status")["processes"]
    if as_json:
        talk.document(answer)
        return
    replicas = answer["replicas"]
    ceilings = {one["id"]: ceiling(one, answer) for one in replicas}
    table = rows(replicas, ceilings, time.time(), answer["wanted"])
    talk.table(COLUMNS, table, "No replica is wanted: fastness deploy NAME --model MODEL")
    for line in (
        *places(answer["nodes"], talk.width),
        *troubles(replicas, talk.width),
        *unsettled(answer["wanted"], talk.width),
        *own(answer["processes"], talk.width),
    ):
        talk.text(line)


def ceiling(replica: dict[str, Any], served: dict[str, Any]) -> str:
    """Say what may be handled on a replica: one label, or whose is which where they differ."""
    deployment = next((one for one in served["deployments"] if one["name"] == named(replica)), None)
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


def rows(
    replicas: list[dict[str, Any]], ceilings: dict[str, str], now_s: float, wanted: list[dict[str, Any]]
) -> list[tuple[str, ...]]:
    """Return one line for each replica that is seen, and then for each that is only decided yet."""
    counts = Counter(named(one) for one in replicas)
    ready = Counter(named(one) for one in replicas if one["state"] == "ready")
    totals = {name: f"{ready[name]}/{count}" for name, count in counts.items()}
    totals |= {one["name"]: f"{one['ready']}/{one['wanted']}" for one in wanted}
    phases = {one["id"]: one["phase"] for deployment in wanted for one in deployment["placed"]}
    return [_seen(one, totals, ceilings, now_s, phases.get(one["id"], "placed")) for one in replicas] + [
        _decided(one, deployment["name"], totals)
        for deployment in wanted
        for one in deployment["placed"]
        if one["id"] not in ceilings
    ]


def named(replica: dict[str, Any]) -> str:
    """Return the deployment of a replica."""
    return str(replica["deployment"] or replica["model"])


def unsettled(wanted: list[dict[str, Any]], width: int) -> list[str]:
    """Say of each deployment that is not as wanted how far it is, and what says why."""
    lines = []
    for one in wanted:
        if not one["settled"]:
            text = f"{one['phase']}, {one['ready']} of {one['wanted']} replicas ready: fastness why {one['name']}"
            lines += ["", render.hanging(f"{one['name']}  ", text, width)]
    return lines


def own(processes: list[dict[str, Any]], width: int) -> list[str]:
    """Say how many gateways serve, and who would take over for control; nothing where all is one of each, and well.

    And say of each of the others that is away what does not go without it.
    """
    lacked = [line for one in processes if one["name"] in WITHOUT for line in _lacked(one, width)]
    processes = [one for one in processes if one["name"] not in WITHOUT]
    if len(processes) <= 2 and all(one["state"] == "ready" for one in processes):
        return lacked
    gateways = [one for one in processes if one["name"] != "control"]
    serving = sum(one["state"] == "ready" for one in gateways)
    away = [f"{one['name']} is {one['state']}" for one in gateways if one["state"] != "ready"]
    standbys = sum(one["name"] == "control" and one["state"] == "ready" for one in processes) - 1
    lines = ["", render.hanging("gateways  ", "; ".join([f"{serving} of {len(gateways)} serve", *away]), width)]
    waits = {0: "nobody waits to take over", 1: "another one waits to take over"}
    told = waits.get(standbys, f"{standbys} others wait to take over")
    return [*lines, render.hanging("control   ", f"one leads; {told}", width), *lacked]


def _lacked(one: dict[str, Any], width: int) -> list[str]:
    if one["state"] == "ready":
        return []
    comes = BY_HAND if one["state"] == "stopped" else "it is being started again"
    return ["", render.hanging(f"{one['name']:<10}", f"{one['state']}; {WITHOUT[one['name']]}; {comes}", width)]


def _seen(
    one: dict[str, Any], totals: dict[str, str], ceilings: dict[str, str], now_s: float, phase: str
) -> tuple[str, ...]:
    return (
        named(one),
        totals[named(one)],
        one["state"] if phase == "placed" else phase,
        str(one["revision"] or "-"),
        one["node"],
        one["engine"],
        "-" if one["pid"] is None else str(one["pid"]),
        render.size(one["memory_bytes"]),
        render.count(one["context_tokens"]),
        str(one["slots"]),
        str(one["restarts"]),
        render.age(now_s - one["since_s"]),
        ceilings[one["id"]],
        render.yes_no(one["sealed"]),
    )


def _decided(one: dict[str, Any], deployment: str, totals: dict[str, str]) -> tuple[str, ...]:
    unknown = ("-",) * 8
    return (
        deployment, totals[deployment], one["stage"] or one["phase"], str(one["revision"]), " ".join(one["nodes"]),
        *unknown, "-",
    )  # fmt: skip


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
