"""The hostile and the honest corpus, read in this process: what breaks a rule is refused by that rule, and no other."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[3] / "integration"))

from fastness.config import RegistrySettings
from fastness.registry.inspection.direct import DirectInspector
from fastness.registry.inspection.port import ArtefactRefused
from fastness.registry.inspection.rules import RULES
from honest_corpus import honest
from hostile_corpus import corpus, fingerprint

SETTINGS = RegistrySettings(template_timeout_s=0.1)
CASES = corpus()
GROUPS = sorted({case.id.partition("/")[0] for case in CASES})


@pytest.mark.parametrize("group", GROUPS)
def test_every_hostile_artefact_is_refused_by_its_rule(group: str, tmp_path: Path) -> None:
    inspector, wrong = DirectInspector(SETTINGS), []
    for number, case in enumerate(case for case in CASES if case.id.startswith(group + "/") and not case.sealed_only):
        where = tmp_path / str(number)
        where.mkdir()
        try:
            inspector.inspect(case.make(where), case.wish())
            wrong.append(f"{case.id} was admitted")
        except ArtefactRefused as refused:
            if refused.rule not in case.rules:
                wrong.append(f"{case.id}: {refused}; expected {case.rules}")
    assert not wrong


def test_the_corpus_is_the_same_each_time(tmp_path: Path) -> None:
    for number, case in enumerate(CASES[::10]):
        prints = set()
        for again in "ab":
            where = tmp_path / f"{number}{again}"
            where.mkdir()
            prints.add(fingerprint(case.make(where)))
        assert len(prints) == 1, case.id


def test_every_rule_but_those_of_machine_and_moment_is_broken_by_some_case() -> None:
    elsewhere = {"file.changed", "file.unreadable", "limit.time", "limit.crash"}
    assert {rule for case in CASES for rule in case.rules} >= RULES.keys() - elsewhere


def test_every_honest_artefact_is_admitted(tmp_path: Path) -> None:
    for each in honest(tmp_path):
        found = DirectInspector(RegistrySettings()).inspect(each.path, each.wish)
        assert found.artefact.name == each.wish.name
        review = found.template_review
        assert review is None or not review.suspicious, each.id
