"""A fleet for the verbs: a reconciler on nodes that do at once what they are told, but for what is held back."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

from fastness.core.fleet_state import Phase
from fastness.core.marking import Label, Node
from fastness.core.node import Device, DeviceKind, FleetNode
from fastness.core.observation import DeploymentLoad, GatewayReport, NodeReport, Observation, RevisionLoad
from fastness.core.replica import Replica, ReplicaState
from fastness.scheduling.orders import orders
from fastness.scheduling.plan import PlanBounds, PlanMemory, plan

GB = 1_000_000_000


def node(name, devices=4):
    gpus = tuple(Device(f"gpu-{n}", DeviceKind.GPU, "h100", 80 * GB) for n in range(devices))
    return FleetNode(Node(name, "GB", "", "", Label("OFFICIAL")), gpus, 400 * GB, labels=(("gpu", "h100"),))


class ObedientFleet:
    """A `Watching`, and the companion of the control process that makes it so."""

    def __init__(self, *nodes):
        self.nodes, self.log, self.plan, self.memory = nodes, None, None, PlanMemory()
        self.loading_s, self.begun = 0.05, {}

    def latest(self):
        return self.plan

    def seen(self):
        now_ms = time.time_ns() // 1_000_000
        state = self.log.state
        reports = tuple(self._loading(self._report(one, now_ms)) for one in self.nodes)
        draining = tuple(one.id for one in state.replicas.values() if one.phase is Phase.DRAINING)
        loads = tuple(
            DeploymentLoad(name, 0, 0, 0.0, 0, 0, 0.0, (RevisionLoad(1, now_ms // 10, 0, 0, 0),))
            for name in state.deployments
        )
        gateway = GatewayReport("gateway-0", now_ms, state.sequence, draining, (), loads)
        return Observation(now_ms, reports, (gateway,))

    def _report(self, one, now_ms):
        state = self.log.state
        replicas = tuple(
            Replica(
                each.replica, each.spec.model, "llamacpp", ReplicaState.READY, "", 8, 2_048, 1, True, node=one.name,
                deployment=each.spec.name, revision=each.revision, model_digest=each.spec.model_digest, term=each.term,
            )
            for each in orders(state, one.name).assignments
        )  # fmt: skip
        return NodeReport(one, now_ms, state.sequence, replicas, release="9.9.9" if one.name == "bristol" else "")

    def _loading(self, report):
        now_s, replicas, stages = time.monotonic(), [], []
        for one in report.replicas:
            ready = now_s - self.begun.setdefault(one.id, now_s) >= self.loading_s
            replicas.append(one if ready else replace(one, state=ReplicaState.STARTING))
            stages += [] if ready else [(one.id, "load")]
        return replace(report, replicas=tuple(replicas), stages=tuple(stages))

    @asynccontextmanager
    async def serve(self):
        task = asyncio.create_task(self._reconcile())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def _reconcile(self):
        while True:
            seen = self.seen()

            def decide(state, seen=seen):
                self.plan = plan(state, seen, self.memory, seen.at_ms, PlanBounds())
                return self.plan.events

            await self.log.decide(decide)
            self.memory = self.plan.memory
            await asyncio.sleep(0.02)
