"""The routes of the fleet: deployments, nodes, shares, what would happen, what happened, and why."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
from starlette.requests import Request

from fastness.control import wire
from fastness.control.deployments import Deployments, applying, live, missing
from fastness.control.desired_wire import GivenDeployment, SpecReader, given_of, with_near_name
from fastness.control.explaining import Asked, explain
from fastness.control.fleet_events import EVENTS_MAX, places_of, read_events
from fastness.control.fleet_views import node_view, pool_views, reports, share_views, wanted_view
from fastness.control.fleet_wire import PendingView, PlanView, SaidView, StepView, WantedView, applied_view
from fastness.control.fleet_words import about, sentence
from fastness.control.given_fleet import (
    APPLY_BYTES_MAX,
    GivenCordon,
    GivenFile,
    GivenLabels,
    GivenPlan,
    GivenRoll,
    GivenScale,
    GivenShare,
)
from fastness.control.guarantees import Guarantees
from fastness.control.models_here import DeviceBytes
from fastness.control.nodes import Nodes
from fastness.control.policies import Policies
from fastness.control.problem import Problem
from fastness.control.revisions import Applied
from fastness.control.routes import Answer, Table, caller_of
from fastness.control.watching import Watching, nodes_of
from fastness.core.desired import DeploymentSpec
from fastness.core.fleet_event import DeploymentApplied, DeploymentRemoved, FleetEvent
from fastness.core.fleet_state import FleetState
from fastness.core.observation import Observation
from fastness.core.policy import Action
from fastness.scheduling.filters import Clears
from fastness.scheduling.plan import PlanBounds, PlanMemory
from fastness.scheduling.preview import preview

INDEX_MAX: Final = 10**15
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class FleetParts:
    """What the routes stand on. `ledger` is the directory of the log `control`; `clock` gives seconds since 1970."""

    deployments: Deployments
    nodes: Nodes
    guarantees: Guarantees
    watching: Watching
    policies: Policies
    device_bytes: DeviceBytes
    ledger: Path
    clock: Callable[[], float]


class FleetApi:
    """The routes. Each returns an HTTP status and what to encode as its body."""

    def __init__(self, parts: FleetParts) -> None:
        self._parts = parts
        self._deployments, self._watching = parts.deployments, parts.watching

    async def deployments(self, request: Request) -> Answer:
        """GET /deployments."""
        wire.read_query(request)
        state, seen = self._deployments.state, self._watching.seen()
        return 200, {"deployments": [wanted_view(state, name, one, seen) for name, one in _named(state)]}

    async def deployment(self, request: Request) -> Answer:
        """GET /deployments/{name}."""
        wire.read_query(request)
        return 200, self._shown(request.path_params["name"])

    async def export(self, request: Request) -> Answer:
        """GET /deployment-file."""
        wire.read_query(request)
        state = self._deployments.state
        return 200, {"deployment": [given_of(one.spec) for _, one in _named(state) if not one.removed]}

    async def apply(self, request: Request) -> Answer:
        """POST /deployments."""
        wire.read_query(request)
        given = await _read(request, GivenFile)
        specs = await self._permitted(request, given.deployment)
        applied = await self._deployments.apply(specs, caller_of(request).id, pending=given.pending)
        return 200, {"applied": [applied_view(one) for one in applied]}

    async def remove(self, request: Request) -> Answer:
        """POST /deployments/{name}/remove."""
        wire.read_query(request)
        await wire.read_body(request, wire.Nothing)
        await self._deployments.remove(request.path_params["name"], caller_of(request).id)
        return 200, {"removed": request.path_params["name"]}

    async def scale(self, request: Request) -> Answer:
        """POST /deployments/{name}/scale."""
        wire.read_query(request)
        given, name = await wire.read_body(request, GivenScale), request.path_params["name"]
        if given.replicas is None and given.min is None and given.max is None:
            raise Problem("missing_field", "`replicas`, `min` or `max` is needed.", "Send one.", param="replicas")
        await self._deployments.scale(name, caller_of(request).id, given.replicas, given.min, given.max)
        return 200, self._shown(name)

    async def roll(self, request: Request) -> Answer:
        """POST /deployments/{name}/roll."""
        wire.read_query(request)
        given, name, by = await wire.read_body(request, GivenRoll), request.path_params["name"], caller_of(request)
        if given.back:
            if given.model or given.parameters:
                raise Problem(
                    "invalid_value", "`back` came with something to roll to.", "Send one of them.", param="back"
                )
            return 200, {"applied": [applied_view(await self._deployments.roll_back(name, by.id))]}
        before = live(self._deployments.state, name).spec
        wanted = await asyncio.to_thread((await self._reader()).read, rolled(before, given), before)
        self._parts.policies.permit(by, Action.DEPLOY, wanted.ceiling)
        return 200, {"applied": [applied_view(await self._deployments.roll(name, by.id, lambda _: wanted))]}

    async def why(self, request: Request) -> Answer:
        """GET /deployments/{name}/why."""
        wire.read_query(request)
        name, state = request.path_params["name"], self._deployments.state
        deployed = state.deployments.get(name)
        if deployed is None:
            raise missing(state, name)
        last = await asyncio.to_thread(read_events, self._parts.ledger, state, 1, None, name)
        since_ms = last[0].time_ms if last else None
        seen, latest = self._watching.seen(), self._watching.latest()
        asked = Asked(state, seen, latest, self._now_ms(), since_ms, self._parts.policies.lattice.dominates)
        return 200, await asyncio.to_thread(explain, asked, deployed)

    async def nodes(self, request: Request) -> Answer:
        """GET /nodes."""
        wire.read_query(request)
        return 200, {"nodes": [self._node(name) for name in sorted(self._parts.nodes.known(self._deployments.state))]}

    async def cordon(self, request: Request) -> Answer:
        """POST /nodes/{name}/cordon."""
        wire.read_query(request)
        given, name = await wire.read_body(request, GivenCordon), request.path_params["name"]
        await self._parts.nodes.cordon(name, caller_of(request).id, given.reason, drain=given.drain)
        return 200, self._node(name)

    async def uncordon(self, request: Request) -> Answer:
        """POST /nodes/{name}/uncordon."""
        wire.read_query(request)
        await wire.read_body(request, wire.Nothing)
        await self._parts.nodes.uncordon(request.path_params["name"], caller_of(request).id)
        return 200, self._node(request.path_params["name"])

    async def forget(self, request: Request) -> Answer:
        """POST /nodes/{name}/forget."""
        wire.read_query(request)
        await wire.read_body(request, wire.Nothing)
        await self._parts.nodes.forget(request.path_params["name"], caller_of(request).id)
        return await self.nodes(request)

    async def label(self, request: Request) -> Answer:
        """POST /nodes/{name}/label."""
        wire.read_query(request)
        given, name = await wire.read_body(request, GivenLabels), request.path_params["name"]
        await self._parts.nodes.label(name, caller_of(request).id, given.put, given.remove)
        return 200, self._node(name)

    async def shares(self, request: Request) -> Answer:
        """GET /shares."""
        wire.read_query(request)
        return 200, self._shares()

    async def set_share(self, request: Request) -> Answer:
        """POST /shares."""
        wire.read_query(request)
        given = await wire.read_body(request, GivenShare)
        await self._parts.guarantees.put(given.owner, given.pool, given.devices, caller_of(request).id)
        return 200, self._shares()

    async def plan(self, request: Request) -> Answer:
        """POST /plan."""
        wire.read_query(request)
        given, by = await _read(request, GivenPlan), caller_of(request).id
        state = self._deployments.state
        ground = await self._deployments.ground()
        specs = await asyncio.to_thread(_specs, await self._reader(), given.deployment, state)
        events, applied = applying(state, specs, ground, by)
        for name in given.roll:
            deployed = live(state, name)
            events.append(DeploymentApplied(deployed.spec, deployed.newest + 1, by))
            applied.append(Applied(name, "rolling", deployed.newest + 1))
        events += [DeploymentRemoved(live(state, name).spec.name, by) for name in dict.fromkeys(given.remove)]
        seen, latest = self._watching.seen(), self._watching.latest()
        memory, now_ms = latest.memory if latest else PlanMemory(), self._now_ms()
        now = Now(state, seen or Observation(now_ms), memory, now_ms, ground.lattice.dominates)
        return 200, await asyncio.to_thread(_plan_view, now, events, applied)

    async def events(self, request: Request) -> Answer:
        """GET /events."""
        query = wire.read_query(request, "since", "limit", "deployment", "node")
        since = wire.read_integer(query, "since", 0, 0, INDEX_MAX) if "since" in query else None
        limit = wire.read_integer(query, "limit", 50, 1, EVENTS_MAX)
        named = query.get("deployment"), query.get("node")
        state = self._deployments.state
        found = await asyncio.to_thread(read_events, self._parts.ledger, state, limit, since, *named)
        return 200, {"events": found}

    async def _permitted(self, request: Request, given: Sequence[GivenDeployment]) -> list[DeploymentSpec]:
        """Return the specs, once policy has permitted the caller to deploy up to the ceiling of each."""
        specs = await asyncio.to_thread(_specs, await self._reader(), given, self._deployments.state)
        for spec in specs:
            self._parts.policies.permit(caller_of(request), Action.DEPLOY, spec.ceiling)
        return specs

    async def _reader(self) -> SpecReader:
        ground = await self._deployments.ground()
        return SpecReader(ground.models, ground.lattice, self._parts.device_bytes, ground.adapters)

    def _shown(self, name: str) -> WantedView:
        state = self._deployments.state
        if name not in state.deployments:
            raise missing(state, name)
        return wanted_view(state, name, state.deployments[name], self._watching.seen())

    def _node(self, name: str) -> Any:
        told = reports(self._watching.seen())
        report = told.get(name)
        return node_view(self._deployments.state, name, report.node if report else None, report, self._now_ms())

    def _shares(self) -> Any:
        state, seen = self._deployments.state, self._watching.seen()
        nodes, clears = {one.name: one for one in nodes_of(seen)}, self._parts.policies.lattice.dominates
        return {
            "shares": share_views(state, seen, clears),
            "pools": pool_views(state, self._parts.guarantees.pools(), nodes),
        }

    def _now_ms(self) -> int:
        return int(self._parts.clock() * 1_000)


def rolled(before: DeploymentSpec, given: GivenRoll) -> GivenDeployment:
    """Return a deployment as people write it, with another model or other parameters; raises Problem."""
    whole = msgspec.to_builtins(given_of(before))
    whole["model"] = given.model or whole["model"]
    whole["parameters"] |= given.parameters
    if given.model and "slot_context_tokens" not in given.parameters:
        whole["parameters"]["slot_context_tokens"] = before.parameters.slot_context_tokens
    try:
        return msgspec.convert(whole, GivenDeployment)
    except msgspec.ValidationError as error:
        raise with_near_name(wire.misfit(str(error))) from None


async def _read(request: Request, kind: type[T]) -> T:
    try:
        return await wire.read_body(request, kind, APPLY_BYTES_MAX)
    except Problem as problem:
        raise with_near_name(problem) from None


def _specs(reader: SpecReader, given: Sequence[GivenDeployment], state: FleetState) -> list[DeploymentSpec]:
    """Read deployments; blocks where the weights of a model must be looked at."""
    known = {name: one.spec for name, one in state.deployments.items()}
    return [reader.read(one, known.get(one.name)) for one in given]


def _named(state: FleetState) -> list[tuple[str, Any]]:
    return sorted(state.deployments.items())


@dataclass(frozen=True, slots=True)
class Now:
    """From where on something would happen."""

    state: FleetState
    seen: Observation
    memory: PlanMemory
    now_ms: int
    clears: Clears


def _plan_view(now: Now, events: list[FleetEvent], applied: list[Applied]) -> PlanView:
    played = preview(now.state, now.seen, now.memory, now.now_ms, PlanBounds(), events, now.clears)
    placed = places_of(now.state)
    steps = []
    for event in played.events:
        deployment, nodes = about(event, placed)
        if (replica := getattr(event, "replica", None)) and deployment:
            placed[replica] = deployment, nodes
        steps.append(StepView(type(event).__name__, deployment, sentence(event)))
    pending = tuple(
        PendingView(
            one.deployment, one.wanted, one.there, tuple(SaidView(x.node, x.sentence) for x in one.refusals), one.hopes
        )
        for one in played.pending
    )
    return PlanView(tuple(applied_view(one) for one in applied), tuple(steps), pending, played.complete)


_READ, _DEPLOY, _FLEET = Action.READ, Action.DEPLOY, Action.MANAGE_FLEET
ROUTES: Final[Table] = (
    ("GET", "/api/v1/deployments", _READ, FleetApi.deployments),
    ("POST", "/api/v1/deployments", _DEPLOY, FleetApi.apply),
    ("GET", "/api/v1/deployment-file", _READ, FleetApi.export),
    ("GET", "/api/v1/deployments/{name}", _READ, FleetApi.deployment),
    ("GET", "/api/v1/deployments/{name}/why", _READ, FleetApi.why),
    ("POST", "/api/v1/deployments/{name}/remove", _DEPLOY, FleetApi.remove),
    ("POST", "/api/v1/deployments/{name}/scale", _DEPLOY, FleetApi.scale),
    ("POST", "/api/v1/deployments/{name}/roll", _DEPLOY, FleetApi.roll),
    ("GET", "/api/v1/nodes", _READ, FleetApi.nodes),
    ("POST", "/api/v1/nodes/{name}/cordon", _FLEET, FleetApi.cordon),
    ("POST", "/api/v1/nodes/{name}/uncordon", _FLEET, FleetApi.uncordon),
    ("POST", "/api/v1/nodes/{name}/forget", _FLEET, FleetApi.forget),
    ("POST", "/api/v1/nodes/{name}/label", _FLEET, FleetApi.label),
    ("GET", "/api/v1/shares", _READ, FleetApi.shares),
    ("POST", "/api/v1/shares", _FLEET, FleetApi.set_share),
    ("POST", "/api/v1/plan", _READ, FleetApi.plan),
    ("GET", "/api/v1/events", _READ, FleetApi.events),
)
"""Every route of the fleet; a test compares it with docs/reference/fleet-api.md."""
