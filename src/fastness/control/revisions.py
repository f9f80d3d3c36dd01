"""What differs between two specs, and what was good before."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from fastness.control.desired_wire import given_of
from fastness.control.fleet_log import history
from fastness.core.desired import DeploymentSpec
from fastness.core.fleet_state import FleetState, apply


@dataclass(frozen=True, slots=True)
class Change:
    """One field that differs; `before` None: there was no such deployment."""

    field: str
    before: Any
    after: Any


@dataclass(frozen=True, slots=True)
class Applied:
    """What became of one deployment: `created`, `changed`, `rolling` (its replicas are replaced) or `unchanged`."""

    name: str
    outcome: str
    revision: int
    changes: tuple[Change, ...] = ()


def changes(before: DeploymentSpec | None, after: DeploymentSpec) -> tuple[Change, ...]:
    """Return what differs, in the order in which a file has it."""
    old = dict(_flat(before)) if before is not None else {}
    return tuple(
        Change(field, old.get(field), value)
        for field, value in _flat(after)
        if before is None or old.get(field) != value
    )


def earlier_spec(directory: Path, name: str, stable: int) -> DeploymentSpec | None:
    """Return the last spec of a deployment that was good before revision `stable`; None: there was none. Blocks."""
    state, good = FleetState(), list[tuple[int, DeploymentSpec]]()
    for _, event in history(directory):
        state = apply(state, event)
        deployed = state.deployments.get(name)
        if deployed is None:
            good.clear()
        elif not good or good[-1][0] != deployed.stable:
            good.append((deployed.stable, deployed.revisions[deployed.stable]))
        else:
            good[-1] = (deployed.stable, deployed.revisions[deployed.stable])
    return next((spec for number, spec in reversed(good) if number != stable), None)


def _flat(spec: DeploymentSpec) -> Iterator[tuple[str, Any]]:
    for name, value in msgspec.to_builtins(given_of(spec)).items():
        if isinstance(value, dict):
            yield from ((f"{name}.{leaf}", one) for leaf, one in value.items())
        else:
            yield name, value
