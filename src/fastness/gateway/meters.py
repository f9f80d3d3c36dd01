"""Metrics of requests, with the label children looked up once."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from fastness.core.error import Refusal
from fastness.core.priority import BAND_NAMES, Band
from fastness.core.request import GENERATING
from fastness.telemetry.metrics import GatewayMetrics
from fastness.telemetry.tally import Count, Tally

if TYPE_CHECKING:
    from fastness.core.own_process import OwnProcesses
    from fastness.gateway.routing import Routing
    from fastness.gateway.trip import Trip


class _Work(NamedTuple):
    input_tokens: Tally
    output_tokens: Tally
    duration: Tally
    first_token: Tally
    per_token: Tally


class Meters:
    """Counts what ends; gauges are read when somebody scrapes.

    `processes` returns how the supervisor's processes are, if that has changed.
    """

    def __init__(self, metrics: GatewayMetrics, processes: Callable[[], OwnProcesses | None] = lambda: None) -> None:
        self._metrics, self._processes = metrics, processes
        self._work: dict[tuple[str, str], _Work] = {}
        self._status: dict[int, Count] = {}
        self._waits: dict[tuple[str, Band], Tally] = {}
        self._dispatched: dict[str, tuple[int, ...]] = {}

    def request(self, trip: Trip, status: int, total_s: float, now: float) -> None:
        """Count a request that ended after `total_s`."""
        if status not in self._status:
            self._status[status] = self._metrics.requests.labels(str(status))
        self._status[status].inc()
        if trip.refusal:
            self._metrics.refusals.labels(trip.refusal.code).inc()
            return
        if trip.served is None:
            return
        work = self._of(trip.operation._value_, trip.served.name)
        work.input_tokens.observe(trip.usage.input_tokens)
        work.duration.observe(total_s)
        if trip.commit_s is not None:
            self._metrics.ledger_commit.observe(trip.commit_s)
        self._wait_of(trip.served.name, trip.band).observe(trip.queue_s)
        if isinstance(trip.request, GENERATING):
            work.output_tokens.observe(trip.usage.output_tokens)
        if trip.first_token_at is not None:
            work.first_token.observe(trip.first_token_at - trip.exchange.received_at)
            if trip.usage.output_tokens > 1:
                work.per_token.observe((now - trip.first_token_at) / (trip.usage.output_tokens - 1))

    def retry(self, model: str, outcome: str) -> None:
        """Count what is done beside the first try: `retried`, `resumed`, `hedged`, or `refused` by the budget."""
        self._metrics.retries.labels(model, outcome).inc()

    def page_refused(self, refusal: Refusal) -> None:
        """Count a refusal outside any journey."""
        self._metrics.requests.labels(str(refusal.status)).inc()
        self._metrics.refusals.labels(refusal.code).inc()

    def page(self, routing: Routing, connections: int, now_s: float) -> bytes:
        """Return the page Prometheus scrapes."""
        self._metrics.connections.set(connections)
        self._look_at_processes()
        self._metrics.replicas.clear()
        self._metrics.circuits.clear()
        self._metrics.replicas_wanted.clear()
        for served in routing.models():
            name = served.name
            self._metrics.in_flight.labels(name).set(sum(lane.in_flight for lane in served.queue.lanes.values()))
            waiting = served.queue.waiting_by_band()
            for band, count in zip(BAND_NAMES, waiting, strict=True):
                self._metrics.waiting.labels(name, band).set(count)
            self._count_dispatched(name, served.queue.dispatched)
            if name in routing.wanted:
                self._metrics.replicas_wanted.labels(name).set(routing.wanted[name])
            for replica in served.replicas.values():
                self._metrics.replicas.labels(name, replica.state.value).inc()
                self._metrics.circuits.labels(name, served.circuit(replica, now_s).value).inc()
        return self._metrics.render()

    def _look_at_processes(self) -> None:
        if (told := self._processes()) is not None:
            self._metrics.processes.clear()
            for one in told.processes:
                self._metrics.processes.labels(one.name, one.state.value).inc()

    def _count_dispatched(self, model: str, counts: list[int]) -> None:
        """Add what the queue has counted since; a queue made anew has begun from 0."""
        before = self._dispatched.get(model, (0,) * len(counts))
        for band, count, known in zip(BAND_NAMES, counts, before, strict=True):
            self._metrics.dispatched.labels(model, band).inc(count - known if count >= known else count)
        self._dispatched[model] = tuple(counts)

    def _wait_of(self, model: str, band: Band) -> Tally:
        key = model, band
        if key not in self._waits:
            self._waits[key] = self._metrics.queue_wait.labels(model, BAND_NAMES[band])
        return self._waits[key]

    def _of(self, operation: str, model: str) -> _Work:
        key = (operation, model)
        if key not in self._work:
            m = self._metrics
            self._work[key] = _Work(
                m.tokens.labels(operation, model, "input"),
                m.tokens.labels(operation, model, "output"),
                m.duration.labels(operation, model),
                m.first_token.labels(operation, model),
                m.per_token.labels(operation, model),
            )
        return self._work[key]
