"""The examples of the documentation, executed one after the other as a reader would, against a real installation."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from installation import Installation

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
EXPECTED = {
    "README.md": ('"name":', '"age":', '"city":', "384"),
    "docs/how-to/check-a-receipt.md": ("gateway-0.",),
    "docs/how-to/run-a-batch.md": ("completed", "letter-1", "letter-2"),
    "docs/tutorial/first-answer.md": ('"name":', '"age":', "get_weather", "context_length_exceeded", "0.91 0.1"),
}


@pytest.mark.parametrize("page", list(EXPECTED))
def test_the_examples_of_a_page_work_as_they_are_written(
    page: str,
    installation: Installation,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)  # where examples write their files
    monkeypatch.setenv("FASTNESS_API_KEY", installation.admin_key)
    examples = re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text(), re.DOTALL | re.MULTILINE)
    assert examples
    names: dict[str, Any] = {}
    for number, example in enumerate(examples, 1):
        code = example.replace("http://127.0.0.1:8080/v1", installation.base_url)
        exec(compile(code, f"{page}, example {number}", "exec"), names)
    names["client"].close()
    printed = capsys.readouterr().out
    assert [text for text in EXPECTED[page] if text not in printed] == []
