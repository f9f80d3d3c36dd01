"""The reference page of artefacts and bundles says what the code does."""

import re
from pathlib import Path

import msgspec
import pytest

from fastness.control import artefact_wire, artefacts, carriage
from fastness.core.admission import AdmissionState, ArtefactFile
from fastness.registry.admission import refusal
from fastness.registry.inspection.port import TemplateReview

DOCS = Path(__file__).parents[3] / "docs"
PAGE = (DOCS / "reference" / "artefacts-api.md").read_text()
EXPLAINED = "".join(
    (DOCS / page).read_text()
    for page in (
        "explanation/admission.md",
        "how-to/admit-a-model.md",
        "how-to/carry-an-installation-across-an-air-gap.md",
    )
)
SHOWN = [
    one
    for one in vars(artefact_wire).values()
    if isinstance(one, type) and issubclass(one, msgspec.Struct) and one.__module__ == artefact_wire.__name__
]


def test_every_route_has_its_heading_and_there_are_no_others():
    headings = re.findall(r"^### `([A-Z]+) ([^`]+)`$", PAGE, re.MULTILINE)
    assert sorted(headings) == sorted((method, path) for method, path, *_ in artefacts.ROUTES)


@pytest.mark.parametrize("shown", SHOWN, ids=lambda shown: shown.__name__)
def test_every_field_is_named(shown):
    assert [one for one in msgspec.structs.fields(shown) if f"`{one.encode_name}`" not in PAGE] == []


def test_every_field_of_a_file_a_template_and_every_state_is_named():
    names = [*ArtefactFile.__dataclass_fields__, *TemplateReview.__dataclass_fields__, *AdmissionState]
    assert [name for name in names if f"`{name}`" not in PAGE] == []
    assert f"{carriage.LIFETIME_S_MAX:,}" in PAGE


def test_every_rule_that_a_person_can_meet_is_explained():
    assert {rule for rule in refusal.RULES if f"`{rule}`" not in EXPLAINED} == set()
