"""Every event of the fleet is a ledger entry that reads back as itself."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fastness.control.fleet_record import TYPES, from_ledger, to_ledger
from fastness.core.fleet_event import FleetEvent
from fastness.ledger.events import check_fields

EVENTS = st.one_of(*(st.from_type(kind) for kind in TYPES.values()))


@given(EVENTS)
def test_an_event_reads_back_as_itself(event: FleetEvent) -> None:
    entry = to_ledger(event, 5)
    check_fields(entry)
    assert from_ledger(entry) == event
