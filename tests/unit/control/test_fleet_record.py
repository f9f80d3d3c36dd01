"""Every event of the fleet is a ledger entry that reads back as itself."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastness.control.fleet_record import TYPES, from_ledger, to_ledger
from fastness.core.desired import DeploymentSpec, Needs
from fastness.core.fleet_event import DeploymentApplied, FleetEvent, NodeLabelled
from fastness.core.marking import Label
from fastness.ledger.entry import draft, genesis, parse, seal
from fastness.ledger.events import check_fields

# What a spec may say is checked before it becomes an event: no time in it is infinite.
st.register_type_strategy(float, st.floats(allow_nan=False, allow_infinity=False))
EVENTS = st.one_of(*(st.from_type(kind) for kind in TYPES.values()))


@given(EVENTS)
def test_an_event_reads_back_as_itself(event: FleetEvent) -> None:
    entry = to_ledger(event, 5)
    check_fields(entry)
    assert from_ledger(entry) == event


def test_a_spec_longer_than_a_string_of_the_ledger_stands_in_several_fields() -> None:
    label = Label("OFFICIAL-SENSITIVE", ("PERSONAL",))
    labels = tuple(f"rack-{number}=left-hand-side" for number in range(100))
    spec = DeploymentSpec("chat", "health", "smol", "ab" * 32, "chat", label, Needs(label, 10, labels=labels))
    event = DeploymentApplied(spec, 1, "local")
    entry = to_ledger(event, 5)
    check_fields(entry)
    assert set(entry.fields) > {"spec", "spec_2", "spec_3", "spec_4"}
    assert parse(seal(draft(entry.type, 5, entry.fields), 0, genesis("control"))[0]).fields == entry.fields
    assert from_ledger(entry) == event


def test_a_value_beyond_all_fields_is_refused() -> None:
    labels = tuple(("rack", "x" * 1_000) for _ in range(10))
    with pytest.raises(ValueError, match="labels has"):
        to_ledger(NodeLabelled("n", labels, "local"), 5)
