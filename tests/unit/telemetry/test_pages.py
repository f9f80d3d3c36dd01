"""Several gateways' metrics on one page: what each counted stays its own."""

from prometheus_client.parser import text_string_to_metric_families

from fastness.telemetry.metrics import GatewayMetrics
from fastness.telemetry.pages import joined


def page(requests: int) -> bytes:
    metrics = GatewayMetrics()
    for _ in range(requests):
        metrics.requests.labels("200").inc()
    metrics.queue_wait.labels("small", "standard").observe(0.1)
    metrics.connections.set(requests)
    return metrics.render()


def test_every_sample_says_whose_it_is_and_families_stay_together():
    text = joined({"gateway-0": page(3), "gateway-1": page(4)}).decode()
    families = list(text_string_to_metric_families(text))
    assert len({one.name for one in families}) == len(families), "each family has one heading"
    values = {
        (sample.name, sample.labels["gateway"]): sample.value
        for one in families
        for sample in one.samples
        if "le" not in sample.labels
    }
    assert values["fastness_requests_total", "gateway-0"] == 3
    assert values["fastness_requests_total", "gateway-1"] == 4
    assert values["fastness_connections", "gateway-1"] == 4
    plain = {one.name: len(one.samples) for one in text_string_to_metric_families(page(3).decode())}
    assert {one.name: len(one.samples) for one in families} == {name: 2 * count for name, count in plain.items()}


def test_one_that_is_away_is_left_out():
    text = joined({"gateway-1": page(1)}).decode()
    assert 'gateway="gateway-1"' in text
    assert "gateway-0" not in text
