"""The table of rules, and the page that explains it."""

from __future__ import annotations

from pathlib import Path

import pytest

from fastness.registry.inspection.port import ArtefactRefused
from fastness.registry.inspection.rules import RULES

PAGE = Path(__file__).parents[4] / "docs/explanation/inspection.md"


@pytest.mark.parametrize("rule", RULES.values(), ids=lambda rule: rule.id)
def test_every_rule_is_explained_as_the_table_has_it(rule) -> None:
    assert f"| `{rule.id}` | {rule.meaning} |" in PAGE.read_text()


def test_a_refusal_names_file_reason_and_rule() -> None:
    refused = ArtefactRefused("file.symlink", "is a symbolic link", "config.json")
    assert str(refused) == "config.json: is a symbolic link (rule file.symlink)"


def test_a_refusal_by_no_rule_cannot_be_made() -> None:
    with pytest.raises(KeyError):
        ArtefactRefused("file.invented", "x", "y")
