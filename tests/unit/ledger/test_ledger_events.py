import re
from pathlib import Path

import pytest

from fastness.core.event import Event, EventType
from fastness.ledger.entry import draft
from fastness.ledger.events import EVENTS, check_fields

PAGE = Path(__file__).parents[3] / "docs/reference/ledger-events.md"


def test_the_table_has_every_event_type():
    assert set(EVENTS) == set(EventType)


def test_the_page_and_the_table_say_the_same():
    sections = re.split(r"^## ", PAGE.read_text(), flags=re.MULTILINE)[1:]
    told = {}
    for section in sections:
        if named := re.match(r"`([a-z.]+)`\n", section):
            told[named[1]] = section
    assert set(told) == {str(kind) for kind in EventType}
    for row in EVENTS.values():
        section = told[row.type]
        assert f"Log: {row.logs}." in section
        assert row.meaning in section
        fields = dict(re.findall(r"^\| `([a-z0-9_]+)` \| (.+) \|$", section, flags=re.MULTILINE))
        assert fields == dict(row.fields), row.type


@pytest.mark.parametrize("kind", EventType)
def test_every_declared_field_can_be_written(kind):
    fields = dict.fromkeys(EVENTS[kind].fields)
    check_fields(Event(kind, 0, fields))
    draft(kind, 0, fields)


@pytest.mark.parametrize("kind", EventType)
def test_a_field_that_is_not_declared_is_refused(kind):
    with pytest.raises(ValueError, match=rf"{kind} has no field prompt; it has .*declare it in ledger/events.py"):
        check_fields(Event(kind, 0, {"prompt": "what a citizen asked"}))


def test_no_field_is_named_like_content():
    names = {name for row in EVENTS.values() for name in row.fields}
    assert not names & {
        "prompt",
        "input",
        "output",
        "content",
        "messages",
        "text",
        "answer",
        "secret",
        "mac",
        "message",
    }
