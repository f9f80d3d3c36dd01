"""Tickets that may use some replicas only: fair among those that can move, and never where they may not."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from fastness.traffic.fair_queue import Ask, Band, FairQueue, Full

NAMES = ("a", "b", "c")
A, B = frozenset("a"), frozenset("b")


def ask(usable: frozenset[str] | None = None) -> Ask:
    return Ask("health", 1.0, Band.STANDARD, 100, 100, 60.0, usable)


def queue_of(waiting_max: int = 10, **lanes: int) -> FairQueue:
    queue = FairQueue(waiting_max)
    queue.set_lanes(lanes.items())
    return queue


def test_a_choosy_ticket_takes_a_replica_it_may_use_however_busy_the_others() -> None:
    queue = queue_of(a=1, b=9)
    assert queue.arrive("one", ask(A), 0.0) == "a"
    assert queue.arrive("two", ask(A), 0.0) is None
    assert queue.arrive("three", ask(frozenset()), 0.0) is None


def test_who_can_move_passes_who_cannot() -> None:
    queue = queue_of(a=1, b=1)
    queue.arrive("one", ask(A), 0.0)
    assert queue.arrive("waits for a", ask(A), 0.0) is None
    assert queue.arrive("two", ask(), 0.0) == "b"
    assert queue.arrive("waits for any", ask(), 0.0) is None
    assert queue.release("b", 0.0) == [("waits for any", "b")]
    assert queue.release("a", 0.0) == [("waits for a", "a")]


def test_among_those_who_can_move_the_first_come_is_the_first_served() -> None:
    queue = queue_of(a=1, b=1)
    queue.arrive("one", ask(A), 0.0)
    queue.arrive("two", ask(B), 0.0)
    for ticket, usable in (("b first", B), ("a first", A), ("any", None), ("b second", B)):
        assert queue.arrive(ticket, ask(usable), 0.0) is None
    assert queue.release("a", 0.0) == [("a first", "a")]
    assert queue.release("a", 0.0) == [("any", "a")]
    assert queue.release("b", 0.0) == [("b first", "b")]
    assert queue.release("b", 0.0) == [("b second", "b")]


def test_a_replica_that_may_not_be_used_coming_back_moves_nobody() -> None:
    queue = queue_of(a=1)
    queue.arrive("one", ask(), 0.0)
    queue.arrive("choosy", ask(B), 0.0)
    assert queue.release("a", 0.0) == []
    assert queue.set_lanes([("a", 1), ("c", 5)]) == []
    assert queue.set_lanes([("b", 1)]) == [("choosy", "b")]
    assert not queue.choosy, "nothing is left behind"


def test_what_may_be_used_can_change_while_a_ticket_waits() -> None:
    queue = queue_of(a=1, b=1)
    queue.arrive("one", ask(A), 0.0)
    queue.arrive("choosy", ask(A), 0.0)
    queue.allow("choosy", B)
    queue.allow("never there", B)
    assert queue.advance() == [("choosy", "b")]
    queue.arrive("again", ask(A), 0.0)
    queue.allow("again", None)
    assert queue.release("b", 0.0) == [("again", "b")]
    assert not queue.choosy


def test_one_who_gave_up_leaves_nothing_behind() -> None:
    queue = queue_of()
    queue.arrive("choosy", ask(A), 0.0)
    assert queue.leave("choosy")
    assert not queue.choosy
    assert queue.set_lanes([("a", 1)]) == []


def test_served_and_when_to_come_back_are_told_of_what_may_be_used() -> None:
    queue = queue_of(waiting_max=0, a=1, b=9)
    assert queue.is_served(B)
    assert not queue.is_served(frozenset("c"))
    queue.drain.held_s = 10.0
    assert queue.retry_after_s(A) > queue.retry_after_s(B) >= queue.retry_after_s()
    queue.arrive("one", ask(A), 0.0)
    full = queue.arrive("two", ask(A), 0.0)
    assert isinstance(full, Full)
    assert full.retry_after_s == 10


USABLE = st.none() | st.frozensets(st.sampled_from(NAMES), max_size=2)


class ChoosyMachine(RuleBasedStateMachine):
    """Beside the queue runs a plain account of who runs where, who waits, and what each may use."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = FairQueue(waiting_max=6)
        self.ready: dict[str, int] = {}
        self.running: dict[int, str] = {}
        self.line: dict[int, frozenset[str] | None] = {}
        self.tickets = 0

    def may(self, ticket: int, replica: str) -> bool:
        usable = self.line[ticket]
        return usable is None or replica in usable

    def moved(self, admitted: list[tuple[object, str]]) -> None:
        for one, replica in admitted:
            ticket = int(str(one))
            assert self.may(ticket, replica), "law 4: never where it may not run"
            before = list(self.line)[: list(self.line).index(ticket)]
            assert not any(self.may(other, replica) for other in before), "nobody is overtaken who could have moved"
            del self.line[ticket]
            self.begin(ticket, replica)

    def begin(self, ticket: int, replica: str) -> None:
        self.running[ticket] = replica
        assert replica in self.ready
        assert list(self.running.values()).count(replica) <= self.ready[replica]

    @rule(usable=USABLE)
    def arrive(self, usable: frozenset[str] | None) -> None:
        self.tickets += 1
        taken = self.queue.arrive(self.tickets, ask(usable), 0.0)
        if isinstance(taken, Full):
            assert len(self.line) == 6
        elif taken is None:
            self.line[self.tickets] = usable
        else:
            assert usable is None or taken in usable
            assert not any(self.may(other, taken) for other in self.line)
            self.begin(self.tickets, taken)

    @precondition(lambda self: self.running)
    @rule(which=st.integers(min_value=0))
    def finish(self, which: int) -> None:
        replica = self.running.pop(list(self.running)[which % len(self.running)])
        self.moved(self.queue.release(replica, 0.0))

    @precondition(lambda self: self.line)
    @rule(which=st.integers(min_value=0))
    def give_up(self, which: int) -> None:
        ticket = list(self.line)[which % len(self.line)]
        del self.line[ticket]
        assert self.queue.leave(ticket)

    @precondition(lambda self: self.line)
    @rule(which=st.integers(min_value=0), usable=USABLE)
    def policy_changes(self, which: int, usable: frozenset[str] | None) -> None:
        ticket = list(self.line)[which % len(self.line)]
        self.line[ticket] = usable
        self.queue.allow(ticket, usable)
        self.moved(self.queue.advance())

    @rule(ready=st.dictionaries(st.sampled_from(NAMES), st.integers(1, 2)))
    def replicas_change(self, ready: dict[str, int]) -> None:
        self.ready = ready
        self.moved(self.queue.set_lanes(ready.items()))

    @invariant()
    def nobody_waits_who_could_use_a_free_slot(self) -> None:
        running = list(self.running.values())
        free = [name for name, capacity in self.ready.items() if running.count(name) < capacity]
        assert not any(self.may(ticket, name) for ticket in self.line for name in free)

    @invariant()
    def the_queue_knows_who_waits_for_what(self) -> None:
        assert list(self.queue.waiting) == list(self.line)
        assert {ticket: one.usable for ticket, one in self.queue.waiting.items()} == self.line
        assert self.queue.choosy == sum(usable is not None for usable in self.line.values())


ChoosyMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestEveryOrderOfEvents = ChoosyMachine.TestCase
