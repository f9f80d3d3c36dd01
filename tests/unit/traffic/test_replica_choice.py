"""Which replica takes a prompt. The failures that users of other routers report stand here by name."""

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastness.traffic.engine_slots import EngineSlots
from fastness.traffic.prefix_index import PrefixIndex
from fastness.traffic.replica_choice import ReplicaChoice
from prompts import prompt_of

HEALTH, TAX = ("health", "OFFICIAL"), ("tax", "OFFICIAL")


class Site:
    """Replicas behind one choice, with the queue's lanes."""

    def __init__(self, count=2, capacity=8, **capacities):
        self.choice = ReplicaChoice()
        capacities = capacities or {f"r{number}": capacity for number in range(count)}
        self.lanes = [SimpleNamespace(replica=name, capacity=size, in_flight=0) for name, size in capacities.items()]
        for name in capacities:
            self.choice.start(name, 1, lambda: PrefixIndex(10_000))

    def send(self, prompt):
        """Choose and send at once, as the gateway does; return what it returned, and the reading."""
        chosen = self.choice.choose(prompt, [one for one in self.lanes if one.in_flight < one.capacity])
        self.lane(chosen.replica).in_flight += 1
        return chosen, self.choice.send(prompt, chosen)

    def end(self, sent, cached=None):
        chosen, reading = sent
        self.lane(chosen.replica).in_flight -= 1
        self.choice.ended(reading, cached)

    def lane(self, name):
        return next(one for one in self.lanes if one.replica == name)


def test_a_conversation_comes_back_to_the_replica_that_has_read_it():
    site = Site(4)
    homes = {}
    for talk in "abcd":
        sent = site.send(prompt_of(HEALTH, talk * 10))
        homes[talk] = sent[0].replica
        site.end(sent)
    assert len(set(homes.values())) == 4, "what is new goes to whoever was asked longest ago"
    for talk in "dbca":
        sent = site.send(prompt_of(HEALTH, talk * 10 + "more"))
        assert sent[0].replica == homes[talk]
        site.end(sent)


def test_load_is_counted_when_it_is_sent_not_when_an_answer_begins():  # sglang #27547, #15473, vllm-router #179
    site = Site(4)
    for number in range(16):
        site.send(prompt_of(HEALTH, [number] * 10))
    assert [one.in_flight for one in site.lanes] == [4, 4, 4, 4]


def test_what_nobody_remembers_goes_where_least_is_under_way_not_where_least_is_remembered():  # sglang #14532
    site = Site(2)
    site.end(site.send(prompt_of(HEALTH, "a" * 100)))
    busy = [site.send(prompt_of(HEALTH, f"{number}" * 5)) for number in range(3)]
    loads = {one.replica: one.in_flight for one in site.lanes}
    least = min(loads, key=lambda name: loads[name])
    assert busy and site.send(prompt_of(HEALTH, "z" * 5))[0].replica == least


def test_load_does_not_switch_affinity_off():  # sglang #32195
    """With one replica busier, what the others remember still decides among them."""
    site = Site(3)
    first = site.send(prompt_of(HEALTH, "a" * 50))
    second = site.send(prompt_of(HEALTH, "b" * 50))
    third = site.send(prompt_of(HEALTH, "c" * 50))
    site.end(second)
    for _ in range(6):
        site.send(prompt_of(HEALTH, "a" * 50))
    assert site.send(prompt_of(HEALTH, "b" * 50 + "x"))[0].replica == second[0].replica
    assert first[0].replica != third[0].replica


def test_a_popular_beginning_spreads_before_one_replica_has_everything():  # vllm-router #179
    site = Site(8, capacity=64)
    system = ["system"] * 50
    for number in range(256):
        _, reading = site.send(prompt_of(HEALTH, [*system, number, number, number, number, number]))
        site.choice.read(reading)
    loads = [one.in_flight for one in site.lanes]
    assert max(loads) <= 2 * sum(loads) / len(loads)
    assert min(loads) > 0


def test_it_looks_at_every_replica_and_a_thousand_are_no_trouble():  # smg #1789: no gathering from all workers
    site = Site(1_000)
    sent = site.send(prompt_of(HEALTH, "abc"))
    assert len(sent[0].candidates) == 1_000


def test_a_replica_that_left_is_forgotten_whole():  # smg: removal is a no-op
    site = Site(2)
    site.choice.retain(["r1"])
    assert [one.replica for one in site.choice.choose(prompt_of(HEALTH, "a"), site.lanes).candidates] == ["r1"]


def test_one_tenant_neither_profits_from_nor_learns_of_what_another_asked():  # the timing side channel
    site = Site(2)
    site.end(site.send(prompt_of(HEALTH, "secret" * 10)))
    chosen = site.choice.choose(prompt_of(TAX, "secret" * 10), site.lanes)
    assert [one.cached for one in chosen.candidates] == [0, 0]


def test_what_another_gateway_had_read_there_costs_no_belief():  # GIE 0602: each gateway sees a part
    site = Site(1)
    site.end(site.send(prompt_of(HEALTH, "a" * 20)))
    sent = site.send(prompt_of(HEALTH, "b" * 20))
    assert sent[0].cached == 0, "nobody here sent it before"
    site.end(sent, cached=20)  # and the engine had it all the same
    for text in "ab":
        assert site.choice.choose(prompt_of(HEALTH, text * 20), site.lanes).cached == 20


def test_a_restart_forgets_and_owes_nothing():
    site = Site(1)
    sent = site.send(prompt_of(HEALTH, "abc"))
    site.choice.start("r0", 2, lambda: PrefixIndex(100))
    fresh = site.choice.choose(prompt_of(HEALTH, "abc"), site.lanes)
    assert (fresh.cached, fresh.candidates[0].unread) == (0, 0)
    site.end(sent, cached=3)  # of the engine that is gone
    assert site.choice.choose(prompt_of(HEALTH, "abc"), site.lanes) == fresh._replace(
        weighed=[fresh.candidates[0]._replace(in_flight=0, score=fresh.candidates[0].score / 2)]
    )


def test_a_larger_replica_takes_its_larger_part():
    site = Site(small=4, large=12)
    for number in range(16):
        site.send(prompt_of(HEALTH, [number] * 10))
    assert {one.replica: one.in_flight for one in site.lanes} == {"small": 4, "large": 12}
    site = Site(small=4, large=12)
    for number in range(8):
        site.send(prompt_of(HEALTH, [number] * 10))
    assert {one.replica: one.in_flight for one in site.lanes} == {"small": 2, "large": 6}


def test_what_is_unread_counts_until_the_first_token_comes():
    site = Site(2)
    first = site.send(prompt_of(HEALTH, "a" * 10))
    second = site.send(prompt_of(HEALTH, "b" * 10))
    site.choice.read(second[1])
    assert site.send(prompt_of(HEALTH, "c" * 10))[0].replica == second[0].replica
    assert first[0].replica != second[0].replica


def test_a_replica_without_the_adapter_is_no_candidate():
    site = Site(2)
    site.choice.start("r1", 1, lambda: PrefixIndex(1), adapters=["tuned"])
    chosen = site.choice.choose(prompt_of(HEALTH, "abc", adapter="tuned"), site.lanes)
    assert [one.replica for one in chosen.candidates] == ["r1"]
    assert site.choice.able("tuned") == {"r1"}
    assert site.choice.able(None) is None
    with pytest.raises(LookupError, match="other"):
        site.choice.choose(prompt_of(HEALTH, "abc", adapter="other"), site.lanes)


def test_pinned_slots_are_weighed_by_what_is_in_those_that_are_free():
    choice, slots = ReplicaChoice(), EngineSlots(1)
    choice.start("r0", 1, lambda: slots)
    prompt = prompt_of(HEALTH, "abc")
    slots.take(prompt)
    lanes = [SimpleNamespace(replica="r0", capacity=2, in_flight=0)]
    assert choice.choose(prompt, lanes).cached == 0
    slots.give(0)
    assert choice.choose(prompt, lanes).cached == 3


STEPS = st.lists(
    st.tuples(st.sampled_from([HEALTH, TAX]), st.text("ab", max_size=6), st.integers(0, 5), st.booleans()), max_size=60
)


@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), STEPS)
def test_whatever_happens_nothing_is_owed_once_all_has_ended(capacities, steps):
    site = Site(**{f"r{number}": capacity for number, capacity in enumerate(capacities)})
    under_way = []
    for owner, text, leaver, says in steps:
        if any(one.in_flight < one.capacity for one in site.lanes):
            sent = site.send(prompt_of(owner, text))
            chosen = sent[0]
            best = min(one.score for one in chosen.candidates)
            assert next(one.score for one in chosen.candidates if one.replica == chosen.replica) == best
            under_way.append(sent)
        if leaver < len(under_way):
            left = under_way.pop(leaver)
            site.choice.read(left[1])
            site.end(left, 0 if says else None)
    for sent in under_way:
        site.end(sent)
    assert all((one.unread, one.under_way) == (0, 0) for one in site.choice._known.values())
