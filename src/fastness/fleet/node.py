"""A node: keeps the engines of one machine as its orders say, whether anybody is there to give orders or not.

Orders are whole. What is in them runs, what is not in them ends; one that drains goes on, and is routed no more. The
node asks nobody: it knows its last orders, keeps them on disk, and obeys none that are older.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

from fastness import __version__
from fastness.core.node import FleetNode
from fastness.core.observation import Assignment, NodeOrders, NodeReport
from fastness.core.replica import Diagnosis, Replica, ReplicaState
from fastness.fleet.keeper import Execution, ReplicaKeeper

RETRY_S: Final = 10.0
"""How long a replica that could not be prepared waits for the next try: somebody has to put right what is wrong."""


class CannotRun(Exception):  # noqa: N818 - an outcome
    """A replica cannot be run here as things are; `diagnosis` says why, and what to try."""

    def __init__(self, diagnosis: Diagnosis) -> None:
        super().__init__(f"{diagnosis.summary} {diagnosis.hint}")
        self.diagnosis = diagnosis


class Workshop(Protocol):
    """Makes ready what a replica needs."""

    async def prepare(self, assignment: Assignment, tell: Callable[[str], None]) -> Execution:
        """Verify, copy and seal; `tell` gets each stage as a word. Raises CannotRun."""
        ...

    def release(self, replica: str) -> None:
        """Let go of what was prepared for a replica, if anything was."""
        ...


@dataclass(slots=True)
class _Lane:
    """One replica on its way from its order to its end. `halted`: its engine ends now, and is prepared anew.

    `starts` is how often its engine was started, before that.
    """

    assignment: Assignment
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    halted: asyncio.Event = field(default_factory=asyncio.Event)
    stage: str = ""
    starts: int = 0
    diagnosis: Diagnosis | None = None
    task: asyncio.Task[None] | None = None

    def is_routed(self) -> bool:
        """Tell whether it may get anything new, once it is ready."""
        return self.assignment.routed and not self.ended.is_set() and not self.halted.is_set()


class LocalNode:
    """The node of this machine. `keep` makes orders durable before they are obeyed: it blocks, and raises OSError.

    `changed` is called after each change that `keeper` does not tell by itself, with the replica if one has failed.
    """

    def __init__(
        self,
        name: str,
        keeper: ReplicaKeeper,
        workshop: Workshop,
        keep: Callable[[NodeOrders], None],
        changed: Callable[[Replica | None], None],
        retry_s: float = RETRY_S,
    ) -> None:
        self._keeper, self._workshop, self._keep = keeper, workshop, keep
        self._changed, self._retry_s = changed, retry_s
        self._lanes: dict[str, _Lane] = {}
        self._closing = False
        self.orders = NodeOrders(name, 0)
        """The last that were taken."""

    def begin(self, kept: NodeOrders | None) -> None:
        """Start from the orders that were kept, if they are for this node."""
        if kept is not None and kept.node == self.orders.node:
            self.orders = kept
        self._align()

    async def obey(self, orders: NodeOrders) -> bool:
        """Take new orders; tell whether they were taken. Raises OSError when they cannot be kept, and leaves all as is.

        Not taken are those for another node, and older ones than were taken before.
        """
        if orders.node != self.orders.node or orders.version < self.orders.version or orders == self.orders:
            return False
        await asyncio.to_thread(self._keep, orders)
        self.orders = orders
        self._align()
        self._changed(None)
        return True

    def observe(self) -> tuple[Replica, ...]:
        """Return every replica that is ordered, or still runs.

        One without a process yet is starting, or has failed; one that gets nothing new is draining, whatever it does.
        """
        running = {one.id: one for one in self._keeper.observe()}
        found = []
        for replica_id, lane in self._lanes.items():
            one = running.get(replica_id) or _without_process(lane)
            found.append(one if lane.is_routed() else replace(one, state=ReplicaState.DRAINING))
        return tuple(found)

    def report(self, node: FleetNode, at_ms: int) -> NodeReport:
        """Say how things are."""
        replicas = self.observe()
        stages = ((one.id, self._lanes[one.id].stage or ("load" if _loads(one) else "")) for one in replicas)
        said = tuple(pair for pair in stages if pair[1])
        return NodeReport(node, at_ms, self.orders.version, replicas, said, release=__version__)

    def halt(self, model: str) -> None:
        """End the engines of a model at once, whatever was ordered: it must be prepared anew before it runs again."""
        for lane in self._lanes.values():
            if lane.assignment.spec.model == model:
                lane.halted.set()

    def lapse(self) -> None:
        """End every engine at once, and forget what was ordered: only new orders start anything again."""
        self._keeper.kill()
        for lane in self._lanes.values():
            lane.ended.set()
        self.orders = replace(self.orders, assignments=())
        self._changed(None)

    async def close(self) -> None:
        """End every replica. The orders stay as they are."""
        self._closing = True
        for lane in self._lanes.values():
            lane.ended.set()
        await asyncio.gather(*(lane.task for lane in self._lanes.values() if lane.task))

    def _align(self) -> None:
        """End what is not ordered, begin what is ordered and not here. A replica under another term is another one."""
        wanted = {} if self._closing else {one.replica: one for one in self.orders.assignments}
        for replica_id, lane in self._lanes.items():
            found = wanted.pop(replica_id, None)
            if found is None or found.term != lane.assignment.term:
                lane.ended.set()  # one of the same id begins when this has ended
            else:
                if found.spec.variant != lane.assignment.spec.variant:
                    lane.halted.set()  # an adapter was taken from it: it must not stay loaded
                lane.assignment = found
        for replica_id, assignment in wanted.items():
            devices = set(assignment.part.devices)
            holders = [one.task for one in self._lanes.values() if devices & set(one.assignment.part.devices)]
            lane = self._lanes[replica_id] = _Lane(assignment)
            lane.task = asyncio.create_task(self._run(replica_id, lane, [one for one in holders if one]))

    async def _run(self, replica_id: str, lane: _Lane, holders: list[asyncio.Task[None]]) -> None:
        """Run it once those that hold its devices are gone, until it is not ordered any more."""
        try:
            await asyncio.gather(*holders, return_exceptions=True)
            while not lane.ended.is_set():
                lane.halted.clear()
                execution = await self._prepared(lane)
                if execution is None:
                    await _first_of(self._retry_s, lane.ended, lane.halted)
                elif not lane.ended.is_set() and not lane.halted.is_set():
                    await self._keeper.start(execution, lane.starts)
                    await _first_of(None, lane.ended, lane.halted)
                    lane.starts = await self._keeper.stop(replica_id)
                self._workshop.release(replica_id)
        finally:
            self._workshop.release(replica_id)
            del self._lanes[replica_id]
            self._align()
            self._changed(None)

    async def _prepared(self, lane: _Lane) -> Execution | None:
        def tell(stage: str) -> None:
            lane.stage = stage
            self._changed(None)

        preparing = asyncio.ensure_future(self._workshop.prepare(lane.assignment, tell))
        ended = asyncio.ensure_future(lane.ended.wait())
        try:
            await asyncio.wait((preparing, ended), return_when=asyncio.FIRST_COMPLETED)
            if not preparing.done():
                return None
            execution = preparing.result()
        except CannotRun as error:
            lane.diagnosis = error.diagnosis
        except Exception as error:  # noqa: BLE001 - one replica's trouble, whatever it is, ends no other
            lane.diagnosis = Diagnosis("not_prepared", f"It could not be prepared: {error!r}.", "It is tried again.")
        else:
            lane.diagnosis, lane.stage = None, ""
            return execution
        finally:
            for task in (preparing, ended):
                task.cancel()
            await asyncio.gather(preparing, ended, return_exceptions=True)
        lane.stage = ""
        self._changed(_without_process(lane))
        return None


def _loads(one: Replica) -> bool:
    return one.state is ReplicaState.STARTING and one.pid is not None


def _without_process(lane: _Lane) -> Replica:
    state = ReplicaState.FAILED if lane.diagnosis else ReplicaState.STARTING
    return replace(lane.assignment.as_replica(state), diagnosis=lane.diagnosis)


async def _first_of(limit_s: float | None, *events: asyncio.Event) -> None:
    """Wait until one of the events is set, or the time is over."""
    tasks = [asyncio.create_task(one.wait()) for one in events]
    try:
        await asyncio.wait(tasks, timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks, return_exceptions=True)
