"""The replicas that serve in the world: which engines there are, and what comes of their runs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from fastness.fleet.simulated import Cause, Change, Step
from fastness.simulator.engine import Engine, Progress, Run
from fastness.simulator.request import Request
from fastness.simulator.routes import Route

if TYPE_CHECKING:
    from fastness.simulator.world import World

STALL_S: Final = 1.0
"""After so long without a word from a node, a gateway takes its connections there for broken."""


@dataclass(eq=False, slots=True)
class Live:
    """A replica that serves. `version` dates its engine's next event."""

    replica: str
    epoch: int
    nodes: tuple[str, ...]
    engine: Engine
    version: int = 0


class Serving:
    """See the module."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.live: dict[str, Live] = {}
        self._parts_ready: dict[str, dict[str, int]] = {}

    def on_change(self, change: Change) -> None:
        """An engine made a step."""
        replica = change.assignment.replica
        if change.step is Step.READY:
            self._part_ready(change)
        elif change.step in (Step.UNREADY, Step.GONE):
            self._parts_ready.get(replica, {}).pop(change.node, None)
            self._part_down(change)
        elif change.step is Step.HUNG and (live := self.live.get(replica)):
            live.engine.pause(self._world.now_s)
            self.reschedule(live)

    def send(self, request: Request, route: Route, run: Run) -> bool:
        """Send a run to an engine; False: nothing answers there."""
        world, live = self._world, self.live.get(route.replica)
        up = (one for one in world.gateways.values() if one.up)
        in_flight = sum(one.in_flight(route.deployment, route.replica) for one in up)
        world.laws.sent(request, route, live.engine if live else None, in_flight)
        if live is None or live.epoch != route.epoch or any(world.links.is_lost(node) for node in live.nodes):
            return False
        live.engine.take(world.now_s, run)
        self.reschedule(live)
        return True

    def recall(self, request: Request) -> None:
        """A run is not wanted any more."""
        live = self.live.get(request.replica)
        if live and request.run:
            live.engine.drop(self._world.now_s, request.run)
            self.reschedule(live)

    def silence(self, live: Live) -> None:
        """Nothing comes from a replica any more, and after a while its connections count as broken."""
        live.engine.pause(self._world.now_s)
        self._world.at(self._world.now_s + STALL_S, partial(self._give_up, live, self._world.now_s))

    def reschedule(self, live: Live) -> None:
        """An engine's next event has changed."""
        live.version += 1
        due = live.engine.due_s()
        if due is not None:
            self._world.at(due, partial(self._engine_due, live, live.version))

    def idle(self, request: Request) -> str:
        """The replica that idled all the while that a request waited, if there is one."""
        world, asked = self._world, request.asked
        for live in self.live.values():
            placed = world.control.state.replicas.get(live.replica)
            if placed is None or placed.deployment != asked.deployment or live.engine.runs:
                continue
            ceilings = (world.offers[node].place.ceiling for node in live.nodes)
            if not all(world.lattice.dominates(one, asked.label) for one in ceilings):
                continue
            steady = world.links.steady(live.nodes, asked.at_s)
            if steady and world.story.ready_since(live.replica) < asked.at_s and not request.tries:
                return live.replica
        return ""

    def _part_ready(self, change: Change) -> None:
        world, assignment = self._world, change.assignment
        parts = self._parts_ready.setdefault(assignment.replica, {})
        parts[change.node] = change.epoch
        if len(parts) < assignment.spec.needs.nodes:
            return
        engine = Engine(world.pace(assignment.spec))
        self.live[assignment.replica] = Live(assignment.replica, sum(parts.values()), tuple(parts), engine)
        world.laws.ready(assignment.replica)
        if any(world.links.is_lost(node) for node in parts):
            world.laws.out_of_reach(assignment.replica)
        world.story.ready(world.now_s, assignment.replica)

    def _part_down(self, change: Change) -> None:
        live, world = self.live.pop(change.assignment.replica, None), self._world
        if live is None:
            return
        world.laws.cut(change, world.control.state, live.engine.runs, world.links.is_deaf(change.node))
        world.story.down(change, live.engine.runs)
        if change.cause is Cause.POWER:
            self.silence(live)
        else:
            self._fail_runs(live, world.now_s)

    def _give_up(self, live: Live, since_s: float) -> None:
        """Unless the replica was heard of again meanwhile."""
        there = self.live.get(live.replica) is live
        if not there or any(self._world.links.is_lost(node) for node in live.nodes):
            self._fail_runs(live, since_s)

    def _fail_runs(self, live: Live, since_s: float) -> None:
        """Everything on a replica fails, and goes on elsewhere if it can; `since_s`: nothing came any more."""
        world, runs = self._world, live.engine.under_way()
        world.story.cut(since_s, [run.ticket for run in runs if isinstance(run.ticket, Request)])
        for run in runs:
            request = run.ticket
            assert isinstance(request, Request)
            written = live.engine.written(world.now_s, run)
            live.engine.drop(world.now_s, run)
            gateway = world.gateways[request.gateway]
            if request.end is None and request.run is run and gateway.up:
                request.cut_s = since_s if request.cut_s < 0.0 else request.cut_s
                gateway.fail(request, written, gone=True)

    def _engine_due(self, live: Live, version: int) -> None:
        if version != live.version or self.live.get(live.replica) is not live:
            return
        for progress, run in live.engine.advance(self._world.now_s):
            request = run.ticket
            assert isinstance(request, Request)
            gateway = self._world.gateways[request.gateway]
            if progress is Progress.FIRST:
                self._world.story.went_on(self._world.now_s, request, live.nodes[0])
                gateway.first(request)
            else:
                request.sent += run.output_tokens
                gateway.last(request)
        self.reschedule(live)
