"""Fairness between tenants: shares in numbers over random workloads, the bounds on a gap, and what is never so."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastness.traffic.counters import ACCOUNTS_MAX, cost
from fastness.traffic.fair_queue import Ask, Band, FairQueue, Full

SEEDS = st.integers(0, 2**32)
WEIGHTS = st.lists(st.sampled_from([0.5, 1.0, 1.0, 2.0, 3.0, 8.0]), min_size=2, max_size=6)


def ask(tenant: str, weight: float = 1.0, band: Band = Band.STANDARD, tokens: tuple[int, int] = (100, 100)) -> Ask:
    return Ask(tenant, weight, band, *tokens, 1e9, None)


def queue_of(slots: int, waiting_max: int = 100_000) -> FairQueue:
    queue = FairQueue(waiting_max)
    queue.set_lanes([("a", slots)])
    return queue


class Crowd:
    """Tenants that always have something waiting, and slots that are held as long as the real output is."""

    def __init__(self, seed: int, weights: list[float], slots: int, error: float) -> None:
        self.dice = Random(seed)
        self.weights = {f"t{number}": weight for number, weight in enumerate(weights)}
        self.sizes = {name: (self.dice.randint(10, 2_000), self.dice.randint(10, 500)) for name in self.weights}
        self.queue = queue_of(slots)
        self.error = error
        self.given: Counter[str] = Counter()
        self.real: Counter[str] = Counter()
        self.running: list[tuple[float, int, Ask, int]] = []
        self.now_s, self.tickets = 0.0, 0
        self.asks: dict[int, Ask] = {}
        for name in self.weights:
            for _ in range(slots + 2):
                self.send(name)

    def send(self, name: str) -> None:
        self.tickets += 1
        low, high = self.sizes[name]
        tokens = self.dice.randint(1, low), self.dice.randint(1, high)
        self.asks[self.tickets] = one = ask(name, self.weights[name], tokens=tokens)
        if isinstance(self.queue.arrive(self.tickets, one, self.now_s), str):
            self.begin(self.tickets)

    def begin(self, ticket: int) -> None:
        one = self.asks.pop(ticket)
        output = max(1, round(one.output_tokens * self.dice.uniform(1 - self.error, 1 + self.error)))
        self.given[one.tenant] += cost(one.input_tokens, one.output_tokens, 1.0)
        self.running.append((self.now_s + one.input_tokens / 500 + output / 50, ticket, one, output))

    def step(self) -> None:
        self.running.sort(key=lambda one: one[:2])
        self.now_s, _, one, output = self.running.pop(0)
        self.real[one.tenant] += cost(one.input_tokens, output, 1.0)
        self.queue.settle(one.tenant, one, one.input_tokens, output)
        self.send(one.tenant)
        for ticket, _ in self.queue.release("a", self.now_s, 1.0, one):
            self.begin(int(str(ticket)))

    def most(self, name: str) -> float:
        """The most that one ticket of a tenant may count."""
        return cost(*self.sizes[name], self.weights[name])


def jain(shares: list[float]) -> float:
    return sum(shares) ** 2 / (len(shares) * sum(one * one for one in shares))


@pytest.mark.slow
@given(SEEDS, WEIGHTS, st.integers(1, 8), st.sampled_from([0.0, 0.3, 0.9]))
@settings(max_examples=20, deadline=None)
def test_backlogged_tenants_get_tokens_by_their_shares(
    seed: int, weights: list[float], slots: int, error: float
) -> None:
    crowd = Crowd(seed, weights, slots, error)
    enough = 40 * (slots + 1) * max(crowd.most(name) for name in crowd.weights)
    while min(crowd.real[name] / weight for name, weight in crowd.weights.items()) < enough:
        crowd.step()
        if sum(crowd.real.values()) > 20 * enough * sum(weights):
            pytest.fail("somebody starves")
    assert jain([crowd.real[name] / weight for name, weight in crowd.weights.items()]) >= 0.99


@given(SEEDS, WEIGHTS, st.integers(1, 8))
@settings(max_examples=20, deadline=None)
def test_the_gap_in_service_between_two_who_wait_is_never_more_than_one_ticket_of_each(
    seed: int, weights: list[float], slots: int
) -> None:
    crowd = Crowd(seed, weights, slots, error=0.0)
    began = {name: crowd.given[name] for name in crowd.weights}
    counters = {name: crowd.queue.counters.find(name) for name in crowd.weights}
    level = {name: account.counter for name, account in counters.items() if account}
    for _ in range(200):
        crowd.step()
        served = {name: level[name] + (crowd.given[name] - began[name]) / crowd.weights[name] for name in level}
        for one in served:
            for other in served:
                bound = crowd.most(one) + crowd.most(other) + (slots + 2) * 1e-6
                start = abs(level[one] - level[other])
                assert abs(served[one] - served[other]) <= max(bound, start), "the bound of VTC, and of SFQ before it"


@given(SEEDS, st.integers(1, 8), st.integers(2, 50))
@settings(max_examples=20, deadline=None)
def test_whoever_keeps_to_its_share_is_next_however_much_another_floods(seed: int, slots: int, times: int) -> None:
    dice, queue = Random(seed), queue_of(slots)
    asks: dict[object, Ask] = {}
    running: list[object] = []

    def send(tenant: str) -> object:
        ticket = (tenant, len(asks))
        asks[ticket] = one = ask(tenant, tokens=(dice.randint(1, 4_000), dice.randint(1, 1_000)))
        if isinstance(queue.arrive(ticket, one, 0.0), str):
            running.append(ticket)
        return ticket

    def end(ticket: object) -> object:
        running.remove(ticket)
        one = asks[ticket]
        queue.settle(one.tenant, one, one.input_tokens, dice.randint(1, 1_000))
        ((moved, _),) = queue.release("a", 0.0, 1.0, one)
        running.append(moved)
        return moved

    for _ in range(slots * 4):
        send("flood")
    for _ in range(100):
        for _ in range(times + 3 * slots):  # the flood never ends
            send("flood")
        modest = send("modest")
        assert end(dice.choice(running)) == modest, "the very next slot is the modest one's"
        assert asks[end(modest)].tenant == "flood"
        for _ in range(3 * slots):  # and the flood gets what the modest one leaves
            assert asks[end(running[0])].tenant == "flood"


def test_idle_time_is_not_banked() -> None:
    queue = queue_of(1)
    for number in range(100):  # `busy` alone, for long
        queue.arrive(("busy", number), ask("busy"), 0.0)
    for _ in range(50):
        queue.release("a", 0.0, 1.0, ask("busy"))
    for number in range(50):
        queue.arrive(("back", number), ask("back"), 0.0)
    served = [queue.release("a", 0.0, 1.0, ask("busy"))[0][0][0] for _ in range(20)]
    assert 9 <= served.count("back") <= 11


def test_the_use_of_idle_capacity_is_no_debt() -> None:
    queue = queue_of(1)
    for number in range(1_000):  # nobody else is there
        queue.arrive(number, ask("lonely"), 0.0)
        queue.release("a", 0.0, 1.0, ask("lonely"))
    queue.arrive("holds", ask("other"), 0.0)
    for number in range(20):
        queue.arrive(("other", number), ask("other"), 0.0)
        queue.arrive(("lonely", number), ask("lonely"), 0.0)
    served = [queue.release("a", 0.0, 1.0, ask("other"))[0][0][0] for _ in range(20)]
    assert 9 <= served.count("lonely") <= 11


def test_an_estimate_that_was_far_too_high_does_not_push_back_whoever_comes_next() -> None:
    queue = queue_of(1)
    large = ask("first", tokens=(100, 100_000))
    for number in range(10):
        queue.arrive(("first", number), large, 0.0)
    for number in range(10):
        queue.arrive(("second", number), ask("second", tokens=(100, 10)), 0.0)
    served, running = [], large
    for _ in range(10):
        queue.settle(running.tenant, running, 100, 10)
        ((ticket, _),) = queue.release("a", 0.0, 1.0, running)
        assert isinstance(ticket, tuple)
        served.append(ticket[0])
        running = large if ticket[0] == "first" else ask("second", tokens=(100, 10))
    assert served.count("second") >= 4


def test_batches_wait_for_everybody_and_fill_what_is_left() -> None:
    queue = queue_of(1)
    queue.arrive("holds", ask("z"), 0.0)
    queue.arrive("batch of x", ask("x", 1_000.0, Band.BATCH), 0.0)
    queue.arrive("y1", ask("y"), 0.0)
    queue.arrive("y2", ask("y", band=Band.INTERACTIVE), 0.0)
    assert [queue.release("a", 0.0)[0][0] for _ in range(3)] == ["y2", "y1", "batch of x"]


def test_a_flood_leaves_places_for_whoever_comes_next() -> None:
    queue = FairQueue(100, tenant_part=0.75)
    for flood in ("a", "b", "c"):
        for number in range(200):
            queue.arrive((flood, number), ask(flood), 0.0)
    held = Counter(one.account.tenant for one in queue.waiting.values())
    assert held["a"] == 75
    assert sum(held.values()) < 100
    full = queue.arrive("a again", ask("a"), 0.0)
    assert isinstance(full, Full)
    assert (full.tenant, full.waiting, full.limit) == ("a", 75, 100)
    assert queue.arrive("modest", ask("modest"), 0.0) is None


def test_a_tenants_batches_leave_it_places_for_more_urgent_work() -> None:
    queue = FairQueue(100, tenant_part=0.75)
    for number in range(200):
        queue.arrive(number, ask("a", band=Band.BATCH), 0.0)
    assert queue.arrive("urgent", ask("a", band=Band.INTERACTIVE), 0.0) is None


def test_who_is_late_leaves_at_once_and_counts_for_nothing() -> None:
    queue = queue_of(1)
    queue.arrive("holds", ask("z"), 0.0)
    for number, deadline_s in enumerate((5.0, 1.0, 3.0)):
        queue.arrive(number, ask("a")._replace(deadline_s=deadline_s), 0.0)
    assert queue.next_deadline_s() == 1.0
    assert queue.expire(0.5) == []
    assert queue.leave(2)
    assert queue.expire(4.0) == [1]
    assert queue.next_deadline_s() == 5.0
    assert queue.release("a", 4.0) == [(0, "a")]
    assert queue.next_deadline_s() is None
    account = queue.counters.find("a")
    assert account
    assert account.counter == cost(100, 100, 1.0)


def test_what_left_is_not_held_on_to() -> None:
    queue = queue_of(1)
    queue.arrive("holds", ask("z"), 0.0)
    for number in range(100_000):
        queue.arrive(number, ask(f"t{number % 7}"), 0.0)
        if number >= 20:
            queue.leave(number - 20)
    assert len(queue._deadlines) <= 2 * 20 + 65
    assert len(queue._urgent._heap) <= 2 * 7 + 65
    assert sum(len(line.heap) for one in queue._urgent._standing.values() for line in one.lines.values()) <= 7 * 40


def test_counters_are_bounded_and_those_who_wait_are_not_forgotten() -> None:
    queue = queue_of(1)
    queue.arrive("holds", ask("z"), 0.0)
    queue.arrive("waits", ask("patient"), 0.0)
    for number in range(5 * ACCOUNTS_MAX):
        queue.arrive(number, ask(f"t{number}"), 0.0)
        queue.leave(number)
    assert len(queue.counters) <= ACCOUNTS_MAX
    assert queue.counters.find("patient")


def test_a_newcomer_is_told_to_come_back_by_its_own_place_in_line() -> None:
    queue = queue_of(10)
    for number in range(10):
        queue.arrive(("holds", number), ask("z"), 0.0)
    for number in range(200):
        queue.arrive(number, ask("flood"), 0.0)
    queue.drain.held_s = 5.0  # ten slots held for 5 s: two a second
    assert queue.retry_after_s(None, 0.0, ask("modest")) == 1
    assert queue.retry_after_s(None, 0.0, ask("modest", band=Band.BATCH)) == 60
    assert queue.retry_after_s(None, 0.0, ask("flood")) == 60
    for number in range(10):
        queue.arrive(("modest", number), ask("modest"), 0.0)
    assert 10 <= queue.retry_after_s(None, 0.0, ask("modest")) <= 12
