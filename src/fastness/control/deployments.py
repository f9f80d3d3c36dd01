"""Commands on deployments: each is checked against what there is, and then decided (fleet_log.py), or refused."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Final

from fastness.control.access import Access
from fastness.control.desired_wire import given_of
from fastness.control.fleet_log import FleetLog
from fastness.control.models_here import AdapterFacts, ModelFacts
from fastness.control.policies import Policies
from fastness.control.possible import check_possible
from fastness.control.problem import Problem
from fastness.control.revisions import Applied, changes, earlier_spec
from fastness.control.spec_checks import Ground, check_spec
from fastness.control.spec_words import near
from fastness.control.watching import Watching
from fastness.core.desired import DeploymentSpec
from fastness.core.fleet_event import (
    DeploymentApplied,
    DeploymentRemoved,
    DeploymentScaled,
    FleetEvent,
    RevisionRolledBack,
)
from fastness.core.fleet_state import Deployed, FleetState, fold
from fastness.core.tenant import DEFAULT_TENANT, AccessSnapshot
from fastness.scheduling.revision import revision_of

DEPLOYMENTS_MAX: Final = 1_000
NO_FORMATS: Final[Mapping[str, str]] = MappingProxyType({})
NO_ADAPTERS: Final[Mapping[str, AdapterFacts]] = MappingProxyType({})


class Deployments:
    """The commands. `models` and `adapters` list what may be deployed, in a thread.

    `engines`, `reads` and `spans` are those of a Ground. `ledger` is the directory of the log that `log` folds. `by` is
    the id of the principal who asks.
    """

    def __init__(
        self,
        log: FleetLog,
        models: Callable[[], Mapping[str, ModelFacts]],
        access: Access,
        policies: Policies,
        watching: Watching,
        ledger: Path,
        engines: Collection[str] = ("llamacpp",),
        reads: Mapping[str, str] = NO_FORMATS,
        spans: Collection[str] = (),
        adapters: Callable[[], Mapping[str, AdapterFacts]] = lambda: NO_ADAPTERS,
    ) -> None:
        self._adapters = adapters
        self._log, self._models, self._access, self._policies = log, models, access, policies
        self._watching, self._ledger, self._engines, self._reads = watching, ledger, engines, reads
        self._spans = spans

    @property
    def state(self) -> FleetState:
        """What was decided so far."""
        return self._log.state

    async def apply(
        self, specs: DeploymentSpec | Sequence[DeploymentSpec], by: str, *, pending: bool = False
    ) -> tuple[Applied, ...]:
        """Want these deployments as they are given: all of them or, raising Problem, none. The same again is no event.

        With `pending`, also what no node here could take even if it were empty.
        """
        wanted = (specs,) if isinstance(specs, DeploymentSpec) else tuple(specs)
        ground, outcomes = await self.ground(), list[Applied]()

        def decide(state: FleetState) -> list[FleetEvent]:
            events, applied = applying(state, wanted, ground, by)
            if not pending:
                check_possible(state, wanted, applied, self._watching.seen(), ground.lattice.dominates)
            outcomes[:] = applied
            return events

        await self._log.decide(decide)
        return tuple(outcomes)

    async def remove(self, name: str, by: str) -> None:
        """Want a deployment no more: its replicas drain and end. Again is harmless; raises Problem (not_found)."""

        def decide(state: FleetState) -> list[FleetEvent]:
            deployed = state.deployments.get(name)
            if deployed is None:
                raise missing(state, name)
            return [] if deployed.removed else [DeploymentRemoved(name, by)]

        await self._log.decide(decide)

    async def scale(
        self, name: str, by: str, replicas: int | None = None, low: int | None = None, high: int | None = None
    ) -> Deployed:
        """Want so many replicas, and other bounds of that number where they are given; raises Problem."""
        ground = await self.ground()

        def decide(state: FleetState) -> list[FleetEvent]:
            deployed = live(state, name)
            scaling = deployed.spec.scaling
            wider = replace(scaling, min=scaling.min if low is None else low, max=scaling.max if high is None else high)
            events, _ = applying(state, (replace(deployed.spec, scaling=wider),), ground, by)
            if replicas is None:
                return events
            if not wider.min <= replicas <= wider.max:
                raise Problem(
                    "invalid_value",
                    f"{name} may have {wider.min} to {wider.max} replicas; {replicas} asked.",
                    f"fastness scale {name} {replicas} {'--max' if replicas > wider.max else '--min'} {replicas}",
                    param="replicas",
                )
            after = fold(events, state).deployments[name]
            if after.replicas != replicas:
                events.append(DeploymentScaled(name, replicas, by, f"{by} asked for {replicas}"))
            return events

        await self._log.decide(decide)
        return self.state.deployments[name]

    async def roll(
        self, name: str, by: str, change: Callable[[DeploymentSpec], DeploymentSpec] = lambda spec: spec
    ) -> Applied:
        """Replace all replicas, one after the other, by those of a changed spec, or of the same; raises Problem."""
        ground, outcomes = await self.ground(), list[Applied]()

        def decide(state: FleetState) -> list[FleetEvent]:
            before = live(state, name)
            wanted = change(before.spec)
            check_spec(wanted, ground, before.spec, replaces=True)
            applied = Applied(name, "rolling", before.newest + 1, changes(before.spec, wanted))
            check_possible(state, (wanted,), (applied,), self._watching.seen(), ground.lattice.dominates)
            outcomes.append(applied)
            return [DeploymentApplied(wanted, before.newest + 1, by)]

        await self._log.decide(decide)
        return outcomes[0]

    async def roll_back(self, name: str, by: str) -> Applied:
        """Want what was good before: the revision before one that is on its way, or else before the present one."""
        deployed = live(self.state, name)
        if deployed.revision == deployed.stable:
            earlier = await asyncio.to_thread(earlier_spec, self._ledger, name, deployed.stable)
            if earlier is None:
                raise Problem(
                    "conflict",
                    f"{name} has had one revision only ({deployed.revision}), so there is none to go back to.",
                    f"fastness events --deployment {name} shows what it was",
                )
            before = replace(earlier, scaling=deployed.spec.scaling)
            return await self.roll(name, by, lambda _: before)

        def decide(state: FleetState) -> list[FleetEvent]:
            now = live(state, name)
            if now.revision == now.stable:
                return []
            return [RevisionRolledBack(name, now.revision, f"{by} asked for it")]

        await self._log.decide(decide)
        return Applied(name, "rolling", self.state.deployments[name].revision)

    async def ground(self) -> Ground:
        """Return what specs are checked against now; raises Problem (policy_unavailable), Unavailable."""
        models = await asyncio.to_thread(self._models)
        there = living(await self._access.snapshot())
        adapters = await asyncio.to_thread(self._adapters)
        return Ground(models, self._policies.lattice, there, self._engines, self._reads, self._spans, adapters)


def applying(
    state: FleetState, specs: Sequence[DeploymentSpec], ground: Ground, by: str
) -> tuple[list[FleetEvent], list[Applied]]:
    """Return what applying these specs makes happen, and what becomes of each; raises Problem."""
    names = [one.name for one in specs]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise Problem("invalid_value", f"Two deployments are called {twice!r}.", "Name each once.", param="name")
    many = len(state.deployments.keys() | set(names))
    if many > DEPLOYMENTS_MAX:
        raise Problem(
            "limit_exceeded",
            f"There may be {DEPLOYMENTS_MAX:,} deployments; this would make {many:,}.",
            "fastness undeploy takes away what nobody needs.",
        )
    events: list[FleetEvent] = []
    outcomes = []
    for spec in specs:
        before = state.deployments.get(spec.name)
        if before is not None and not before.removed and same(before.spec, spec):
            outcomes.append(Applied(spec.name, "unchanged", before.revision))
            continue
        revision = revision_of(spec, before, ground.lattice.dominates)
        anew = before is None or revision != before.revision
        check_spec(spec, ground, before.spec if before else None, replaces=anew or (before and before.removed) is True)
        events.append(DeploymentApplied(spec, revision, by))
        outcome = "created" if before is None or before.removed else "rolling" if anew else "changed"
        outcomes.append(Applied(spec.name, outcome, revision, changes(before.spec if before else None, spec)))
    return events, outcomes


def same(before: DeploymentSpec, after: DeploymentSpec) -> bool:
    """Tell whether people would write both the same way: how memory is estimated may have changed meanwhile."""
    return given_of(before) == given_of(after)


def live(state: FleetState, name: str) -> Deployed:
    """Return a deployment that is wanted; raises Problem (not_found, conflict)."""
    deployed = state.deployments.get(name)
    if deployed is None:
        raise missing(state, name)
    if deployed.removed:
        raise Problem(
            "conflict",
            f"{name} was removed by {deployed.by}, and its replicas are draining.",
            f"fastness deploy {name} wants it again.",
        )
    return deployed


def missing(state: FleetState, name: str) -> Problem:
    """Return the problem of a deployment that is not there."""
    return Problem("not_found", f"There is no deployment {name[:80]!r}.", near(name, state.deployments), param="name")


def living(known: AccessSnapshot) -> frozenset[str]:
    """Return the tenants that may own something. The one that the first start makes counts before it is made."""
    return frozenset(one.id for one in known.tenants if one.revoked_s is None) | {DEFAULT_TENANT}
