"""The gateway's part of the choice: what is sent is owed until it is over, and explained for a while."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

from fastness.core.replica import Replica, ReplicaState
from fastness.core.request import Generation, Message, Sampling, Usage
from fastness.gateway import choosing
from fastness.gateway.choosing import Asked, Choosing, prompt_of
from fastness.gateway.seat import salt_of
from fastness.traffic.engine_slots import EngineSlots
from fastness.traffic.fair_queue import Ask, Band, FairQueue, Lane
from fastness.traffic.prefix_index import PrefixIndex
from fastness.traffic.prompt import HEAD

HEALTH, TAX = ("health", "OFFICIAL"), ("tax", "OFFICIAL")
ONE = Replica("r0", "small", "fake", ReplicaState.READY, "/x", 4, 2_048, 1, sealed=True)


def site(*, pinned: bool = False) -> Choosing:
    found = Choosing("small", clock=lambda: 7.0)
    found.know([(ONE, pinned)])
    return found


def ticket(text: str, request_id: str = "req_1") -> SimpleNamespace:
    work = Generation(Sampling(), (Message("user", text),))
    return SimpleNamespace(asked=Asked(request_id, prompt_of(HEALTH, "small", work)))


def owed(of: Choosing) -> tuple[int, int]:
    (known,) = of.replicas._known.values()
    return known.unread, known.under_way


def test_what_was_sent_is_owed_until_read_and_under_way_until_over():
    of, one = site(), ticket("x" * 100)
    of.choose(one, [Lane("r0", 4)])
    assert owed(of) == (HEAD + 100, HEAD + 100)
    one.asked.read()
    assert owed(of) == (0, HEAD + 100)
    one.asked.told(Usage(30, 1, 0))
    one.asked.over()
    assert owed(of) == (0, 0)


def test_a_generation_that_is_sent_once_more_owes_once():
    of, one = site(), ticket("x" * 100)
    of.choose(one, [Lane("r0", 4)])
    of.choose(one, [Lane("r0", 4)])
    assert owed(of)[1] == HEAD + 100
    one.asked.over()
    assert owed(of) == (0, 0)
    assert len(of.explanations.of("req_1")) == 2, "and both choices are explained"


def test_a_ticket_that_asks_nothing_is_sent_where_least_is_under_way():
    of = site()
    of.know([(ONE, False), (Replica("r1", "small", "fake", ReplicaState.READY, "/y", 4, 2_048, 1, True), False)])
    queue = FairQueue(8, of.choose)
    queue.set_lanes([("r0", 4), ("r1", 4)])
    assert sorted(
        str(queue.arrive(name, Ask("health", 1.0, Band.STANDARD, 100, 100, 60.0, None), 0.0)) for name in "abcd"
    ) == ["r0", "r0", "r1", "r1"]


def test_who_rules_its_slots_is_known_by_them_and_others_by_belief():
    pinned, free = site(pinned=True), site()
    assert isinstance(pinned.replicas.memory("r0"), EngineSlots)
    assert pinned.slots_of(ONE).count == 4
    assert isinstance(free.replicas.memory("r0"), PrefixIndex)


def test_the_last_requests_are_explained_and_no_others(monkeypatch):
    monkeypatch.setattr(choosing, "EXPLAINED_MAX", 3)
    of = site()
    for number in range(5):
        of.choose(ticket("x", f"req_{number}"), [Lane("r0", 4)])
    assert [len(of.explanations.of(f"req_{number}")) for number in range(5)] == [0, 0, 1, 1, 1]
    monkeypatch.setattr(choosing, "CHOICES_MAX", 2)
    for _ in range(5):
        of.choose(ticket("x", "req_4"), [Lane("r0", 4)])
    assert len(of.explanations.of("req_4")) == 2
    document = of.explanations.of("req_4")[0].document()
    assert (document["model"], document["at_s"], document["replica"]) == ("small", 7.0, "r0")


def test_an_owner_has_one_salt_and_no_other_owner_has_it():
    owners = [HEALTH, TAX, ("health", "SECRET"), ("health\0", "OFFICIAL"), ("healt", "hOFFICIAL")]
    assert len({salt_of(owner) for owner in owners}) == len(owners)
    before = salt_of(HEALTH)
    salt_of.cache_clear()
    assert salt_of(HEALTH) == before
    many = "".join(salt_of((f"tenant-{number}", "OFFICIAL")) for number in range(100))
    assert many.replace("-", "a").replace("_", "a").isalnum(), "vLLM takes none with a slash in it"
    assert len({salt_of(HEALTH, one) for one in (None, "01" * 32, "02" * 32)}) == 3
    assert "health" not in salt_of(HEALTH)


def test_a_replica_of_another_shape_is_another_engine_even_before_its_epoch_says_so():
    of = site(pinned=True)
    of.know([(replace(ONE, slots=9), True)])
    assert of.slots_of(ONE).count == 9
