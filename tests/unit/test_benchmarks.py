"""The benchmarks' own arithmetic, and that each of them can be started; none is run here."""

from __future__ import annotations

import importlib
import json
import math
import os
import time
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted(".".join(path.relative_to(ROOT).with_suffix("").parts) for path in (ROOT / "benchmarks").rglob("*.py"))


@pytest.fixture(autouse=True)
def benchmarks_can_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))


@pytest.mark.parametrize("name", MODULES)
def test_each_benchmark_can_be_imported_without_running(name: str) -> None:
    assert importlib.import_module(name).__doc__


def test_a_percentile_is_the_nearest_rank() -> None:
    from benchmarks.figures import percentile

    values = [5.0, 1.0, 4.0, 2.0, 3.0]
    assert [percentile(values, percent) for percent in (1, 20, 21, 50, 99, 100)] == [1.0, 1.0, 2.0, 3.0, 5.0, 5.0]
    assert percentile(list(range(1, 101)), 99) == 99
    assert math.isnan(percentile([], 50))


@pytest.mark.parametrize("percent", [0, -1, 100.5])
def test_a_percentile_outside_its_range_is_refused(percent: float) -> None:
    from benchmarks.figures import percentile

    with pytest.raises(ValueError, match="above 0 and at most 100"):
        percentile([1.0], percent)


def test_a_median_of_an_even_number_lies_in_the_middle() -> None:
    from benchmarks.figures import median

    assert median([3.0, 1.0, 2.0]) == 2.0
    assert median([4.0, 1.0, 2.0, 3.0]) == 2.5
    assert math.isnan(median([]))


def test_the_interval_of_a_median_is_that_of_the_sign_test() -> None:
    from benchmarks.figures import median_interval

    # Tables of the sign test at 95%: ranks 1 and 6 of 6, 2 and 9 of 10, 6 and 15 of 20, 40 and 61 of 100.
    for n, low, high in ((6, 1, 6), (10, 2, 9), (20, 6, 15), (100, 40, 61)):
        assert median_interval(list(range(1, n + 1))) == (low, high)
    assert all(map(math.isnan, median_interval([1.0] * 5)))


def test_what_tells_hits_from_misses_is_counted_over_all_pairs_of_them() -> None:
    from benchmarks.figures import told_apart

    assert told_apart([1.0, 2.0, 3.0], [4.0, 5.0, 6.0]) == (1.0, 1.0, 1.0)
    assert told_apart([4.0, 5.0], [1.0, 2.0]) == (0.0, 0.0, 0.0)
    assert told_apart([1.0, 1.0], [1.0, 1.0])[0] == 0.5
    # Of nine pairs a hit is quicker in six, and as quick in one.
    assert told_apart([1.0, 3.0, 5.0], [2.0, 5.0, 6.0])[0] == pytest.approx(6.5 / 9)
    dice = Random(1)
    draws = [told_apart(*([dice.random() for _ in range(60)] for _ in range(2))) for _ in range(200)]
    assert 180 <= sum(low <= 0.5 <= high for _, low, high in draws) <= 198, "it holds the truth in 95 of 100 cases"
    for wrong in (([1.0], [1.0]), ([1.0, 2.0], [1.0, 2.0, 3.0])):
        with pytest.raises(ValueError, match="at least two rounds"):
            told_apart(*wrong)


def test_a_table_lines_its_columns_up() -> None:
    from benchmarks.figures import table

    assert table(("what", "n"), [("a", "1"), ("longer", "1,000")]) == (
        "what        n\n------  -----\na           1\nlonger  1,000"
    )


def test_the_cpu_of_a_process_is_the_one_the_process_sees() -> None:
    from benchmarks.processes import cpu_s, resident_bytes

    before = time.process_time()
    seen = cpu_s(os.getpid())
    assert before <= seen <= time.process_time()
    assert resident_bytes(os.getpid()) > 2**20


def test_output_tokens_are_the_engines_count_not_ours() -> None:
    from benchmarks.load import has_text, output_tokens

    assert output_tokens(b'... "usage":{"prompt_tokens":7,"completion_tokens":48,"total_tokens":55}}') == 48
    assert output_tokens(b'"usage":null') == 0
    assert not has_text(b'data: {"choices":[{"delta":{"role":"assistant","content":""}}]}\n\n')
    assert not has_text(b'data: {"choices":[{"delta":{"role":"assistant","content":null}}]}\n\n')
    assert has_text(b'data: {"delta":{"role":"assistant","content":""}}\n\ndata: {"delta":{"content":"Hi"}}\n\n')


def test_both_sides_ask_for_the_same() -> None:
    from benchmarks.bodies import END_TOKENS, engine_body, exact_body

    official = json.loads(exact_body("Hello", 12))
    engine = json.loads(engine_body(exact_body("Hello", 12)))
    assert engine["messages"] == official["messages"]
    assert engine["max_tokens"] == official["max_tokens"] == 12
    assert engine["temperature"] == official["temperature"] == 0
    assert engine["stream"] is True
    assert sorted(token for token, _ in engine["logit_bias"]) == sorted(END_TOKENS)


def test_a_prompt_has_the_size_that_was_asked_for() -> None:
    from benchmarks.bodies import sized_body

    asked = json.loads(sized_body("m", 2_048, stream=False))
    assert len(asked["messages"][0]["content"]) == 2_048
    assert "stream" not in asked


def test_the_fake_engine_writes_what_the_dialect_reads() -> None:
    from benchmarks import upstream
    from fastness.core.request import FinishReason
    from fastness.engines.catalogue import dialect

    read = dialect("llamacpp")
    whole = read.answer(upstream.WHOLE.partition(b"\r\n\r\n")[2])
    assert whole.usage
    assert whole.usage.output_tokens == 100
    delta = read.delta(upstream.event(12.5)[len(b"data: ") : -2])
    assert delta
    assert float(delta.text.removeprefix("@")) == 12.5
    finish, usage = (read.delta(line[6:]) for line in upstream.last(128).splitlines() if line.startswith(b"data: {"))
    assert finish
    assert finish.finish is FinishReason.LENGTH
    assert usage
    assert usage.usage
    assert usage.usage.output_tokens == 128


def test_a_busy_machine_is_called_busy() -> None:
    from benchmarks.machine import Busyness, Machine, warnings

    quiet = Machine("", "", 2, 24.0, "", "", 0.1)
    calm = Busyness(others_cores=0.02, steal_share=0.0, python_us=100.0, slowdown=1.05)
    assert warnings(quiet, calm) == []
    assert "load was 3.0 on 2 cores" in warnings(replace(quiet, load_1_min=3.0), calm)[0]
    assert "1.50 of 2 cores" in warnings(quiet, replace(calm, others_cores=1.5))[0]
    assert "4.0% of the CPU time" in warnings(quiet, replace(calm, steal_share=0.04))[0]
    assert "1.40 times its best" in warnings(quiet, replace(calm, slowdown=1.4))[0]


def test_the_watch_sees_its_own_work_as_its_own() -> None:
    from benchmarks.machine import Watch

    watch = Watch()
    watch.calibrate()
    around = watch.busyness()
    assert around.python_us > 0
    assert around.slowdown >= 1.0


def test_fairness_is_not_measured_without_its_traces_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from benchmarks import fairness

    monkeypatch.setattr("sys.argv", ["fairness", "--traces", str(tmp_path)])
    assert fairness.main() == 0
    assert "is not here, so nothing was measured" in capsys.readouterr().out


def test_a_simulated_flood_makes_a_modest_tenant_wait_only_when_first_come_is_first_served() -> None:
    from benchmarks.fair_simulation import Fleet, Job, Simulation
    from benchmarks.fairness import jain

    assert jain([2.0, 2.0]) == 1.0
    assert jain([1.0, 0.0]) == 0.5
    waited = {}
    for fair in (True, False):
        flood = [Job("flood", number / 100, 200, 50) for number in range(1_000)]
        modest = [Job("modest", number / 2 + 0.001, 200, 50) for number in range(8, 18)]
        Simulation(Fleet(replicas=1, slots=4), {"flood": 1.0, "modest": 1.0}, fair=fair, wait_s=600.0).run(
            flood + modest, 600.0
        )
        assert all(job.ended_s for job in modest)
        waited[fair] = max((job.first_s or 0.0) - job.at_s for job in modest)
    assert waited[True] < 1.0 < waited[False]
