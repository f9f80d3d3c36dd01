"""A slot's memory is for its owner alone (law 12)."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from fastness.traffic.engine_slots import EngineSlots, Seat
from fastness.traffic.prompt import HEAD, chat_prompt, plain_prompt
from prompts import prompt_of

HEALTH, TAX = ("health", "OFFICIAL"), ("tax", "OFFICIAL")


def test_what_nobody_is_known_to_have_read_is_not_built_on():
    slots = EngineSlots(2)
    assert slots.take(prompt_of(HEALTH, ("system", "question"))) == Seat(0, reuse=False)
    assert slots.take(prompt_of(HEALTH, ("system", "question"))) == Seat(1, reuse=False)
    assert slots.take(prompt_of(HEALTH, ("system",))) is None


def test_a_conversation_comes_back_to_the_slot_that_read_it():
    slots = EngineSlots(3)
    for prompt in (("a", "1"), ("b", "1"), ("c", "1")):
        slots.take(prompt_of(HEALTH, prompt))
    for number in range(3):
        slots.give(number)
    assert slots.take(prompt_of(HEALTH, ("b", "1", "2"))) == Seat(1, reuse=True)


def test_another_owner_may_have_the_slot_but_not_its_memory():
    slots = EngineSlots(1)
    slots.take(prompt_of(HEALTH, ("secret",)))
    slots.give(0)
    assert slots.take(prompt_of(TAX, ("secret",))) == Seat(0, reuse=False)
    slots.give(0)
    assert slots.take(prompt_of(HEALTH, ("secret",))) == Seat(0, reuse=False), "the slot has read something else since"


def test_the_same_tenant_under_another_label_is_another_owner():
    slots = EngineSlots(1)
    slots.take(prompt_of(("health", "OFFICIAL-SENSITIVE"), ("p",)))
    slots.give(0)
    assert slots.take(prompt_of(("health", "OFFICIAL"), ("p",))) == Seat(0, reuse=False)


def test_a_stranger_takes_what_was_used_longest_ago():
    slots = EngineSlots(3)
    for part in "abc":
        slots.take(prompt_of(HEALTH, (part,)))
    for number in (2, 0, 1):
        slots.give(number)
    assert slots.take(prompt_of(TAX, ("d",))) == Seat(0, reuse=False)
    assert slots.take(prompt_of(HEALTH, ("c", "more"))) == Seat(2, reuse=True)


def test_a_new_conversation_does_not_push_out_a_recent_one():
    slots = EngineSlots(2)
    slots.take(prompt_of(HEALTH, ("old",)))
    slots.take(prompt_of(HEALTH, ("new",)))
    slots.give(0)
    slots.give(1)
    assert slots.take(prompt_of(HEALTH, ("other",))).number == 0


def test_a_beginning_that_many_share_is_read_once_more_only_where_it_costs_less_than_what_is_lost():
    slots = EngineSlots(3)
    system = ["system"] * 10
    slots.take(prompt_of(HEALTH, [*system, "q"]))
    slots.give(0)
    assert slots.take(prompt_of(HEALTH, [*system, "p"])) == Seat(0, reuse=True), "a question lost, ten parts spared"
    slots.give(0)
    talk = [*system, *range(30)]
    slots.take(prompt_of(HEALTH, talk))
    slots.give(0)
    assert slots.take(prompt_of(HEALTH, [*system, "q"])).number == 1, "ten parts read again, and the talk is kept"
    slots.give(1)
    assert slots.take(prompt_of(HEALTH, [*talk, "more"])) == Seat(0, reuse=True)


def test_what_nobody_came_back_for_is_lost_in_the_end():
    slots = EngineSlots(2)
    slots.take(prompt_of(HEALTH, range(100)))
    slots.give(0)
    for number in range(40):
        slots.take(prompt_of(TAX, [number] * 10))
        slots.give(0)
        slots.give(1)
    slots.take(prompt_of(TAX, ["x"] * 10))
    assert slots.known(prompt_of(HEALTH, range(100))) == 0


def test_a_new_short_question_takes_the_slot_that_its_owner_left_and_so_spares_the_template():
    slots = EngineSlots(4)
    slots.take(chat_prompt(HEALTH, "m", [("user", "Say hello.")]))
    slots.give(0)
    asked = chat_prompt(HEALTH, "m", [("user", "Say goodbye.")])
    assert slots.known(asked) == HEAD
    assert slots.take(asked) == Seat(0, reuse=True)


@given(
    st.integers(1, 5),
    st.lists(st.tuples(st.integers(0, 3), st.lists(st.integers(0, 2), max_size=4), st.integers(0, 9)), max_size=80),
)
def test_nobody_ever_builds_on_what_another_owner_left(count, steps):
    """Against the plainest model of an engine: each slot holds what was read in it last, and by whom."""
    slots, busy = EngineSlots(count), []
    read_by: dict[int, int] = {}
    for owner, prompt, leaver in steps:
        seat = slots.take(prompt_of(owner, tuple(prompt)))
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


@dataclass
class Memory:
    prompt: object
    used: int
    worth: int


class LookedThrough:
    """The rule as it is written: every free slot is looked at."""

    def __init__(self, count):
        self.free, self.memories, self.uses, self.lost = set(range(count)), {}, 0, 0

    def best(self, prompt):
        costs = []
        for number in self.free:
            shared = loss = used = 0
            if memory := self.memories.get(number):
                shared, used = memory.prompt.shared(prompt), memory.used
                loss = max(0, memory.worth - shared - self.lost)
            costs.append(((loss - shared, used, number), shared, loss))
        return min(costs) if costs else None

    def known(self, prompt):
        found = self.best(prompt)
        return found[1] if found else 0

    def take(self, prompt):
        if (found := self.best(prompt)) is None:
            return None
        (_, _, number), _, loss = found
        before = self.memories.get(number)
        self.free.discard(number)
        self.uses += 1
        self.lost += loss
        self.memories[number] = Memory(prompt, self.uses, self.lost + prompt.size)
        return Seat(number, reuse=before is not None and before.prompt.owner == prompt.owner)

    def give(self, number):
        self.free.add(number)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["take", "give", "know"]),
        st.integers(0, 7),
        st.sampled_from([HEALTH, TAX]),
        st.lists(st.sampled_from("ab"), max_size=6),
        st.sampled_from([1, 1, 1, 3]),
    ),
    max_size=80,
)


@given(st.integers(1, 6), STEPS)
def test_slots_that_are_found_are_those_that_would_be_found_by_looking_through_all(count, steps):
    found, looked = EngineSlots(count), LookedThrough(count)
    held = []
    for what, which, owner, parts, size in steps:
        prompt = prompt_of(owner if size == 1 else (*owner, size), parts, size)
        assert found.known(prompt) == looked.known(prompt)
        if what == "take":
            seat = found.take(prompt)
            assert seat == looked.take(prompt)
            held += [seat.number] if seat else []
        elif what == "give" and held:
            number = held.pop(which % len(held))
            found.give(number)
            looked.give(number)


def test_what_is_kept_to_find_slots_by_does_not_grow_with_their_use():
    slots = EngineSlots(4)
    for turn in range(2_000):
        seat = slots.take(prompt_of(HEALTH, ["system", *range(turn % 7), turn]))
        slots.give(seat.number)
    assert len(slots._holders) <= 4 * 9
    for held in (slots._all, *slots._holders.values()):
        assert len(held._worth) + len(held._aged) <= 2 * 4 + 2


def test_what_was_read_with_another_adapter_or_with_none_is_not_built_on():
    slots = EngineSlots(1)
    for adapter, reuse in (("plans", False), ("plans", True), (None, False), ("notes", False), ("plans", False)):
        assert slots.take(prompt_of(HEALTH, ("p", "q"), adapter=adapter)) == Seat(0, reuse=reuse)
        slots.give(0)
    same = plain_prompt(HEALTH, "m", "text"), plain_prompt(HEALTH, "m", "text", "plans")
    assert same[0].shared(same[1]) == 0
