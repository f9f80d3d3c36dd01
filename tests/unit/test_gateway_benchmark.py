"""The comparison of gateways: its arithmetic, its instruments, and Fastness's part of it for a fraction of a second.

No peer is installed or started here.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import math
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def benchmarks_can_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))


def row(gateway, request, chunks, **more):
    return {"gateway": gateway, "cpu_ms_per_request": request, "cpu_ms_per_1000_chunks": chunks, **more}


DELAYS = {"added_ttft_ms_p50": 0.5, "added_ttft_ms_p99": 6.0, "bare_ttft_ms_p50": 0.2, "bare_ttft_ms_p99": 1.0}
ROWS = [
    row("fastness", 0.1, 20.0, **DELAYS),
    row("vllm-router", 0.05, 25.0),
    row("smg", 0.2, 24.0),
    row("nginx", 0.01, 5.0),
    row("litellm", 6.0, 300.0),
]


def test_the_bars_compare_with_the_cheapest_rust_router_and_with_litellm() -> None:
    from benchmarks.gateway.bars import bars

    counted = [ROWS[0] | {"user_instructions_per_request": 300.0}, ROWS[1] | {"user_instructions_per_request": 400.0}]
    found = [(bar.bar, bar.against, bar.measured, bar.verdict) for bar in bars([*counted, *ROWS[2:]])]
    assert found == [
        (1, "vllm-router", 2.0, "missed"),
        (1, "litellm", pytest.approx(60.0), "met"),
        (1, "vllm-router", 0.75, "met"),
        (2, "smg", pytest.approx(20 / 24), "met"),
        (2, "litellm", 15.0, "missed"),
        (2, "", None, "not measured"),
        (3, "direct", 0.5, "met"),
        (3, "direct", 6.0, "missed"),
    ]


def test_a_bar_without_one_of_its_sides_is_not_called_met() -> None:
    from benchmarks.gateway.bars import bars

    alone = bars(ROWS[:1])
    assert [bar.verdict for bar in alone] == ["not measured"] * 6 + ["met", "missed"]
    assert [bar.verdict for bar in bars(ROWS[1:])] == ["not measured"] * 8
    assert [bar.verdict for bar in bars([row("fastness", math.nan, None), *ROWS[1:]])] == ["not measured"] * 8


def test_a_delay_below_the_noise_of_the_machine_is_not_judged() -> None:
    from benchmarks.gateway.bars import CANNOT_TELL, bars

    noisy = ROWS[0] | {"added_ttft_ms_p99": -40.0, "bare_ttft_ms_p99": 50.0}
    assert [bar.verdict for bar in bars([noisy, *ROWS[1:]])][-2:] == ["met", CANNOT_TELL]


def test_an_event_that_was_cut_in_two_on_the_way_counts_once() -> None:
    from benchmarks.load import Line, Outcome
    from benchmarks.upstream import event

    events = event(12.5) + event(12.75) + event(13.0)

    async def seen_in_pieces(size: int) -> int:
        line = Line(Outcome(), stamped=True)
        line.rest = b""
        for start in range(0, len(events), size):
            line._watch(events[start : start + size])
        return line.outcome.chunks

    async def all_sizes() -> list[int]:
        return [await seen_in_pieces(size) for size in (1, 7, 29, 30, 100, len(events))]

    assert asyncio.run(all_sizes()) == [3] * 6


def test_requests_come_by_chance_at_the_rate_that_was_asked_for_and_at_the_same_moments_each_time() -> None:
    from benchmarks.arrivals import arrivals

    async def gaps() -> list[float]:
        due: list[float] = []
        loop = asyncio.get_running_loop()
        ends = loop.time() + 10
        with arrivals(loop, 2_000.0, due.append):
            while len(due) < 400 and loop.time() < ends:
                await asyncio.sleep(0.005)
        assert all(moment <= time.perf_counter() for moment in due)
        return [after - before for before, after in itertools.pairwise(due[:400])]

    first, second = asyncio.run(gaps()), asyncio.run(gaps())
    assert first == pytest.approx(second, abs=1e-6)
    assert 1 / 2_500 < sum(first) / len(first) < 1 / 1_500
    assert min(first) > 0


def test_the_cpu_of_a_gateway_is_that_of_all_its_processes() -> None:
    from benchmarks.gateway.tree import tree, tree_cpu_s, tree_resident_bytes

    child = "print(sum(range(10**7)), flush=True); input()"
    program = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout
        parent.stdout.readline()
        assert len(tree(parent.pid)) == 2
        assert parent.pid in tree(os.getpid())
        alone = time.clock_gettime((~parent.pid << 3) | 2)
        alive = tree_cpu_s(parent.pid)
        assert alive > alone
        assert tree_resident_bytes(parent.pid) > 2**21
        parent.communicate(b"\n")
    assert tree_cpu_s(parent.pid) == 0.0


def test_counts_are_read_from_what_the_tools_write() -> None:
    from benchmarks.gateway.callgrind import total
    from benchmarks.gateway.instructions import count_of

    assert count_of("1234567,,instructions:u,100,100.00,,\n") == 1_234_567
    assert count_of("<not supported>,,instructions:u,0,100.00,,\n") == 0
    assert total("events: Ir\nsummary: 414736568\n\ntotals: 417008079\n") == 414_736_568
    assert total("events: Ir\n") == 0


def test_peers_are_pinned_and_see_nothing_but_this_machine(tmp_path: Path) -> None:
    from benchmarks.gateway.peers import PEERS, Start

    assert {one.name for one in PEERS} == {"vllm-router", "sglang-router", "smg", "litellm", "nginx"}
    for one in PEERS:
        assert ROOT not in one.place.parents
        argv = one.start(Start(one.place, tmp_path, 4_001, 4_002, (4_003, 4_004)))
        written = " ".join([*argv, *(path.read_text() for path in tmp_path.iterdir())])
        assert "127.0.0.1" in written
        assert "0.0.0.0" not in written
        assert all(str(port) in written for port in (4_001, 4_003, 4_004))


def test_a_peer_that_cannot_be_installed_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks.gateway.peers import Peer

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    fails = [sys.executable, "-c", "import sys; sys.exit('no such version')"]

    def install(_place: Path) -> None:
        subprocess.run(fails, check=True, capture_output=True, text=True)

    one = Peer("absent", "1.0", install, lambda _: [])
    assert "no such version" in one.ready()
    assert Peer("there", "1.0", lambda _: None, lambda _: []).ready() == ""
    assert (tmp_path / "fastness-bench/there-1.0/.ready").exists()


def test_memory_is_told_where_it_was_looked_at_and_never_beyond() -> None:
    from benchmarks.gateway.soak import growth, looks, streams_possible

    seen = [(0, 60.0), (100, 62.0), (200, 63.0), (500, 63.0), (600, 64.0)]
    assert looks(seen, 1_000) == [(0.0, 0, 60.0), (0.1, 100, 62.0), (0.5, 500, 63.0)]
    assert growth(seen) == pytest.approx(64 / 62 - 1)
    assert math.isnan(growth(seen[:2]))
    assert streams_possible(10_000, 1_048_576) == 10_000
    assert 9_900 < streams_possible(10_000, 20_000) < 10_000
    assert streams_possible(10, 0) == 0


def test_a_soak_that_ran_out_of_time_says_how_far_it_came() -> None:
    from benchmarks.gateway.soak import growth, looks, report

    seen = [(0, 60.0), (100, 62.0), (500, 70.0), (600, 71.0)]
    result = {
        "requests_planned": 1_000,
        "requests_made": 600,
        "looks": [{"share": s, "requests": n, "resident_mib": mib} for s, n, mib in looks(seen, 1_000)],
        "resident_mib_at_end": 71.0,
        "growth_after_a_tenth": growth(seen),
        "streams_wanted": 10_000,
        "streams_held": 9_968,
        "files_max": 20_000,
        "waves_mib": [(50.0, 288.0), (200.0, 290.0)],
        "kib_per_stream": 41.0,
    }
    text = report(result)
    assert "60%, out of time" in text
    assert "NOT FLAT" in text
    assert "9,968 open streams (of 10,000 wanted)" in text
    assert "MISSED" in text
    assert "too few looks" in report(result | {"growth_after_a_tenth": math.nan})


def measured(subject, case, **more):
    """One window; a longer one where the disk of a busy machine stood still for all of it."""
    from benchmarks.gateway.cases import window

    for seconds in (0.1, 0.4, 1.6):
        with contextlib.suppress(RuntimeError):
            return window(subject, case, seconds, count=False, **more)
    return window(subject, case, 6.4, count=False, **more)


@pytest.mark.slow
def test_fastness_is_measured_with_everything_on_before_stand_ins(tmp_path: Path) -> None:
    from benchmarks.gateway.bars import bars
    from benchmarks.gateway.cases import SATURATED, UNPACED, WHOLE
    from benchmarks.gateway.compare import Comparison
    from benchmarks.gateway.report import bar_table, gateway_rows, latency_table, main_table
    from benchmarks.gateway.subjects import Missing, subjects

    with subjects(tmp_path, ("fastness", "fastness-llamacpp")) as (running, missing):
        assert [one.name for one in running] == ["direct", "fastness", "fastness-llamacpp"]
        assert missing == []
        compared = Comparison(running, 0.1, time.perf_counter() + 60, count=False)
        compared.check()
        assert compared.problems == {}
        for subject in running:
            for case in (WHOLE, UNPACED, SATURATED):
                seen = measured(subject, case)
                assert seen.failures == 0
                assert seen.per_s > 0
                assert (seen.cpu_ms > 0) == bool(subject.pid)
                compared.figures[subject.name, case.name] = [seen]
        by_chance = measured(running[1], SATURATED, rate=100.0)
        assert by_chance.failures == 0
        compared.loads["fastness"] = [(100.0, by_chance, by_chance)]
        compared.look_at_memory()
    rows = gateway_rows(compared, [Missing("litellm", "1.0", "no wheel")], {})
    ours = next(one for one in rows if one["gateway"] == "fastness")
    assert ours["cpu_ms_per_request"] > 0
    assert ours["cpu_ms_per_1000_chunks"] is None, "that case was not run"
    assert ours["added_ttft_ms_p50"] == 0
    assert ours["resident_mib"] > 10
    assert "litellm: not measured: no wheel" in main_table(rows)
    assert "fastness" in latency_table(rows)
    assert "not measured" in bar_table(bars(rows))
