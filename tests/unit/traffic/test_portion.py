"""Slots dealt out among gateways: every slot is one gateway's, and none is two gateways' (law 12)."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastness.traffic.engine_slots import EngineSlots
from fastness.traffic.portion import Dealt, Portion, portion_of
from prompts import prompt_of

COUNTS = st.integers(1, 12)
REPLICAS = st.text("abc-0123", min_size=1, max_size=8)


def numbers(dealt: Dealt) -> list[int]:
    return [dealt.first + dealt.step * at for at in range(dealt.count)]


def slots_of(dealt: Dealt) -> EngineSlots:
    return EngineSlots(dealt.count, dealt.first, dealt.step, dealt.own)


@given(COUNTS, REPLICAS, st.integers(1, 64))
def test_together_gateways_have_every_slot_once(count, replica, slots):
    dealt = [Portion(index, count).deal(replica, slots) for index in range(count)]
    if slots >= count:
        assert sorted(number for one in dealt for number in numbers(one)) == list(range(slots))
        assert max(one.count for one in dealt) - min(one.count for one in dealt) <= 1
        assert all(one.own for one in dealt)
    else:
        assert {number for one in dealt for number in numbers(one)} == set(range(slots))
        assert all(one.count == 1 for one in dealt), "none is left out"
        assert not any(one.own for one in dealt)


def test_what_does_not_come_out_even_is_another_gateways_each_time():
    most = Counter(
        max(range(3), key=lambda index: Portion(index, 3).deal(f"chat-{number}", 4).count) for number in range(300)
    )
    assert min(most[index] for index in range(3)) > 60


def test_a_gateway_that_is_alone_has_everything():
    assert Portion().deal("chat-1", 8) == Dealt(0, 1, 8, own=True)
    assert Portion().of(512) == 512


@given(COUNTS, st.integers(0, 10_000))
def test_parts_of_a_bound_are_hardly_more_than_the_bound(count, bound):
    part = Portion(0, count).of(bound)
    assert bound <= part * count < bound + count


def test_a_gateway_that_is_none_of_them_has_nothing():
    assert portion_of("gateway-1", ("gateway-0", "gateway-1")) == Portion(1, 2)
    assert portion_of("gateway-2", ("gateway-0", "gateway-1")) is None
    with pytest.raises(ValueError, match="gateway 2 of 2"):
        Portion(2, 2)


@given(
    st.integers(1, 4),
    st.integers(1, 9),
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 2), st.lists(st.integers(0, 2), max_size=4), st.integers(0, 9)),
        max_size=120,
    ),
)
def test_nobody_builds_on_what_another_owner_left_by_whichever_gateway(count, slots, steps):
    """Against the plainest model of an engine: a slot holds what was read there last, whoever sent it."""
    gateways = [slots_of(Portion(index, count).deal("chat-1", slots)) for index in range(count)]
    busy: list[tuple[int, int]] = []
    read_by: dict[int, int] = {}
    for at, owner, prompt, leaver in steps:
        seat = gateways[at % count].take(prompt_of(owner, tuple(prompt)))
        if seat is not None:
            assert 0 <= seat.number < slots
            if slots >= count:
                assert seat.number not in {number for _, number in busy}, "no engine is sent more than it has slots"
            if seat.reuse:
                assert read_by.get(seat.number) == owner
            read_by[seat.number] = owner
            busy.append((at % count, seat.number))
        if busy and leaver < len(busy):
            gateway, number = busy.pop(leaver)
            gateways[gateway].give(number)


def test_slots_that_others_use_too_are_never_built_upon_nor_counted_as_remembered():
    slots = slots_of(Portion(0, 3).deal("chat-1", 2))
    prompt = prompt_of("health", ("system", "question"))
    for _ in range(3):
        seat = slots.take(prompt)
        assert seat is not None
        assert not seat.reuse
        slots.give(seat.number)
        assert slots.known(prompt) == 0
