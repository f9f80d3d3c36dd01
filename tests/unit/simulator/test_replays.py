"""The replays: a fortnight of rates under rules of scaling, a burst with batches. Small here; real traces are slow."""

from __future__ import annotations

from array import array
from pathlib import Path

import pytest

from fastness.simulator.engine import EnginePace
from fastness.simulator.flow import Stream
from fastness.simulator.pace import NamedPace
from fastness.simulator.profile import PARTS, Profile
from fastness.simulator.traces import Asked, Rates

ROOT = Path(__file__).resolve().parents[3]
TRACES = ROOT.parent / "shared/data/traces"


@pytest.fixture(autouse=True)
def benchmarks_can_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))


def test_the_plan_follows_a_load_that_comes_and_goes_and_keeps_as_much_with_fewer_device_hours() -> None:
    from benchmarks.replay import Site, compare

    hours = [20.0, 20.0, 90.0, 90.0, 20.0, 20.0, 20.0, 20.0]
    arrivals = array("d", [rate * 5 for rate in hours for _ in range(720)])
    profile = Profile(10.0, 5.0, (1.0,) * len(PARTS), tuple(part * 4 for part in PARTS))
    named = NamedPace("toy", EnginePace(start_s=60.0), "gpu", 1, "assumed: a toy", True)
    where = Site((Stream("d", arrivals, 5.0),), profile, named, Rates(Path(), (), 600.0, 0), lambda _: (1, 1))
    ours, fixed, *_, hpa = compare(where, 10.0, (0.7,))
    assert ours.kept >= 0.95
    assert fixed.kept >= ours.kept
    assert ours.devices <= 0.7 * fixed.devices
    assert ours.devices < hpa.devices


def test_batches_take_what_is_left_and_a_queue_without_bands_gives_it_to_nobody() -> None:
    from benchmarks.burst import play

    pace = EnginePace(10_000.0, 0.02, 0.001, 0.0, 2.0, 16)
    code = [Asked(20.0 * burst + 0.01 * at, 500, 10) for burst in range(1, 6) for at in range(40)]
    lines = [Asked(0.0, 400, 100)]
    alone = play("alone", code, lines, pace, 2, 0)
    beside = play("ours", code, lines, pace, 2, 16)
    drowned = play("fifo", code, lines, pace, 2, 900, fair=False)
    assert alone.filled == 0 and alone.kept >= 0.95
    assert beside.filled >= 0.85 and beside.kept >= 0.95
    assert drowned.kept < 0.5


@pytest.mark.slow
@pytest.mark.timeout(900)  # half a minute of processor time; the machine may be shared
def test_ten_days_of_servegen_keep_95_percent_with_30_percent_fewer_device_hours_than_fixed_numbers() -> None:
    from benchmarks.replay import compare, site

    if not TRACES.is_dir():
        pytest.skip(f"the traces are not part of this repository; they would be in {TRACES}")
    ours, fixed, *_ = compare(site(TRACES, 10, step_s=5.0), 20.0, hpa=())
    assert ours.kept >= 0.95 and min(ours.parts) >= 0.95
    assert fixed.kept >= ours.kept
    assert ours.devices <= 0.7 * fixed.devices, "the cheapest fixed numbers that keep as many"


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_azures_burst_keeps_95_percent_while_batches_fill_what_is_idle() -> None:
    from benchmarks.burst import PACE, least_replicas, play, traces
    from fastness.simulator.pace import read_paces

    if not TRACES.is_dir():
        pytest.skip(f"the traces are not part of this repository; they would be in {TRACES}")
    code, lines = traces(TRACES)
    pace = read_paces()[PACE].pace
    replicas = least_replicas(code, lines, pace)
    ours = play("ours", code, lines, pace, replicas, 36 * replicas)
    assert ours.kept >= 0.95
    assert ours.filled >= 0.85
