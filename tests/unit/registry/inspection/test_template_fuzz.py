"""Whatever text comes as a chat template, it is reviewed or refused by a rule: nothing else happens."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

sys.path.append(str(Path(__file__).parents[3] / "integration"))

from fastness.config import RegistrySettings
from fastness.core.admission import ArtefactKind
from fastness.registry.inspection.port import ArtefactRefused, TemplateReview, Wish
from fastness.registry.inspection.template_review import review
from fastness.registry.inspection.template_text import Templates
from honest_corpus import TEMPLATES
from hostile_templates import BEYOND, CONSTRUCTS, ESCAPES, LOADS, POISONED, SYNTAX

SETTINGS = RegistrySettings(template_timeout_s=0.1)
WISH = Wish("small", ArtefactKind.MODEL, "Apache-2.0", "made by a test")
TOKEN = re.compile(r"\{%-?|-?%\}|\{\{-?|-?\}\}|\w+|\s+|.", re.DOTALL)
KNOWN = [*TEMPLATES.values(), *ESCAPES, *LOADS, *CONSTRUCTS, *SYNTAX[:7], *BEYOND, *POISONED]
PIECES = [TOKEN.findall(template) for template in KNOWN]


@st.composite
def spliced(draw: st.DrawFn) -> str:
    """A known template with pieces of others put into it."""
    tokens = list(draw(st.sampled_from(PIECES)))
    for _ in range(draw(st.integers(1, 4))):
        other = draw(st.sampled_from(PIECES))
        at, start = draw(st.integers(0, len(tokens))), draw(st.integers(0, len(other)))
        tokens[at : at + draw(st.integers(0, 6))] = other[start : start + draw(st.integers(1, 10))]
    return "".join(tokens)


def reviewed(text: str) -> TemplateReview | None:
    templates = Templates(SETTINGS.template_bytes_max)
    try:
        templates.add_config({"chat_template": text})
        return review(templates, WISH, SETTINGS, alone=False)
    except ArtefactRefused:  # which cannot be made without a rule of the table
        return None


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(spliced())
def test_a_spliced_template_is_reviewed_or_refused(text: str) -> None:
    found = reviewed(text)
    assert found is None or not found.suspicious


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=200))
def test_any_text_is_reviewed_or_refused(text: str) -> None:
    reviewed(text)


def test_every_known_honest_template_passes() -> None:
    assert all(reviewed(text) is not None for text in TEMPLATES.values())
