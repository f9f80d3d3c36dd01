"""What the routes of the fleet give, as typed JSON; made from state and observation."""

from __future__ import annotations

from typing import Any

import msgspec

from fastness.control.revisions import Applied


class ChangeView(msgspec.Struct, frozen=True):
    """One field that differs; `before` null where there was no such deployment."""

    field: str
    before: Any
    after: Any


class AppliedView(msgspec.Struct, frozen=True):
    """What became of one deployment: `created`, `changed`, `rolling` or `unchanged`."""

    name: str
    outcome: str
    revision: int
    changes: tuple[ChangeView, ...]


class PlacedView(msgspec.Struct, frozen=True):
    """One replica: what was decided of it (`phase`), what is seen (`state`, null: nothing yet), what goes on (`stage`).

    `devices` are written `node/device`. `deadline_ms` is when a draining one is stopped.
    """

    id: str
    revision: int
    phase: str
    state: str | None
    stage: str | None
    nodes: tuple[str, ...]
    devices: tuple[str, ...]
    borrowed: bool
    deadline_ms: int | None
    reason: str


class WantedView(msgspec.Struct, frozen=True):
    """A deployment: what is wanted, and how far it is. `settled`: it is as wanted, and nothing is on its way.

    `answered` and `failed` are what gateways counted since they began; null while no gateway reports. `adapters` are
    what callers may name after the deployment and a colon.
    """

    name: str
    owner: str
    model: str
    model_digest: str
    kind: str
    ceiling: str
    tenants: tuple[str, ...] | None
    adapters: tuple[str, ...]
    revision: int
    stable: int
    phase: str
    settled: bool
    wanted: int
    ready: int
    min: int
    max: int
    by: str
    rolled_back: str
    answered: int | None
    failed: int | None
    placed: tuple[PlacedView, ...]


class FleetNodeView(msgspec.Struct, frozen=True):
    """A node: what it offers, what is free of it, and what was decided of it. `heard_s`: since its last report.

    `way` is by which that came: `ray`, `door` where Ray brings nothing new; empty for the head's own. `release` is
    that of Fastness which it runs; empty where it did not say.
    """

    name: str
    pool: str
    domain: str
    jurisdiction: str
    operator: str | None
    ceiling: str
    labels: dict[str, str]
    accelerators: dict[str, int]
    devices: int
    devices_free: int
    memory_bytes: int
    cordoned: bool
    draining: bool
    lost: bool
    by: str
    reason: str
    heard_s: float | None
    way: str
    release: str
    replicas: tuple[str, ...]


class ShareView(msgspec.Struct, frozen=True):
    """An owner in a pool, in devices, a department without its teams.

    Of what it holds, `inside` is borrowed within its department, `borrowed` from others. `leaving` is still held by
    what drains or is lost.
    """

    owner: str
    pool: str
    guaranteed: int
    held: int
    inside: int
    borrowed: int
    leaving: int


class PoolView(msgspec.Struct, frozen=True):
    """A pool, in devices."""

    pool: str
    devices: int
    free: int
    guaranteed: int


class EventView(msgspec.Struct, frozen=True):
    """One event of the fleet: the entry of the log `control` that it is, who asked, and what happened."""

    index: int
    time_ms: int
    type: str
    by: str
    deployment: str | None
    nodes: tuple[str, ...]
    text: str


class StepView(msgspec.Struct, frozen=True):
    """One thing that would happen."""

    type: str
    deployment: str | None
    text: str


class SaidView(msgspec.Struct, frozen=True):
    """What is said of a node."""

    node: str
    text: str


class PendingView(msgspec.Struct, frozen=True):
    """A deployment that has fewer replicas than wanted, why, and what would change that."""

    deployment: str
    wanted: int
    there: int
    nodes: tuple[SaidView, ...]
    hopes: str


class PlanView(msgspec.Struct, frozen=True):
    """What would happen. `complete`: at the end of `steps` everything is as wanted, if all goes well."""

    changes: tuple[AppliedView, ...]
    steps: tuple[StepView, ...]
    pending: tuple[PendingView, ...]
    complete: bool


class WhyView(msgspec.Struct, frozen=True):
    """Why a deployment is as it is, in sentences. `since_ms`: when something last happened to it."""

    deployment: str
    wanted: int
    ready: int
    since_ms: int | None
    settled: bool
    needs: str
    nodes: tuple[SaidView, ...]
    shares: tuple[str, ...]
    replicas: tuple[str, ...]
    next: tuple[str, ...]
    would_fit: tuple[str, ...]


def applied_view(applied: Applied) -> AppliedView:
    """Show what became of a deployment."""
    listed = tuple(ChangeView(one.field, one.before, one.after) for one in applied.changes)
    return AppliedView(applied.name, applied.outcome, applied.revision, listed)
