"""The processes of an installation beside its engines, as its supervisor keeps them up."""

from __future__ import annotations

from dataclasses import dataclass

from fastness.core.replica import ReplicaState


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
