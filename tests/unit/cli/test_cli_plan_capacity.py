"""`fastness plan capacity`, with nothing running."""

import pytest

from fastness.simulator import profile

TRACE = "TIMESTAMP,ContextTokens,GeneratedTokens\n" + "".join(
    f"2023-11-16 18:{at // 60:02}:{at % 60:02}.0,200,20\n" for at in range(120)
)


@pytest.fixture
def trace(tmp_path, monkeypatch):
    monkeypatch.setattr(profile, "JOBS", 200)
    monkeypatch.setattr(profile, "WARM_UP_S", 0.5)
    path = tmp_path / "trace.csv"
    path.write_text(TRACE)
    return path


def test_it_says_how_many_devices_of_which_kind(fastness, trace):
    found = fastness.document("plan", "capacity", "--trace", trace, "--pace", "h100-80gb/8b-bf16")
    (one,) = found["answers"]
    assert (one["pace"], one["devices"], one["assumed"]) == ("h100-80gb/8b-bf16", 1, True)
    assert one["departments"][0]["requests"] == 120


def test_the_table_has_departments_and_the_plot_is_written(fastness, trace, tmp_path):
    plot = tmp_path / "plan.svg"
    shares = ("--share", "health=3", "--share", "justice=1")
    said = fastness.ok("plan", "capacity", "--trace", trace, "--pace", "l40s-48gb/8b-bf16", *shares, "--plot", plot)
    assert "health" in said and "justice" in said and "together" in said and "assumed" in said
    assert plot.read_text().startswith("<svg")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--slo", "fast"), 2, "'fast' is no part of one"),
        (("--pace", "abacus"), 4, "There is no pace abacus"),
        (("--pace", "nowhere.toml"), 2, "nowhere.toml"),
        (("--share", "health"), 2, "health is no share"),
        (("--plot", "plan.gif"), 2, "neither .svg nor .png"),
        (("--plot", "nowhere/plan.svg"), 2, "no directory nowhere"),
    ],
)
def test_what_cannot_be_used_is_refused_with_what_to_try(fastness, trace, words, code, said):
    outcome = fastness("plan", "capacity", "--trace", trace, *words)
    assert outcome.exit_code == code
    assert said in outcome.stderr


def test_png_without_matplotlib_is_refused_before_the_work(fastness, trace, monkeypatch):
    monkeypatch.setattr("fastness.simulator.plots.can_write_png", lambda: False)
    outcome = fastness("plan", "capacity", "--trace", trace, "--plot", "plan.png")
    assert outcome.exit_code == 2 and "pip install 'fastness[plots]'" in outcome.stderr
    assert "planned" not in outcome.stderr


def test_a_trace_that_is_not_there_or_is_none_is_refused(fastness, tmp_path):
    gone = fastness("plan", "capacity", "--trace", tmp_path / "gone.csv")
    assert gone.exit_code == 4 and "is not there" in gone.stderr
    (tmp_path / "bad.csv").write_text("hello")
    bad = fastness("plan", "capacity", "--trace", tmp_path / "bad.csv")
    assert bad.exit_code == 1 and "line 1: needed" in bad.stderr


def test_a_level_that_no_device_keeps_to_is_refused_with_the_reason(fastness, trace):
    none = fastness("plan", "capacity", "--trace", trace, "--slo", "ttft<1ms", "--pace", "h100-80gb/8b-bf16")
    assert none.exit_code == 3
    assert "at a tenth of what a replica can take" in none.stdout
