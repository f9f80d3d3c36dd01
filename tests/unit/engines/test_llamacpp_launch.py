"""What llama.cpp is started with: what the task says, checked before anything is started."""

from __future__ import annotations

import json
import platform
from dataclasses import replace
from pathlib import Path

import pytest

from fastness.core.model import ModelCard, ModelKind
from fastness.engines.llamacpp.engine import LlamaCppEngine
from fastness.engines.port import EngineTask
from fastness.scheduling.fit import CACHE_TYPES

CARD = ModelCard("m", ModelKind.CHAT, "", 1, "MIT", 8_192, 0)
TASK = EngineTask(CARD, Path("/w"), Path("/s"), Path("/d"), 4, 2_048, 1)


def told(task: EngineTask) -> dict[str, object]:
    read: dict[str, object] = json.loads(LlamaCppEngine().launch(task).argv[-1])
    return read


@pytest.mark.parametrize("name", CACHE_TYPES)
def test_the_engine_is_told_how_to_store_its_cache(name: str) -> None:
    assert told(replace(TASK, cache_type=name))["cache_type"] == name


def test_a_type_of_cache_that_is_not_offered_is_refused_before_anything_starts() -> None:
    with pytest.raises(ValueError, match=r"no cache type 'f64'; there are f16"):
        LlamaCppEngine().launch(replace(TASK, cache_type="f64"))


@pytest.mark.parametrize(("processor", "repacks"), [("x86_64", True), ("aarch64", False)])
def test_weights_are_rearranged_only_where_it_is_known_which_are_held_twice(
    monkeypatch: pytest.MonkeyPatch, processor: str, repacks: bool
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: processor)
    assert told(TASK)["repack"] is repacks
