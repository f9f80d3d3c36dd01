"""Tenants, bands, choosy tickets, prompts not read yet, deadlines: every order of events, against an account.

The account is plain: who waits, who runs where, whose prompt is not read. After each event it is compared.
"""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from fastness.traffic.fair_queue import Ask, Band, FairQueue, Full

NAMES = ("a", "b", "c")
SHARES = {"health": 4.0, "tax": 1.0, "works": 0.5}
WAITING_MAX, UNREAD_MAX = 12, 100
USABLE = st.none() | st.frozensets(st.sampled_from(NAMES), max_size=2)
PICK = st.integers(min_value=0)


class TenantMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.queue = FairQueue(WAITING_MAX, tenant_part=0.5, unread_max=UNREAD_MAX)
        self.ready: dict[str, int] = {}
        self.line: dict[int, Ask] = {}
        self.running: dict[int, tuple[str, Ask]] = {}
        self.unread: set[int] = set()
        self.tickets = self.ended = 0
        self.now_s = 0.0

    def may(self, ticket: int, replica: str) -> bool:
        usable = self.line[ticket].usable
        return usable is None or replica in usable

    def has_room(self, replica: str) -> bool:
        here = [ticket for ticket, (where, _) in self.running.items() if where == replica]
        unread = sum(self.running[ticket][1].input_tokens for ticket in here if ticket in self.unread)
        return len(here) < self.ready.get(replica, 0) and unread < UNREAD_MAX

    def begin(self, ticket: int, replica: str, ask: Ask) -> None:
        assert self.has_room(replica), "laws 7 and 8: only what is ready and has room gets work"
        self.running[ticket] = replica, ask
        self.unread.add(ticket)

    def moved(self, admitted: list[tuple[object, str]]) -> None:
        for one, replica in admitted:
            ticket = int(str(one))
            assert self.may(ticket, replica), "law 4: never where it may not run"
            ask = self.line[ticket]
            rivals = [other for other in self.line if other != ticket and self.may(other, replica)]
            if ask.band is Band.BATCH:
                assert all(self.line[other].band is Band.BATCH for other in rivals), "batches come last"
            own = [(self.line[other].band, other) for other in rivals if self.line[other].tenant == ask.tenant]
            assert all((ask.band, ticket) < other for other in own), "by band, then first come, first served"
            del self.line[ticket]
            self.begin(ticket, replica, ask)

    @rule(tenant=st.sampled_from(sorted(SHARES)), band=st.sampled_from(Band), usable=USABLE,
          tokens=st.tuples(st.integers(1, 150), st.integers(1, 150)), patience_s=st.floats(0, 20))  # fmt: skip
    def arrive(
        self, tenant: str, band: Band, usable: frozenset[str] | None, tokens: tuple[int, int], patience_s: float
    ) -> None:
        self.tickets += 1
        ask = Ask(tenant, SHARES[tenant], band, *tokens, self.now_s + patience_s, usable)
        taken = self.queue.arrive(self.tickets, ask, self.now_s)
        if isinstance(taken, Full):
            own = sum(one.tenant == tenant for one in self.line.values())
            assert taken.waiting == (len(self.line) if taken.tenant is None else own)
            assert len(self.line) == WAITING_MAX or own > 0
            assert 1 <= taken.retry_after_s <= 60
            self.ended += 1
        elif taken is None:
            self.line[self.tickets] = ask
        else:
            assert usable is None or taken in usable
            assert not any(self.may(other, taken) for other in self.line), "nobody is overtaken"
            self.begin(self.tickets, taken, ask)

    @precondition(lambda self: self.unread)
    @rule(which=PICK)
    def a_prompt_is_read(self, which: int) -> None:
        ticket = sorted(self.unread)[which % len(self.unread)]
        self.unread.remove(ticket)
        self.moved(self.queue.read(*self.running[ticket]))

    @precondition(lambda self: self.running)
    @rule(which=PICK, real=st.none() | st.tuples(st.integers(0, 300), st.integers(0, 300)))
    def finish(self, which: int, real: tuple[int, int] | None) -> None:
        ticket = list(self.running)[which % len(self.running)]
        replica, ask = self.running.pop(ticket)
        unread = ticket in self.unread
        self.unread.discard(ticket)
        self.ended += 1
        if real is not None:
            self.queue.settle(ask.tenant, ask, *real)
        self.moved(self.queue.release(replica, self.now_s, 1.0, ask, unread))

    @precondition(lambda self: self.line)
    @rule(which=PICK)
    def give_up(self, which: int) -> None:
        ticket = list(self.line)[which % len(self.line)]
        del self.line[ticket]
        self.ended += 1
        assert self.queue.leave(ticket)

    @rule(passed_s=st.floats(0, 15))
    def time_passes(self, passed_s: float) -> None:
        self.now_s += passed_s
        late = {ticket for ticket, ask in self.line.items() if ask.deadline_s <= self.now_s}
        assert set(self.queue.expire(self.now_s)) == late
        for ticket in late:
            del self.line[ticket]
        self.ended += len(late)

    @precondition(lambda self: self.line)
    @rule(which=PICK, usable=USABLE)
    def policy_changes(self, which: int, usable: frozenset[str] | None) -> None:
        ticket = list(self.line)[which % len(self.line)]
        self.line[ticket] = self.line[ticket]._replace(usable=usable)
        self.queue.allow(ticket, usable)
        self.moved(self.queue.advance())

    @rule(ready=st.dictionaries(st.sampled_from(NAMES), st.integers(1, 3)))
    def replicas_change(self, ready: dict[str, int]) -> None:
        self.ready = ready
        self.moved(self.queue.set_lanes(ready.items()))

    @rule(replica=st.sampled_from(NAMES))
    def a_replica_cannot_be_reached(self, replica: str) -> None:
        self.ready.pop(replica, None)
        self.queue.close(replica)

    @invariant()
    def nobody_waits_who_could_use_a_free_slot(self) -> None:
        free = [name for name in self.ready if self.has_room(name)]
        assert not any(self.may(ticket, name) for ticket in self.line for name in free), "work-conserving"

    @invariant()
    def the_queue_knows_who_waits_and_what_runs(self) -> None:
        assert set(self.queue.waiting) == set(self.line)
        assert self.queue.choosy == sum(ask.usable is not None for ask in self.line.values())
        assert self.queue.waiting_by_band() == tuple(
            sum(ask.band is band for ask in self.line.values()) for band in Band
        )
        for name, lane in self.queue.lanes.items():
            here = {ticket: ask for ticket, (where, ask) in self.running.items() if where == name}
            assert lane.in_flight == len(here)
            assert lane.unread == sum(ask.input_tokens for ticket, ask in here.items() if ticket in self.unread)
        assert len(self.line) + len(self.running) + self.ended == self.tickets, "no ticket is lost or doubled"

    @invariant()
    def what_is_estimate_yet_is_what_runs(self) -> None:
        for tenant in SHARES:
            account = self.queue.counters.find(tenant)
            running = any(ask.tenant == tenant for _, ask in self.running.values())
            assert account is None or running or abs(account.pending) < 1e-6

    def teardown(self) -> None:
        """What runs can finish, what waits can run: nobody starves."""
        for ticket in self.line:
            self.line[ticket] = self.line[ticket]._replace(usable=None)
            self.queue.allow(ticket, None)
        self.replicas_change({"a": 1})
        while self.running:
            self.finish(0, None)
        assert not self.line
        assert set(self.queue.lanes) == {"a"}


TenantMachine.TestCase.settings = settings(max_examples=120, stateful_step_count=40, deadline=None)
TestEveryOrderOfEvents = TenantMachine.TestCase
