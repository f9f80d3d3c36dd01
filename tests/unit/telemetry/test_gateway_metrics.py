"""Metrics: every name pinned, every pinned name exported, and no label that a caller could write into."""

from __future__ import annotations

from prometheus_client import Gauge
from prometheus_client.parser import text_string_to_metric_families

from fastness.telemetry import names
from fastness.telemetry.metrics import GatewayMetrics
from fastness.telemetry.tally import Counter, Histogram

PINNED = {value for name, value in vars(names).items() if name.isupper() and isinstance(value, str)}
LABELS = {
    "gen_ai_operation_name", "gen_ai_request_model", "gen_ai_token_type", "status", "band", "code", "state",
    "circuit", "outcome", "process",
}  # fmt: skip


def instruments() -> list[Counter | Gauge | Histogram]:
    return [one for one in vars(GatewayMetrics()).values() if isinstance(one, Counter | Gauge | Histogram)]


def test_every_pinned_name_is_exported_and_nothing_else() -> None:
    assert {family.name for family in GatewayMetrics().registry.collect()} == PINNED


def test_what_is_exported_can_be_read_by_a_scraper() -> None:
    metrics = GatewayMetrics()
    metrics.requests.labels("200").inc()
    families = text_string_to_metric_families(metrics.render().decode())
    assert {sample.name: sample.value for family in families for sample in family.samples}[
        "fastness_requests_total"
    ] == 1


def test_a_name_ends_in_its_unit_or_counts_things() -> None:
    for one in instruments():
        if isinstance(one, Histogram) and one._name != names.TOKEN_USAGE:
            assert one._name.endswith("_seconds"), one._name


def test_labels_are_a_closed_set_without_tenants_keys_or_text() -> None:
    used = {label for one in instruments() for label in one._labelnames}
    assert used == LABELS


def test_every_metric_says_what_it_is() -> None:
    assert all(len(one._documentation) > 5 for one in instruments())


def test_buckets_grow() -> None:
    buckets = [value for value in vars(names).values() if isinstance(value, tuple)]
    assert buckets
    assert all(list(one) == sorted(set(one)) for one in buckets)


def test_two_gateways_in_one_process_do_not_share_their_counts() -> None:
    one, other = GatewayMetrics(), GatewayMetrics()
    one.refusals.labels("queue_full").inc()
    assert b'code="queue_full"' in one.render()
    assert b'code="queue_full"' not in other.render()
