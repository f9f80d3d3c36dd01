"""A slot's memory is for its owner alone (law 12)."""

from hypothesis import given
from hypothesis import strategies as st

from fastness.traffic.engine_slots import EngineSlots, Seat

HEALTH, TAX = ("health", "OFFICIAL"), ("tax", "OFFICIAL")


def test_what_nobody_is_known_to_have_read_is_not_built_on():
    slots = EngineSlots(2)
    assert slots.take(HEALTH, ("system", "question")) == Seat(0, reuse=False)
    assert slots.take(HEALTH, ("system", "question")) == Seat(1, reuse=False)
    assert slots.take(HEALTH, ("system",)) is None


def test_a_conversation_comes_back_to_the_slot_that_read_it():
    slots = EngineSlots(3)
    for prompt in (("a", "1"), ("b", "1"), ("c", "1")):
        slots.take(HEALTH, prompt)
    for number in range(3):
        slots.give(number)
    assert slots.take(HEALTH, ("b", "1", "2")) == Seat(1, reuse=True)


def test_another_owner_may_have_the_slot_but_not_its_memory():
    slots = EngineSlots(1)
    slots.take(HEALTH, ("secret",))
    slots.give(0)
    assert slots.take(TAX, ("secret",)) == Seat(0, reuse=False)
    slots.give(0)
    assert slots.take(HEALTH, ("secret",)) == Seat(0, reuse=False), "the slot has read something else since"


def test_the_same_tenant_under_another_label_is_another_owner():
    slots = EngineSlots(1)
    slots.take(("health", "OFFICIAL-SENSITIVE"), ("p",))
    slots.give(0)
    assert slots.take(("health", "OFFICIAL"), ("p",)) == Seat(0, reuse=False)


def test_a_stranger_takes_what_was_used_longest_ago():
    slots = EngineSlots(3)
    for part in "abc":
        slots.take(HEALTH, (part,))
    for number in (2, 0, 1):
        slots.give(number)
    assert slots.take(TAX, ("d",)) == Seat(0, reuse=False)
    assert slots.take(HEALTH, ("c", "more")) == Seat(2, reuse=True)


def test_a_new_conversation_does_not_push_out_a_recent_one():
    slots = EngineSlots(2)
    slots.take(HEALTH, ("old",))
    slots.take(HEALTH, ("new",))
    slots.give(0)
    slots.give(1)
    assert slots.take(HEALTH, ("other",)).number == 0


@given(
    st.integers(1, 5),
    st.lists(st.tuples(st.integers(0, 3), st.lists(st.integers(0, 2), max_size=4), st.integers(0, 9)), max_size=80),
)
def test_nobody_ever_builds_on_what_another_owner_left(count, steps):
    """Against the plainest model of an engine: each slot holds what was read in it last, and by whom."""
    slots, busy = EngineSlots(count), []
    read_by: dict[int, int] = {}
    for owner, prompt, leaver in steps:
        seat = slots.take(owner, tuple(prompt))
        if seat is None:
            assert len(busy) == count
        else:
            assert seat.number not in busy
            if seat.reuse:
                assert read_by.get(seat.number) == owner
            read_by[seat.number] = owner
            busy.append(seat.number)
        if busy and leaver < len(busy):
            slots.give(busy.pop(leaver))
