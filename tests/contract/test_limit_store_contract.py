"""What every limit store does: limits are part of the access snapshot, leases never exceed, reports count once."""

import threading

import pytest

from fastness.core.limit import Limit, Metric, Scope
from fastness.core.tenant import Tenant
from fastness.store.limits import SqlLimitStore
from fastness.store.memory import MemoryStore
from fastness.store.memory_limits import MemoryLimitStore
from fastness.store.port import AccessStore, Conflict, LimitStore, Missing
from fastness.store.sql import SqlStore
from fastness.traffic.quota import Gateway, Grant, Line, Wish

DAY = 1_800_057_600
HEALTH = Limit(Scope("health"), requests_per_minute=60, tokens_per_day=1_000)
TIGHT = Limit(Scope("health", "key_1", "small"), concurrent=0)
TOKENS = ("tenant:health", Metric.TOKENS_PER_DAY, DAY)


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
def stores(request, url_in):
    if request.param == "memory":
        access = MemoryStore()
        yield access, MemoryLimitStore(access)
    else:
        access = SqlStore.open(url_in(request.param))
        yield access, SqlLimitStore(access.database)
    access.close()


@pytest.fixture
def access(stores) -> AccessStore:
    return stores[0]


@pytest.fixture
def store(stores) -> LimitStore:
    stores[1].put_limit(HEALTH)
    return stores[1]


def gateway(number: int = 0, sequence: int = 1, boot: str = "first", position: int = 0) -> Gateway:
    return Gateway(f"gateway-{number}", boot, sequence, position, DAY + 5)


def wish(hold: int, least: int = 0) -> Wish:
    return Wish(*TOKENS, hold, least)


def test_limits_are_in_the_access_snapshot_oldest_first_and_each_change_raises_the_version(store, access):
    store.put_limit(TIGHT)
    changed = Limit(HEALTH.scope, requests_per_day=5)
    store.put_limit(changed)
    assert access.access().limits == (changed, TIGHT)
    assert access.version() == 3
    assert store.remove_limit("tenant:health,key:key_1,model:small") == TIGHT
    assert access.access().limits == (changed,)
    access.add_tenant(Tenant("health", "Health", 1))
    assert access.version() == 5


def test_removing_what_is_not_there_is_missing_and_changes_nothing(store, access):
    with pytest.raises(Missing, match="tenant:nobody"):
        store.remove_limit("tenant:nobody")
    assert access.version() == 1


def test_what_is_leased_is_never_more_than_the_limit_and_a_wish_may_be_sent_twice(store):
    assert store.lease(gateway(), [wish(600)]) == (Grant(600, 0),)
    assert store.lease(gateway(sequence=2), [wish(600)]) == (Grant(600, 0),)
    assert store.lease(gateway(1), [wish(600, 300)]) == (Grant(300, 600),)
    assert store.lease(gateway(1, sequence=2), [wish(900, 900)]) == (Grant(400, 600),)
    assert store.lease(gateway(sequence=3), [wish(100)]) == (Grant(100, 400),), "it gives some back"
    assert store.lines(TOKENS) == (Line("gateway-0", "first", 0, 100, 0), Line("gateway-1", "first", 0, 400, 0))


def test_a_late_question_of_the_same_start_is_a_conflict(store):
    store.lease(gateway(sequence=5), [wish(10)])
    for sequence in (5, 4):
        with pytest.raises(Conflict, match="gateway-0"):
            store.lease(gateway(sequence=sequence), [wish(900)])
    assert store.lines(TOKENS)[0].held == 10


def test_what_has_no_limit_is_not_counted(store):
    other = Wish("tenant:other", Metric.TOKENS_PER_DAY, DAY, 77)
    unlimited = Wish("tenant:health", Metric.TOKENS_PER_MINUTE, DAY, 88)
    assert store.lease(gateway(), [other, unlimited]) == (Grant(77, 0), Grant(88, 0))
    assert store.lines(("tenant:other", Metric.TOKENS_PER_DAY, DAY)) == ()


def test_a_report_counts_once_and_only_from_where_it_is_counted_already(store):
    store.lease(gateway(position=40), [wish(10)])
    assert store.gateway("gateway-0") == gateway(position=40)
    assert not store.settle("gateway-0", 39, 50, {TOKENS: 1})
    assert store.settle("gateway-0", 40, 50, {TOKENS: 7})
    assert not store.settle("gateway-0", 40, 50, {TOKENS: 7}), "the same report again"
    assert store.settle("gateway-0", 50, 51, {TOKENS: 2})
    assert store.lines(TOKENS) == (Line("gateway-0", "first", 0, 10, 9),)
    assert not store.settle("gateway-9", 0, 1, {TOKENS: 1}), "nobody has heard of it"
    store.lease(gateway(sequence=9, position=0), [])
    assert store.gateway("gateway-0").position == 51, "a position moves with reports only"


def test_a_new_start_holds_nothing_and_what_the_former_one_used_stays_used(store):
    store.lease(gateway(), [wish(600)])
    store.settle("gateway-0", 0, 3, {TOKENS: 250})
    assert store.lease(gateway(boot="second"), [wish(5)]) == (Grant(5, 250),)
    assert store.lease(gateway(1), [wish(2_000, 745)]) == (Grant(745, 255),)
    assert store.lines(TOKENS)[0] == Line("gateway-0", "second", 250, 5, 250)


def test_what_was_used_before_any_lease_counts_as_well(store):
    store.lease(gateway(), [])
    store.settle("gateway-0", 0, 3, {TOKENS: 900})
    assert store.lease(gateway(sequence=2), [wish(500)]) == (Grant(100, 900),)


def test_old_windows_are_forgotten(store):
    minute = ("tenant:health", Metric.REQUESTS_PER_MINUTE, DAY)
    store.lease(gateway(), [wish(5), Wish(*minute, 5)])
    assert store.forget_uses([Metric.REQUESTS_PER_MINUTE], DAY) == 0
    assert store.forget_uses([Metric.REQUESTS_PER_MINUTE], DAY + 60) == 1
    assert store.lines(minute) == ()
    assert len(store.lines(TOKENS)) == 1
    assert [one.name for one in store.gateways()] == ["gateway-0"]


def test_gateways_that_ask_at_the_same_time_get_no_more_than_there_is(store):
    start, got = threading.Barrier(6), []

    def ask(number: int) -> None:
        start.wait()
        for sequence in range(1, 21):
            held = store.lease(gateway(number, sequence), [wish(sequence * 20, sequence * 20)])[0].held
        got.append(held)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(got) == 1_000
