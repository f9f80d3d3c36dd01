"""A pace is found again in measurements made with it; files of paces are read strictly; a service level is read."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastness.simulator.engine import EnginePace
from fastness.simulator.pace import NamedPace, PaceError, ReadSeen, StepSeen, fit, read_paces, written
from fastness.simulator.slo import Slo, SloError


@given(
    read=st.floats(100, 50_000),
    step=st.floats(0.001, 0.2),
    beside=st.floats(0, 0.01),
    kv=st.floats(0, 1e-5),
    slows=st.floats(1, 20),
)
def test_a_fit_finds_the_pace_that_made_the_measurements(
    read: float, step: float, beside: float, kv: float, slows: float
) -> None:
    pace = EnginePace(read, step, beside, kv, slows, 16)
    reads = [ReadSeen(tokens, tokens / read) for tokens in (64, 256, 1_024)]
    steps = [
        StepSeen(answers, answers * held, pace.step(answers, answers * held, reading), reading)
        for answers in (1, 2, 4, 8, 16)
        for held in (50, 900)
        for reading in (False, True)
    ]
    found = fit(reads, steps, 16)
    assert found.pace.read_tokens_per_s == pytest.approx(read, rel=1e-3)
    assert found.pace.reading_slows == pytest.approx(slows, rel=0.02)
    for one in steps:
        assert found.pace.step(one.answers, one.kv_tokens, one.reading) == pytest.approx(one.seconds, rel=0.02)
    assert found.read_error < 1e-3 and found.step_error < 0.02


def test_nothing_in_a_fit_is_below_zero_though_noise_says_so() -> None:
    reads = [ReadSeen(100, 0.1), ReadSeen(200, 0.2)]
    steps = [StepSeen(1, 100, 0.02), StepSeen(4, 400, 0.019), StepSeen(8, 900, 0.021)]
    pace = fit(reads, steps, 8).pace
    assert min(pace.step_s, pace.step_beside_s, pace.step_s_per_kv_token) >= 0


def test_too_few_measurements_are_refused() -> None:
    with pytest.raises(PaceError, match="at least two lengths"):
        fit([ReadSeen(10, 1.0)], [StepSeen(1, 0, 0.1), StepSeen(2, 0, 0.1)], 4)


def test_prompts_that_took_no_longer_when_longer_are_refused() -> None:
    with pytest.raises(PaceError, match="Measure again"):
        fit([ReadSeen(100, 1.0), ReadSeen(1_000, 0.1)], [StepSeen(1, 0, 0.1), StepSeen(2, 0, 0.1)], 4)


def test_what_is_shipped_says_that_it_is_assumed_and_from_where() -> None:
    shipped = read_paces()
    assert len(shipped) >= 6
    assert all(one.assumed and one.source.startswith("assumed") for one in shipped.values())


def test_a_pace_that_is_written_is_read_again(tmp_path: Path) -> None:
    one = NamedPace(
        "mine/tiny", EnginePace(100.0, 0.5, 0.25, 0.0, 1.0, 4, 1_000, 2.0, 2.0), "cpu", 1, "measured", False
    )
    path = tmp_path / "mine.toml"
    path.write_text(written(one))
    assert read_paces(path) == {one.name: one}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x", "not TOML"),
        ("x = 1", "needed tables"),
        ('["a"]\nslots = 1', "read_tokens_per_s is missing"),
        ('["a"]\nspeed = 1', "speed is none of its keys"),
        ('["a"]\nread_tokens_per_s = 0\nstep_s = 1\nslots = 1\nsource = "x"', "read_tokens_per_s = 0"),
        ('["a"]\nread_tokens_per_s = 1\nstep_s = true\nslots = 1\nsource = "x"', "step_s = True"),
        ('["a"]\nread_tokens_per_s = 1\nstep_s = 1\nslots = 1.5\nsource = "x"', "slots = 1.5"),
        ('["a"]\nread_tokens_per_s = inf\nstep_s = 1\nslots = 1\nsource = "x"', "read_tokens_per_s = inf"),
    ],
)
def test_a_file_that_cannot_be_used_says_where_and_why(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with pytest.raises(PaceError, match=said):
        read_paces(path)


def test_a_service_level_is_read_and_written_the_same() -> None:
    level = Slo.of("ttft<1.5s, tpot<80ms, 99%")
    assert level == Slo(1.5, 0.08, 0.99)
    assert Slo.of(str(level)) == level
    assert Slo.of("99.5%") == Slo(2.0, 0.1, 0.995)


@pytest.mark.parametrize("text", ["", "ttft<2", "ttft<2s,ttft<3s", "200%", "0%", "latency<1s", "ttft<9999s"])
def test_a_service_level_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(SloError):
        Slo.of(text)
