"""What is counted cheaply is shown exactly as prometheus_client shows what it counted itself."""

from __future__ import annotations

import re

import prometheus_client
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest

from fastness.telemetry import tally

BUCKETS = (0.001, 0.01, 1, 2.5, 1_024)
VALUES = st.floats(0, 5_000, allow_nan=False) | st.sampled_from(BUCKETS) | st.integers(0, 2_000)
LABELS = st.tuples(st.sampled_from(["chat", "embeddings"]), st.sampled_from(["small", 'odd "name"']))


def shown(registry: CollectorRegistry) -> list[str]:
    """The page, in order of its lines, without the moments at which it was begun."""
    return sorted(
        re.sub(r"(_created\S*) .*", r"\1 then", line) for line in generate_latest(registry).decode().split("\n")
    )


@given(st.lists(st.tuples(LABELS, VALUES), max_size=40))
def test_a_histogram_with_labels(seen: list[tuple[tuple[str, str], float]]) -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    one = tally.Histogram("seconds", "How long.", ["operation", "model"], buckets=BUCKETS, registry=ours)
    other = prometheus_client.Histogram(
        "seconds", "How long.", ["operation", "model"], buckets=BUCKETS, registry=theirs
    )
    for labels, value in seen:
        one.labels(*labels).observe(value)
        other.labels(*labels).observe(value)
    assert shown(ours) == shown(theirs)


@given(st.lists(VALUES, max_size=40))
def test_a_histogram_without_labels(seen: list[float]) -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    one = tally.Histogram("seconds", "How long.", buckets=BUCKETS, registry=ours)
    other = prometheus_client.Histogram("seconds", "How long.", buckets=BUCKETS, registry=theirs)
    for value in seen:
        one.observe(value)
        other.observe(value)
    assert shown(ours) == shown(theirs)


@given(st.lists(st.sampled_from(["200", "429", "503"]), max_size=40))
def test_a_counter(seen: list[str]) -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    one = tally.Counter("requests", "Answered.", ["status"], registry=ours)
    other = prometheus_client.Counter("requests", "Answered.", ["status"], registry=theirs)
    for status in seen:
        one.labels(status).inc()
        other.labels(status).inc()
    assert shown(ours) == shown(theirs)
