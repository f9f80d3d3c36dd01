"""A host that was joined to a cluster, as its supervisor describes it while it runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from fastness.core.own_process import OwnProcess
from fastness.core.replica import Replica

JOINED_HOST: Final = "host.json"
"""Its file, in the run directory."""


@dataclass(frozen=True, slots=True)
class JoinedHost:
    """The supervisor's `pid`, its `node`, and what runs there. `leased`: the head answers, so that engines may run.

    `way` is how letters go to and from it: "ray", or "door" while Ray brings nothing new, through those of both hosts.
    """

    pid: int
    node: str
    head: str
    leased: bool
    way: str
    replicas: tuple[Replica, ...] = ()
    processes: tuple[OwnProcess, ...] = ()
