"""Several gateways, one limit, any order of events: never more than the limit, and each answer counted once.

A gateway here is the real `Limits`; control is the real store in memory; a ledger is a list that outlives its gateway.
"""

from __future__ import annotations

import itertools

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from fastness.core.limit import Limit, Metric, Scope
from fastness.store.memory import MemoryStore
from fastness.store.memory_limits import MemoryLimitStore
from fastness.store.port import Use
from fastness.traffic.limits import RENEW_S, Limits, Reservation
from fastness.traffic.meter import Meter
from fastness.traffic.quota import Gateway

SCOPE = Scope("health")
BOUNDS = {
    Metric.REQUESTS_PER_MINUTE: 7,
    Metric.TOKENS_PER_MINUTE: 100,
    Metric.REQUESTS_PER_DAY: 20,
    Metric.TOKENS_PER_DAY: 250,
    Metric.CONCURRENT: 3,
}
LIMIT = Limit(SCOPE, **{metric.value: bound for metric, bound in BOUNDS.items()})
GATEWAYS = ("gateway-0", "gateway-1", "gateway-2")
MIDNIGHT_S = 1_800_057_600


class One:
    """A gateway process; `ledger` is handed on to its next start."""

    boots = itertools.count()

    def __init__(self, name: str, ledger: list[tuple[int, int]], now_s: float) -> None:
        self.name, self.ledger, self.boot = name, ledger, f"boot-{next(One.boots)}"
        self.limits, self.sequence = Limits(), 0
        self.limits.replace((LIMIT,), now_s)
        self.running: list[Reservation] = []


class Sharing(RuleBasedStateMachine):
    gateways: Bundle[str] = Bundle("gateways")

    def __init__(self) -> None:
        super().__init__()
        self.now_s = MIDNIGHT_S - 90.0
        self.access = MemoryStore()
        self.store = MemoryLimitStore(self.access)
        self.store.put_limit(LIMIT)
        self.world = {name: One(name, [], self.now_s) for name in GATEWAYS}

    @initialize(target=gateways)
    def first(self) -> str:
        return GATEWAYS[0]

    @rule(target=gateways, name=st.sampled_from(GATEWAYS[1:]))
    def further(self, name: str) -> str:
        return name

    @rule(name=gateways, tokens=st.integers(0, 40), lost=st.booleans())
    def arrive(self, name: str, tokens: int, lost: bool) -> None:
        one = self.world[name]
        meters = one.limits.of("health", "key_1", "small")
        taken = one.limits.take(meters, tokens, self.now_s)
        if isinstance(taken, Meter):
            lacking = one.limits.lacking(meters, tokens, self.now_s)
            for meter, need in lacking:
                meter.asked += need
            self.exchange(one, lost=lost)
            for meter, need in lacking:
                meter.asked -= need
            taken = one.limits.take(meters, tokens, self.now_s)
        if isinstance(taken, Reservation):
            one.running.append(taken)

    @rule(name=gateways, lost=st.booleans())
    def tick(self, name: str, lost: bool) -> None:
        self.exchange(self.world[name], lost=lost)

    @rule(name=gateways, share=st.floats(0, 1), refused=st.booleans())
    def end(self, name: str, share: float, refused: bool) -> None:
        one = self.world[name]
        if not one.running:
            return
        reservation = one.running.pop(0)
        tokens = None if refused else int(reservation.tokens * share)
        if tokens is not None:
            one.ledger.append((int(reservation.at_s), tokens))
        one.limits.settle(reservation, tokens)

    @rule(name=gateways)
    def kill(self, name: str) -> None:
        self.world[name] = One(name, self.world[name].ledger, self.now_s)

    @rule(name=gateways, replays=st.integers(0, 2))
    def count(self, name: str, replays: int) -> None:
        known = self.store.gateway(name)
        if known is None:
            return
        entries = self.world[name].ledger
        uses: dict[Use, int] = {}
        for at_s, tokens in entries[known.position :]:
            for metric in BOUNDS:
                if metric.period_s:
                    use = (SCOPE.id, metric, metric.window_s(at_s))
                    uses[use] = uses.get(use, 0) + (tokens if metric.counts_tokens else 1)
        assert self.store.settle(name, known.position, len(entries), uses)
        for _ in range(replays if len(entries) > known.position else 0):
            assert not self.store.settle(name, known.position, len(entries), uses), "an old report changes nothing"

    @rule(seconds=st.one_of(st.floats(0.1, 20), st.just(3.0)))
    def wait(self, seconds: float) -> None:
        """Time passes, and gateways with something running renew what they hold, as they do by themselves."""
        while seconds > 0:
            self.now_s += min(seconds, RENEW_S - 1)
            seconds -= RENEW_S - 1
            for one in self.world.values():
                if one.running:
                    self.exchange(one, lost=False)

    def exchange(self, one: One, *, lost: bool) -> None:
        wishes = one.limits.wishes(self.now_s)
        one.sequence += 1
        known = self.store.gateway(one.name)
        if known is None or known.boot != one.boot:
            self.count(one.name, 0)
        position = len(one.ledger) if known is None else known.position
        gateway = Gateway(one.name, one.boot, one.sequence, position, int(self.now_s))
        grants = self.store.lease(gateway, [wish for _, wish in wishes])
        if not lost:
            for (meter, wish), grant in zip(wishes, grants, strict=True):
                one.limits.granted(meter, wish, grant, self.now_s)

    @invariant()
    def never_more_than_the_limit(self) -> None:
        for metric, bound in BOUNDS.items():
            window_s = metric.window_s(self.now_s)
            total = 0
            for one in self.world.values():
                if not metric.period_s:
                    total += len(one.running)
                    continue
                entries = [entry for entry in one.ledger if metric.window_s(entry[0]) == window_s]
                running = [run for run in one.running if metric.window_s(run.at_s) == window_s]
                if metric.counts_tokens:
                    total += sum(tokens for _, tokens in entries) + sum(run.tokens for run in running)
                else:
                    total += len(entries) + len(running)
            assert total <= bound, metric

    @invariant()
    def what_is_told_is_never_more_than_what_is_left(self) -> None:
        for metric, bound in BOUNDS.items():
            for one in self.world.values():
                for meter in one.limits.about("health", "key_1"):
                    if meter.metric is metric and meter.until_s > self.now_s:
                        assert meter.taken >= 0, metric
                        assert meter.taken <= max(meter.held, meter.taken)
                        assert meter.left <= bound - meter.taken

    def teardown(self) -> None:
        for name in self.world:
            self.count(name, 1)
        for metric in BOUNDS:
            for window_s in {metric.window_s(at_s) for one in self.world.values() for at_s, _ in one.ledger}:
                if not metric.period_s:
                    continue
                lines = {line.gateway: line.used for line in self.store.lines((SCOPE.id, metric, window_s))}
                for name, one in self.world.items():
                    found = [tokens for at_s, tokens in one.ledger if metric.window_s(at_s) == window_s]
                    if self.store.gateway(name):
                        assert lines.get(name, 0) == (sum(found) if metric.counts_tokens else len(found))


TestSharing = Sharing.TestCase
TestSharing.settings = settings(max_examples=100, stateful_step_count=50, deadline=None)
