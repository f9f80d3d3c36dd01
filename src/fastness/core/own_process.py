"""The processes of an installation beside its engines, as its supervisor keeps them up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from fastness.core.replica import ReplicaState

PROCESSES: Final = "processes.json"
"""Their file, in the run directory."""
WITHOUT: Final = {
    "broker": "nothing outside is fetched: no keys of issuers, and nothing of witnesses",
    "outside": "no other host is reached",
    "starter": "no engine that has processes (vLLM) is started; those that run go on",
}
"""Those that keep themselves up, since the supervisor cannot start them again; and what fails without each."""
BY_HAND: Final = "nobody is left to bring it back: fastness stop, and start this host again"
"""What is said of one of them that is stopped."""


@dataclass(frozen=True, slots=True)
class OwnProcess:
    """One of them. `name` is also that of its log; `since_s` is when it came into its state, in seconds since 1970.

    Several control processes have one name: at most one of them does anything.
    """

    name: str
    pid: int | None
    state: ReplicaState
    restarts: int
    since_s: float


@dataclass(frozen=True, slots=True)
class OwnProcesses:
    """All of them, as a snapshot."""

    processes: tuple[OwnProcess, ...] = ()
