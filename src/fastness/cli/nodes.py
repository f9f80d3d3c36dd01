"""`fastness nodes`: what there is to run on, and what shall be placed there."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Annotated, Any

import typer

from fastness.cli import render
from fastness.cli.client import Api, management_of
from fastness.cli.following import POLL_S, TIMEOUT_S, NoWait, Timeout, only_recorded
from fastness.cli.outcome import ExitCode, Failure
from fastness.cli.render import Column
from fastness.cli.talk import Json, Quiet, Talk, Yes

LIST_EXAMPLES = """\
fastness nodes
fastness nodes list --json | jq '.nodes[] | {name, devices_free}'"""
CORDON_EXAMPLES = """\
fastness nodes cordon bristol-07 --reason firmware
fastness nodes cordon local"""
UNCORDON_EXAMPLES = """\
fastness nodes uncordon bristol-07
fastness nodes uncordon local --json"""
DRAIN_EXAMPLES = """\
fastness nodes drain bristol-07 --reason "new power supply"
fastness nodes drain local --yes --no-wait"""
FORGET_EXAMPLES = """\
fastness nodes forget bristol-07
fastness nodes forget bristol-07 --yes"""
LABEL_EXAMPLES = """\
fastness nodes label bristol-07 rack=b7 spot
fastness nodes label bristol-07 spot-"""

COLUMNS = (
    Column("NODE"),
    Column("STATE"),
    Column("FREE", right=True),
    Column("DEVICES"),
    Column("MEM", right=True, spare=2),
    Column("POOL"),
    Column("DOMAIN", spare=5),
    Column("LAW", spare=3),
    Column("CEILING", spare=4),
    Column("LABELS", spare=1),
    Column("REPLICAS", right=True),
    Column("RELEASE", spare=2),
    Column("HEARD", right=True),
)

Name = Annotated[str, typer.Argument(metavar="NODE", help="The node.")]
Reason = Annotated[str, typer.Option(metavar="TEXT", help="Why; shown wherever the node refuses something.")]


def listing(ctx: typer.Context, as_json: Json = False, quiet: Quiet = False) -> None:
    """List the nodes, with what is free of them and what was decided of them. HEARD is since the last report."""
    talk = Talk(as_json, quiet)
    with management_of(ctx) as api:
        answer = api.get("/nodes")
    if as_json:
        talk.document(answer)
        return
    talk.table(COLUMNS, [row(one) for one in answer["nodes"]], "No node has reported yet: fastness up")
    for one in answer["nodes"]:
        if one["cordoned"]:
            reason = one["reason"] or "no reason given"
            talk.text(f"\n{one['name']}  cordoned by {one['by']}: {reason}")


def cordon(ctx: typer.Context, node: Name, reason: Reason = "", as_json: Json = False, quiet: Quiet = False) -> None:
    """Place nothing new on a node; what is there stays."""
    talk = Talk(as_json, quiet)
    with management_of(ctx) as api:
        answer = api.post(f"/nodes/{node}/cordon", {"reason": reason})
    _tell(
        talk,
        answer,
        f"{node} is cordoned; {len(answer['replicas'])} replicas stay. Back: fastness nodes uncordon {node}",
    )


def uncordon(ctx: typer.Context, node: Name, as_json: Json = False, quiet: Quiet = False) -> None:
    """Open a node again."""
    talk = Talk(as_json, quiet)
    with management_of(ctx) as api:
        answer = api.post(f"/nodes/{node}/uncordon")
    _tell(talk, answer, f"{node} is open.")


def drain(
    ctx: typer.Context,
    node: Name,
    reason: Reason = "",
    no_wait: NoWait = False,
    timeout: Timeout = TIMEOUT_S,
    as_json: Json = False,
    quiet: Quiet = False,
    yes: Yes = False,
) -> None:
    """Empty a node: nothing new is placed there, and what is there moves elsewhere first. Returns when it is empty."""
    talk = Talk(as_json, quiet, yes)
    with management_of(ctx) as api:
        before = _node(api, node)
        talk.confirm(f"Move the {len(before['replicas'])} replicas of {node} elsewhere?")
        answer = api.post(f"/nodes/{node}/cordon", {"reason": reason, "drain": True})
        if not api.running:
            only_recorded(talk)
        elif not no_wait:
            answer = _emptied(api, talk, node, timeout)
    _tell(talk, answer, f"{node} is drained." if not answer["replicas"] else f"{node} is draining.")


def forget(ctx: typer.Context, node: Name, as_json: Json = False, quiet: Quiet = False, yes: Yes = False) -> None:
    """Take a lost node for gone, with all that it held. If it ever comes back, it ends what runs there first."""
    talk = Talk(as_json, quiet, yes)
    talk.confirm(f"Is {node} turned off, and does it not come back?")
    with management_of(ctx) as api:
        answer = api.post(f"/nodes/{node}/forget")
    _tell(talk, answer, f"{node} is forgotten.")


def label(
    ctx: typer.Context,
    node: Name,
    labels: Annotated[list[str], typer.Argument(metavar="LABEL", help="key=value, a mere key, or key- to remove it.")],
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Label a node, for the `needs.labels` of deployments.

    From then on its labels are those given here, in the place of those that it declares.
    """
    talk = Talk(as_json, quiet)
    put = dict(one.partition("=")[::2] for one in labels if not one.endswith("-") or "=" in one)
    remove = [one[:-1] for one in labels if one.endswith("-") and "=" not in one]
    with management_of(ctx) as api:
        answer = api.post(f"/nodes/{node}/label", {"put": put, "remove": remove})
    _tell(talk, answer, f"{node}: {label_text(answer['labels']) or 'no labels'}")


def row(one: dict[str, Any]) -> tuple[str, ...]:
    """Return one line of the table."""
    states = [name for name in ("lost", "draining", "cordoned") if one[name]]
    return (
        one["name"],
        states[0] if states else "ready" if one["heard_s"] is not None else "unheard",
        str(one["devices_free"]),
        " ".join(f"{count} × {kind}" for kind, count in one["accelerators"].items()) or str(one["devices"]),
        render.size(one["memory_bytes"]),
        one["pool"],
        one["domain"] or "-",
        one["jurisdiction"],
        one["ceiling"],
        label_text(one["labels"]) or "-",
        str(len(one["replicas"])),
        one.get("release") or "-",  # a control process of before an upgrade does not know it
        "-" if one["heard_s"] is None else render.age(one["heard_s"]) + _by_door(one),
    )


def _by_door(one: dict[str, Any]) -> str:
    """What is added where a node is heard, but not as it should be: Ray is away between it and the head."""
    return ", by its door" if one["way"] == "door" else ""


def label_text(labels: dict[str, str]) -> str:
    """Write labels for people."""
    return " ".join(f"{key}={value}" if value else key for key, value in labels.items())


def _node(api: Api, name: str) -> dict[str, Any]:
    known: dict[str, dict[str, Any]] = {one["name"]: one for one in api.get("/nodes")["nodes"]}
    if name not in known:
        raise Failure(
            ExitCode.NOT_FOUND,
            f"No node {name[:80]!r} has ever reported here.",
            f"there are {', '.join(known) or 'none'}",
        )
    return known[name]


def _emptied(api: Api, talk: Talk, name: str, timeout_s: float) -> dict[str, Any]:
    deadline_s, there = time.monotonic() + timeout_s, set[str]()
    while True:
        answer = _node(api, name)
        for gone in sorted(there - set(answer["replicas"])):
            talk.say(f"      {gone}   gone from {name}")
        there = set(answer["replicas"])
        if not there:
            return answer
        if time.monotonic() >= deadline_s:
            raise Failure(
                ExitCode.FAILED,
                f"{name} still has {', '.join(sorted(there))} after {render.duration(timeout_s)}.",
                "fastness why DEPLOYMENT says what is missing elsewhere; it goes on without you waiting",
            )
        time.sleep(POLL_S)


def _tell(talk: Talk, answer: dict[str, Any], text: str) -> None:
    if talk.as_json:
        talk.document(answer)
    talk.say(text)


ACTS: dict[str, tuple[Callable[..., None], str]] = {
    "list": (listing, LIST_EXAMPLES),
    "cordon": (cordon, CORDON_EXAMPLES),
    "uncordon": (uncordon, UNCORDON_EXAMPLES),
    "drain": (drain, DRAIN_EXAMPLES),
    "forget": (forget, FORGET_EXAMPLES),
    "label": (label, LABEL_EXAMPLES),
}
