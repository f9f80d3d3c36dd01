"""The queue in front of one model's replicas, seen by one tenant: examples, then a machine that tries every order."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from fastness.traffic.fair_queue import Ask, Band, FairQueue, Full

NAMES = ("a", "b", "c")
ASK = Ask("health", 1.0, Band.STANDARD, 100, 100, 60.0, None)


def queue_of(waiting_max: int = 10, **lanes: int) -> FairQueue:
    queue = FairQueue(waiting_max)
    queue.set_lanes(lanes.items())
    return queue


def test_a_free_slot_is_given_at_once() -> None:
    assert queue_of(a=1).arrive("first", ASK, 0.0) == "a"


def test_without_a_free_slot_a_ticket_waits() -> None:
    queue = queue_of(a=1)
    queue.arrive("first", ASK, 0.0)
    assert queue.arrive("second", ASK, 0.0) is None
    assert list(queue.waiting) == ["second"]


def test_a_released_slot_goes_to_the_one_who_waited_longest() -> None:
    queue = queue_of(a=1)
    for ticket in ("first", "second", "third"):
        queue.arrive(ticket, ASK, 0.0)
    assert queue.release("a", 0.0) == [("second", "a")]
    assert queue.release("a", 0.0) == [("third", "a")]
    assert queue.release("a", 0.0) == []


def test_one_who_was_in_before_waits_in_front_of_all_also_where_the_queue_is_full() -> None:
    queue = queue_of(1, a=1)
    assert queue.arrive("one", ASK, 0.0) == "a"
    assert queue.arrive("two", ASK, 0.0) is None
    assert queue.arrive("three", ASK._replace(returns=True), 0.0) is None
    assert queue.release("a", 0.0) == [("three", "a")]
    assert queue.release("a", 0.0) == [("two", "a")]


def test_a_full_queue_says_how_many_wait_and_when_to_come_back() -> None:
    queue = queue_of(waiting_max=1, a=1)
    queue.arrive("first", ASK, 0.0)
    queue.arrive("second", ASK, 0.0)
    full = queue.arrive("third", ASK, 0.0)
    assert isinstance(full, Full)
    assert full.waiting == 1
    assert full.retry_after_s >= 1
    assert list(queue.waiting) == ["second"], "a refused ticket leaves nothing behind"


def test_a_queue_of_no_length_refuses_whoever_finds_no_slot() -> None:
    queue = queue_of(waiting_max=0, a=1)
    assert queue.arrive("first", ASK, 0.0) == "a"
    assert isinstance(queue.arrive("second", ASK, 0.0), Full)


def test_before_any_replica_is_ready_tickets_wait_and_move_when_one_comes() -> None:
    queue = FairQueue(10)
    assert queue.arrive("early", ASK, 0.0) is None
    assert not queue.is_served()
    assert queue.set_lanes([("a", 2)]) == [("early", "a")]
    assert queue.is_served()


def test_the_least_loaded_replica_takes_the_next_by_share_of_its_capacity() -> None:
    queue = queue_of(a=2, b=8)
    taken = [queue.arrive(number, ASK, 0.0) for number in range(10)]
    assert taken.count("a") == 2
    assert taken.count("b") == 8
    assert queue_of(a=2, b=8).arrive("x", ASK, 0.0) == "a", "equal load: the first"
    assert taken[1] == "b", "half of a's capacity is more load than none of b's"


def test_one_who_gave_up_is_forgotten_and_the_next_moves_up() -> None:
    queue = queue_of(a=1)
    for ticket in ("first", "second", "third"):
        queue.arrive(ticket, ASK, 0.0)
    assert queue.leave("second")
    assert not queue.leave("second")
    assert not queue.leave("first"), "it runs: it does not wait"
    assert queue.release("a", 0.0) == [("third", "a")]


def test_a_replica_that_left_gets_nothing_more_but_finishes_what_it_has() -> None:
    queue = queue_of(a=1, b=1)
    assert queue.arrive("one", ASK, 0.0) == "a"
    queue.set_lanes([("b", 1)])
    assert queue.arrive("two", ASK, 0.0) == "b"
    assert queue.arrive("three", ASK, 0.0) is None
    assert queue.release("a", 0.0) == [], "a closed lane's slot is nobody's"
    assert "a" not in queue.lanes
    assert queue.release("b", 0.0) == [("three", "b")]


def test_a_replica_that_comes_back_still_counts_what_it_was_running() -> None:
    queue = queue_of(a=2)
    queue.arrive("one", ASK, 0.0)
    queue.arrive("two", ASK, 0.0)
    queue.set_lanes([])
    assert not queue.is_served()
    queue.set_lanes([("a", 2)])
    assert queue.arrive("three", ASK, 0.0) is None, "law 7: never more than its capacity"
    assert queue.release("a", 0.0) == [("three", "a")]


def test_a_replica_that_shrank_gets_nothing_until_it_is_below_its_new_capacity() -> None:
    queue = queue_of(a=2)
    queue.arrive("one", ASK, 0.0)
    queue.arrive("two", ASK, 0.0)
    queue.set_lanes([("a", 1)])
    queue.arrive("three", ASK, 0.0)
    assert queue.release("a", 0.0) == []
    assert queue.release("a", 0.0) == [("three", "a")]


def test_a_replica_that_grew_takes_those_who_wait_at_once() -> None:
    queue = queue_of(a=1)
    for ticket in ("one", "two", "three"):
        queue.arrive(ticket, ASK, 0.0)
    assert queue.set_lanes([("a", 3)]) == [("two", "a"), ("three", "a")]


def test_a_closed_lane_gets_nothing_until_it_is_named_again() -> None:
    queue = queue_of(a=2)
    assert queue.arrive("one", ASK, 0.0) == "a"
    queue.close("a")
    queue.close("never there")
    assert queue.arrive("two", ASK, 0.0) is None
    assert not queue.is_served()
    assert queue.set_lanes([("a", 2)]) == [("two", "a")]
    assert queue.lanes["a"].in_flight == 2


def test_giving_back_a_slot_of_an_unknown_replica_is_harmless() -> None:
    assert queue_of(a=1).release("gone", 0.0, 0.0) == []


@given(st.lists(st.floats(min_value=0, max_value=10_000), max_size=50), st.integers(0, 100))
def test_retry_after_is_always_from_1_to_60_seconds(held: list[float], waiting: int) -> None:
    queue = queue_of(waiting_max=1_000, a=1)
    for number in range(waiting):
        queue.arrive(number, ASK, 0.0)
    for seconds in held:
        queue.release("gone", 0.0, seconds)
    assert 1 <= queue.retry_after_s() <= 60


def test_retry_after_grows_with_how_long_slots_are_held() -> None:
    quick, slow = queue_of(a=1), queue_of(a=1)
    for _ in range(100):
        quick.release("gone", 0.0, 0.1)
        slow.release("gone", 0.0, 20.0)
    assert quick.retry_after_s() < slow.retry_after_s()


class QueueMachine(RuleBasedStateMachine):
    """Beside the queue runs a plain account of who runs where and who waits, kept from what the queue says."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = FairQueue(waiting_max=4)
        self.ready: dict[str, int] = {}
        self.running: dict[int, str] = {}
        self.line: list[int] = []
        self.ended: set[int] = set()
        self.tickets = 0

    def moved(self, admitted: list[tuple[object, str]]) -> None:
        for ticket, replica in admitted:
            assert ticket == self.line.pop(0), "first come, first served"
            self.begin(int(str(ticket)), replica)

    def begin(self, ticket: int, replica: str) -> None:
        assert ticket not in self.running
        assert ticket not in self.ended
        assert replica in self.ready, "law 8: only what is ready gets work"
        self.running[ticket] = replica
        assert list(self.running.values()).count(replica) <= self.ready[replica], "law 7: no over-allocation"

    @rule()
    def arrive(self) -> None:
        self.tickets += 1
        taken = self.queue.arrive(self.tickets, ASK, 0.0)
        if isinstance(taken, Full):
            assert taken.waiting == len(self.line) == 4
            self.ended.add(self.tickets)
        elif taken is None:
            self.line.append(self.tickets)
        else:
            assert not self.line, "nobody overtakes those who wait"
            self.begin(self.tickets, taken)

    @precondition(lambda self: self.running)
    @rule(which=st.integers(min_value=0), held_s=st.none() | st.floats(0, 100))
    def finish(self, which: int, held_s: float | None) -> None:
        ticket = list(self.running)[which % len(self.running)]
        replica = self.running.pop(ticket)
        self.ended.add(ticket)
        self.moved(self.queue.release(replica, 0.0, held_s))

    @precondition(lambda self: self.line)
    @rule(which=st.integers(min_value=0))
    def give_up(self, which: int) -> None:
        ticket = self.line.pop(which % len(self.line))
        assert self.queue.leave(ticket)
        self.ended.add(ticket)

    @rule(ready=st.dictionaries(st.sampled_from(NAMES), st.integers(1, 3)))
    def replicas_change(self, ready: dict[str, int]) -> None:
        self.ready = ready
        self.moved(self.queue.set_lanes(ready.items()))

    @rule(replica=st.sampled_from(NAMES))
    def a_replica_cannot_be_reached(self, replica: str) -> None:
        self.ready = {name: capacity for name, capacity in self.ready.items() if name != replica}
        self.queue.close(replica)

    @invariant()
    def the_queue_knows_who_waits_and_how_many_run(self) -> None:
        assert list(self.queue.waiting) == self.line
        counted = {name: lane.in_flight for name, lane in self.queue.lanes.items() if lane.in_flight}
        running = list(self.running.values())
        assert counted == {name: running.count(name) for name in set(running)}

    @invariant()
    def nobody_waits_while_a_slot_is_free(self) -> None:
        running = list(self.running.values())
        free = any(running.count(name) < capacity for name, capacity in self.ready.items())
        assert not (free and self.line), "work-conserving"

    @invariant()
    def it_is_served_exactly_when_a_replica_is_ready(self) -> None:
        assert self.queue.is_served() == bool(self.ready)

    @invariant()
    def no_ticket_is_lost_or_doubled(self) -> None:
        assert len(self.running) + len(self.line) + len(self.ended) == self.tickets

    def teardown(self) -> None:
        """Whatever happened, what runs can finish and what waits can run: every ticket ends once."""
        self.replicas_change({"a": 1})
        while self.running or self.line:
            self.finish(0, None)
        assert len(self.ended) == self.tickets
        assert set(self.queue.lanes) == {"a"}, "closed lanes are let go once they are empty"


QueueMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestEveryOrderOfEvents = QueueMachine.TestCase
