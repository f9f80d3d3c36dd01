"""What is shipped for Grafana and Prometheus speaks only of series that a gateway's /metrics page has."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import Gauge
from prometheus_client.parser import text_string_to_metric_families

from fastness.core.error import ERROR_CODES
from fastness.core.priority import BAND_NAMES
from fastness.core.replica import ReplicaState
from fastness.telemetry.metrics import GatewayMetrics
from fastness.telemetry.tally import Counter, Histogram
from fastness.traffic.circuit import CircuitState
from promql import read

DEPLOY = Path(__file__).parents[2] / "deploy"
BOARDS = sorted((DEPLOY / "grafana").glob("*.json"))
PROMETHEUS = DEPLOY / "prometheus"
OF_PROMETHEUS = {"instance", "job"}
"""Labels that a scrape adds to every series."""
VALUES = {
    "code": set(ERROR_CODES),
    "band": set(BAND_NAMES),
    "state": {one.value for one in ReplicaState},
    "circuit": {one.value for one in CircuitState},
    "outcome": {"retried", "resumed", "hedged", "refused"},
    "gen_ai_token_type": {"input", "output"},
    "job": {"fastness"},
}
UNITS = {"short", "s", "reqps"}


@cache
def exported() -> dict[str, frozenset[str]]:
    """Every series of the page with its labels, once each instrument has counted something."""
    metrics = GatewayMetrics()
    for one in vars(metrics).values():
        if isinstance(one, Counter | Gauge | Histogram):
            child = one.labels(*one._labelnames) if one._labelnames else one
            child.observe(1) if isinstance(one, Histogram) else child.inc()
    families = text_string_to_metric_families(metrics.render().decode())
    return {sample.name: frozenset(sample.labels) for family in families for sample in family.samples} | {
        "up": frozenset()
    }


def board(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def rules() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"][0]["rules"]
    return found


def queries(path: Path) -> Iterator[tuple[str, str]]:
    for panel in board(path)["panels"]:
        for target in panel["targets"]:
            yield f"{path.stem}: {panel['title']}", target["expr"]
    for one in board(path)["templating"]["list"]:
        if one["type"] == "query":
            yield f"{path.stem}: ${one['name']}", one["definition"]


EXPRESSIONS = [pair for path in BOARDS for pair in queries(path)] + [(one["alert"], one["expr"]) for one in rules()]


def wrong_with(expression: str) -> list[str]:
    """Return what of an expression no page of a gateway has."""
    found, series, known = read(expression), exported(), {*OF_PROMETHEUS}
    if expression.startswith("label_values"):  # its second argument is a label, not a series
        (name, matchers), (label, _) = found.selectors
        found.selectors, found.grouped = [(name, matchers)], {label}
    wrong = []
    for name, matchers in found.selectors:
        if name not in series:
            wrong.append(f"there is no series {name}")
            continue
        known |= series[name]
        wrong += [f"{name} has no label {label}" for label in matchers.keys() - series[name] - OF_PROMETHEUS]
        for label, (_, text) in matchers.items():
            if not text.startswith("$"):
                wrong += [f"{label} is never {one!r}" for one in text.split("|") if one not in VALUES.get(label, {one})]
    return wrong + [f"no series here has a label {label}" for label in found.grouped - known]


@pytest.mark.parametrize(("where", "expression"), EXPRESSIONS, ids=[where for where, _ in EXPRESSIONS])
def test_an_expression_names_only_series_labels_and_values_that_are_exported(where: str, expression: str) -> None:
    assert wrong_with(expression) == [], where


@pytest.mark.parametrize(
    "expression",
    [
        "rate(fastness_requests[5m])",  # without its _total it is not on the page
        "fastness_replicas_desired",
        "sum by (tenant) (rate(fastness_requests_total[5m]))",
        'fastness_replicas{status="200"}',
        'fastness_circuits{circuit=~"open|broken"}',
        'rate(fastness_refusals_total{code="queue_overflow"}[5m])',
        "histogram_quantile(0.5, sum by (le) (rate(fastness_ledger_commit_seconds_sum[5m])))",
        "label_values(fastness_replicas, deployment)",
    ],
)
def test_an_expression_about_something_else_is_found(expression: str) -> None:
    assert wrong_with(expression)


@pytest.mark.parametrize("expression", ["sum(up", "quantile(0.5, up)", 'up{job=""one"}', "up ! 1"])
def test_what_is_no_expression_is_refused(expression: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        read(expression)


@pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)
def test_a_dashboard_has_what_grafana_needs(path: Path) -> None:
    found = board(path)
    assert found["uid"] == f"fastness-{path.stem}"
    assert len(found["uid"]) <= 40
    assert found["title"]
    assert found["schemaVersion"] >= 36
    assert "id" not in found, "a database's number of one installation"
    panels = found["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for panel in panels:
        assert panel["type"] in {"timeseries", "stat"}
        assert panel["title"]
        assert panel["description"]
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
        assert panel["fieldConfig"]["overrides"] == []
        assert [one["refId"] for one in panel["targets"]] == ["A", "B", "C"][: len(panel["targets"])] != []
        for one in (panel, *panel["targets"]):
            assert one["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert all(one["legendFormat"] for one in panel["targets"])


@pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)
def test_panels_lie_side_by_side_and_on_none_other(path: Path) -> None:
    places = [panel["gridPos"] for panel in board(path)["panels"]]
    for one in places:
        assert one["x"] >= 0 < one["w"]
        assert one["x"] + one["w"] <= 24
    for one, other in combinations(places, 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        assert beside or one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]


@pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)
def test_every_variable_is_defined_and_used(path: Path) -> None:
    found = board(path)
    defined = {one["name"] for one in found["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(found["panels"])))
    assert used - {"__rate_interval"} == defined


@pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)
def test_legends_show_labels_that_the_series_still_have(path: Path) -> None:
    for panel in board(path)["panels"]:
        for one in panel["targets"]:
            shown = set(re.findall(r"{{(\w+)}}", one["legendFormat"]))
            assert shown <= read(one["expr"]).grouped | OF_PROMETHEUS, panel["title"]


def test_every_metric_is_on_a_dashboard() -> None:
    shown = {name for path in BOARDS for _, text in queries(path) for name, _ in read(text).selectors}
    families = {re.sub(r"_(total|created|bucket|sum|count)$", "", name) for name in exported()}
    assert families == {re.sub(r"_(total|bucket|sum|count)$", "", name) for name in shown} & families


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_an_alert_says_how_bad_it_is_and_what_to_try(rule: dict[str, Any]) -> None:
    assert rule["alert"].startswith("Fastness")
    assert rule["labels"] == {"severity": rule["labels"]["severity"]}
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert rule["annotations"]["summary"].endswith(".")
    assert "Try: " in rule["annotations"]["description"]
    shown = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]))
    found = read(rule["expr"])
    kept = found.grouped or set().union(*(exported()[name] for name, _ in found.selectors)) | OF_PROMETHEUS
    assert shown <= kept, "a label that the alert does not have"


def test_the_scrape_example_finds_the_page_and_the_rules() -> None:
    found = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
    (job,) = found["scrape_configs"]
    assert (job["job_name"], job["metrics_path"]) == ("fastness", "/metrics")
    assert [(PROMETHEUS / one).exists() for one in found["rule_files"]] == [True]


def test_each_alert_is_told_by_made_up_series_and_kept_by_others() -> None:
    tests = yaml.safe_load((PROMETHEUS / "alerts.test.yml").read_text())["tests"]
    names = {one["alert"] for one in rules()}
    for kind in (False, True):
        tried = {one["alertname"] for t in tests for one in t["alert_rule_test"] if bool(one["exp_alerts"]) is kind}
        assert tried == names
    for series in (one["series"] for test in tests for one in test["input_series"]):
        assert wrong_with(series) == []


@pytest.mark.parametrize(
    "words", ["check config prometheus.yml", "check rules alerts.yml", "test rules alerts.test.yml"]
)
def test_prometheus_itself_agrees(words: str) -> None:
    program = shutil.which("promtool", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if program is None:
        assert not os.environ.get("CI"), "`make test` brings promtool along"
        pytest.skip("promtool is not installed: `make .venv/bin/promtool`, or apt-get install prometheus")
    done = subprocess.run([program, *words.split()], cwd=PROMETHEUS, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
