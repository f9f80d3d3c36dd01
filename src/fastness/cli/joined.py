"""What `fastness ps` shows on a host that was joined to a cluster: control is elsewhere, so its supervisor tells."""

from __future__ import annotations

import time
from typing import Any

from fastness.cli import render
from fastness.cli.ps import COLUMNS, own, rows, troubles
from fastness.cli.talk import Talk
from fastness.core.joined_host import JoinedHost

_COLUMNS = tuple(one for one in COLUMNS if one.title != "CEILING")
"""What a deployment may handle is known to the head alone."""


def show(host: JoinedHost, talk: Talk, *, as_json: bool) -> None:
    """Show the engines of this host, whose orders they follow, and whether that host is heard."""
    found = document(host)
    if as_json:
        talk.document(found)
        return
    kept = [number for number, one in enumerate(COLUMNS) if one in _COLUMNS]
    table = rows(found["replicas"], {one["id"]: "" for one in found["replicas"]}, time.time(), [])
    empty = f"No engine runs here. On {host.head}: fastness ps"
    talk.table(_COLUMNS, [tuple(row[at] for at in kept) for row in table], empty)
    for line in (
        "",
        render.hanging(f"node {host.node}  ", _heard(host), talk.width),
        *troubles(found["replicas"], talk.width),
        *own(found["processes"], talk.width),
    ):
        talk.text(line)


def document(host: JoinedHost) -> dict[str, Any]:
    """Return it as `--json` prints it."""
    import msgspec

    found: dict[str, Any] = msgspec.to_builtins(host)
    for one in found["replicas"]:
        del one["socket"]
    return found


def _heard(host: JoinedHost) -> str:
    if not host.leased:
        return f"{host.head} does not answer: no engine runs here until it does (fastness logs outside)"
    way = "the doors of both hosts, since Ray brings nothing new" if host.way == "door" else "Ray"
    return f"runs what {host.head} orders; it answers by {way}"
