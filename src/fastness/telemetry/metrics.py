"""The gateway's metrics. No label names a tenant, a key or anything a caller wrote freely."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Gauge, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from fastness.telemetry import names
from fastness.telemetry.tally import Counter, Histogram


class GatewayMetrics:
    """What one gateway process counts, in a registry of its own."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        by_work = ["gen_ai_operation_name", "gen_ai_request_model"]
        by_band = ["gen_ai_request_model", "band"]
        self.requests = Counter(names.REQUESTS, "Requests answered, by outcome.", ["status"], registry=self.registry)
        self.refusals = Counter(names.REFUSALS, "Errors, by code of the error table.", ["code"], registry=self.registry)
        self.tokens = Histogram(
            names.TOKEN_USAGE,
            "Tokens of a request.",
            [*by_work, "gen_ai_token_type"],
            buckets=names.TOKEN_BUCKETS,
            registry=self.registry,
        )
        self.duration = Histogram(
            names.REQUEST_DURATION,
            "From first byte in to last byte out.",
            by_work,
            buckets=names.DURATION_BUCKETS_S,
            registry=self.registry,
        )
        self.first_token = Histogram(
            names.TIME_TO_FIRST_TOKEN,
            "From first byte in to first token out, streams.",
            by_work,
            buckets=names.FIRST_TOKEN_BUCKETS_S,
            registry=self.registry,
        )
        self.per_token = Histogram(
            names.TIME_PER_OUTPUT_TOKEN,
            "Between tokens after the first, streams.",
            by_work,
            buckets=names.PER_TOKEN_BUCKETS_S,
            registry=self.registry,
        )
        self.queue_wait = Histogram(
            names.QUEUE_WAIT,
            "Wait for a slot, by how urgent the request was.",
            by_band,
            buckets=names.SHORT_BUCKETS_S,
            registry=self.registry,
        )
        self.dispatched = Counter(
            names.DISPATCHED, "Generations that were given a slot.", by_band, registry=self.registry
        )
        self.ledger_commit = Histogram(
            names.LEDGER_COMMIT, "Wait for a durable entry.", buckets=names.SHORT_BUCKETS_S, registry=self.registry
        )
        self.in_flight = Gauge(
            names.IN_FLIGHT, "Generations on engines now.", ["gen_ai_request_model"], registry=self.registry
        )
        self.waiting = Gauge(names.WAITING, "Generations waiting for a slot now.", by_band, registry=self.registry)
        self.connections = Gauge(names.CONNECTIONS, "Open client connections now.", registry=self.registry)
        self.processes = Gauge(
            names.PROCESSES,
            "Processes of the installation beside its engines, by state.",
            ["process", "state"],
            registry=self.registry,
        )
        self.replicas, self.replicas_wanted = self._of_replicas()
        self.circuits, self.retries = self._of_failures()

    def _of_replicas(self) -> tuple[Gauge, Gauge]:
        there = Gauge(
            names.REPLICAS,
            "Replicas by state, from the routing snapshot.",
            ["gen_ai_request_model", "state"],
            registry=self.registry,
        )
        wanted = Gauge(
            names.REPLICAS_WANTED,
            "Replicas that there should be, on all nodes together.",
            ["gen_ai_request_model"],
            registry=self.registry,
        )
        return there, wanted

    def _of_failures(self) -> tuple[Gauge, Counter]:
        circuits = Gauge(
            names.CIRCUITS,
            "Replicas by the state of their circuit.",
            ["gen_ai_request_model", "circuit"],
            registry=self.registry,
        )
        retries = Counter(
            names.RETRIES,
            "Failures of engines under a generation, by what came of them.",
            ["gen_ai_request_model", "outcome"],
            registry=self.registry,
        )
        return circuits, retries

    def render(self) -> bytes:
        """Return the page Prometheus scrapes."""
        return generate_latest(self.registry)
