"""The routing benchmark on a trace that can be followed by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def benchmarks_can_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))


def written(tmp_path: Path) -> Path:
    """Four talks of ten turns, each turn a block longer, in an order that suits no round."""
    lines = []
    for turn in range(10):
        for talk in ((0, 1, 2, 3), (2, 0, 3, 1), (3, 2, 1, 0))[turn % 3]:
            blocks = [talk * 100 + at for at in range(turn + 1)]
            at_ms = turn * 40_000 + talk * 10
            line = {"timestamp": at_ms, "input_length": 512 * len(blocks), "output_length": 50, "hash_ids": blocks}
            lines.append(json.dumps(line))
    path = tmp_path / "trace.jsonl"
    path.write_text("\n".join(lines))
    return path


def test_every_rule_takes_every_request_and_none_spares_more_than_the_bound(tmp_path: Path) -> None:
    from benchmarks.routing import bound, play, read_trace
    from benchmarks.routing_rules import RULES
    from benchmarks.routing_site import Pace

    trace = read_trace(written(tmp_path))
    most = bound(trace)
    assert most == 512 * 4 * sum(range(10))
    seen = {rule.name: play(trace, rule, 4, Pace(), most) for rule in RULES}
    assert all(0 <= one.of_bound <= 1 for one in seen.values())
    assert seen["fastness"].of_bound == 1
    assert seen["fastness"].spread_read == 0, "each talk has a replica of its own"
    assert seen["round robin"].of_bound < 1


def test_the_same_trace_gives_the_same_figures(tmp_path: Path) -> None:
    from benchmarks.routing import bound, play, read_trace
    from benchmarks.routing_rules import RULES
    from benchmarks.routing_site import Pace

    trace = read_trace(written(tmp_path))
    for rule in RULES:
        assert play(trace, rule, 3, Pace(cache_blocks=8), bound(trace)) == play(
            trace, rule, 3, Pace(cache_blocks=8), bound(trace)
        )


def test_without_the_trace_it_says_so_and_ends(tmp_path: Path, monkeypatch, capsys) -> None:
    from benchmarks import routing

    monkeypatch.setattr("sys.argv", ["routing", str(tmp_path / "absent.jsonl")])
    routing.main()
    assert "The trace is not here" in capsys.readouterr().out
