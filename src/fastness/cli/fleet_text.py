"""The fleet as text: what differs, what would happen, why something is as it is. Pure."""

from __future__ import annotations

import time
from typing import Any, Final

from fastness.cli import render

STEPS_SHOWN_MAX: Final = 40


def difference(changes: list[dict[str, Any]]) -> list[str]:
    """Say what becomes of each deployment, and what differs."""
    lines = []
    for one in changes:
        outcome = one["outcome"]
        text = f"rolling to revision {one['revision']}" if outcome == "rolling" else outcome
        lines.append(f"{one['name']}  {text}")
        if outcome != "created":
            width = max((len(change["field"]) for change in one["changes"]), default=0)
            lines += [
                f"  {change['field']:<{width}}  {value(change['before'])} -> {value(change['after'])}"
                for change in one["changes"]
            ]
    return lines


def plan(answer: dict[str, Any], width: int) -> list[str]:
    """Say what would happen, in order, and what would still be missing."""
    steps = answer["steps"]
    lines = [f"{number:>4}  {one['text']}" for number, one in enumerate(steps[:STEPS_SHOWN_MAX], 1)]
    if len(steps) > STEPS_SHOWN_MAX:
        lines.append(f"   …  and {len(steps) - STEPS_SHOWN_MAX} more steps")
    for one in answer["pending"]:
        lines.append(f"{one['deployment']} would have {one['there']} of {one['wanted']} replicas.")
        lines += said(one["nodes"], width)
        if one["hopes"]:
            lines.append(render.hanging("  next  ", one["hopes"], width))
    return lines


def why(answer: dict[str, Any], now_s: float, width: int) -> list[str]:
    """Say why a deployment is as it is."""
    replicas = f"{answer['wanted']} replica{'' if answer['wanted'] == 1 else 's'}"
    head = f"{answer['deployment']} wants {replicas}, has {answer['ready']}."
    if not answer["settled"] and answer["since_ms"] is not None:
        head += f"   pending {render.age(now_s - answer['since_ms'] / 1_000)}"
    lines = [head, render.hanging("  needs      ", answer["needs"], width), *said(answer["nodes"], width)]
    for name, texts in (
        ("replicas", answer["replicas"]),
        ("shares", answer["shares"]),
        ("would fit", answer["would_fit"]),
        ("next", answer["next"]),
    ):
        lines += [
            render.hanging(f"  {name if number == 0 else '':<11}", text, width) for number, text in enumerate(texts)
        ]
    return lines


def said(nodes: list[dict[str, Any]], width: int) -> list[str]:
    """Say what each node says."""
    named = [(one["node"] or "fleet", one["text"]) for one in nodes]
    column = max((len(name) for name, _ in named), default=0)
    return [render.hanging(f"  {name:<{max(column, 9)}}  ", text, width) for name, text in named]


def event(one: dict[str, Any], *, with_author: bool = True) -> str:
    """Write one event on one line: time, what happened, who asked, and its entry."""
    day = time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(one["time_ms"] / 1_000))
    asked = f"   by {one['by']}" if with_author and one["by"] != "control" else ""
    return f"{day}  {one['text']}{asked}   entry {one['index']:,}"


def clock(time_ms: int) -> str:
    """Write a time of day, in UTC."""
    return time.strftime("%H:%M:%SZ", time.gmtime(time_ms / 1_000))


def value(given: Any) -> str:
    """Write a value of a deployment for people."""
    if given is None:
        return "-"
    if isinstance(given, list):
        return " ".join(map(_item, given)) or "-"
    return str(given).lower() if isinstance(given, bool) else str(given) or "-"


def _item(one: Any) -> str:
    """Write one of a list: an adapter that is for some tenants only with these."""
    return f"{one['name']} (for {', '.join(one['tenants'])})" if isinstance(one, dict) else str(one)
