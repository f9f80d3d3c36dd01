"""Limits with real processes: a kill forgets nothing and counts nothing twice, and gateways share without overshoot."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from fastness.engines.fake.behaviour import Behaviour
from limits_world import Load, World, day_left_s, until, world

pytestmark = pytest.mark.slow
MANY = 10**9
ROUNDS = 3
ASK = {"model": "small", "messages": [{"role": "user", "content": "x"}]}


@pytest.fixture(autouse=True)
def _enough_of_the_day() -> None:
    if day_left_s() < 90:
        time.sleep(day_left_s() + 1)  # the day's counters would begin anew within the test


def prepared(made: World, **bounds: int) -> str:
    """Start control and an engine, make a tenant with limits, and return the text of its key."""
    made.start_control()
    made.start_engine(Behaviour(answer_tokens=12, token_ms=1.0))
    made.post("/tenants", {"id": "health"})
    key = made.post("/keys", {"tenant": "health", "name": "load"})["key"]
    made.post("/limits", {"tenant": "health", **bounds})
    return str(key)


def test_gateways_that_are_killed_under_load_leave_counters_that_equal_the_ledgers_sum(tmp_path: Path) -> None:
    with world(tmp_path) as made:
        key = prepared(made, requests_per_day=MANY, tokens_per_day=MANY, concurrent=64)
        gateway = made.start_gateway()
        before = (0, 0)
        for _ in range(ROUNDS):
            load = Load(made, key, ("gateway-0",))
            until(lambda load=load: load.statuses[200] >= 30, "answers come")
            load.stop()
            gateway.kill()  # requests are on their way, streams half sent
            gateway.wait()
            recorded = made.recorded("gateway-0")
            assert recorded > before
            before = recorded
            gateway = made.start_gateway()  # on the same listener: who waits there is answered
            load.end()
        before = made.recorded("gateway-0")
        assert made.ask("gateway-0", key, body=ASK)[0] == 200
        until(lambda: made.recorded("gateway-0")[0] == before[0] + 1, "it is recorded")
        requests, tokens = made.recorded("gateway-0")
        used = made.usage()
        assert used["tenant:health", "requests_per_day"]["used"] == requests
        assert used["tenant:health", "tokens_per_day"]["used"] == tokens
        _, headers, _ = made.ask("gateway-0", key, body=ASK)
        assert int(headers["x-ratelimit-remaining-requests"]) == MANY - requests - 1, "the new start goes on from there"


def test_control_that_is_killed_under_load_counts_on_from_where_it_was(tmp_path: Path) -> None:
    with world(tmp_path) as made:
        key = prepared(made, requests_per_day=MANY, tokens_per_day=MANY)
        made.start_gateway()
        load = Load(made, key, ("gateway-0",))
        for _ in range(ROUNDS):
            answered = load.statuses[200]
            until(lambda answered=answered: load.statuses[200] >= answered + 20, "answers come")
            control = next(one for one in made.processes if one.args[-1] == "control" and one.poll() is None)
            control.kill()
            control.wait()
            made.start_control()
        load.end()
        assert set(load.statuses) == {200}, "serving goes on"
        requests, tokens = made.recorded("gateway-0")
        used = made.usage()
        assert used["tenant:health", "requests_per_day"]["used"] == requests == load.statuses[200]
        assert used["tenant:health", "tokens_per_day"]["used"] == tokens


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest) -> str:
    """The setting: SQLite in the home, or a database of a real PostgreSQL."""
    return "" if request.param == "sqlite" else str(request.getfixturevalue("postgresql").new())


def test_two_gateways_share_a_limit_and_all_of_it_is_used_and_no_more(tmp_path: Path, store_url: str) -> None:
    with world(tmp_path, store_url) as made:
        key = prepared(made, requests_per_day=150)
        names = ("gateway-0", "gateway-1")
        for name in names:
            made.start_gateway(name)
        load = Load(made, key, names, threads=8)
        load.until_all_refuse(names)
        load.end()
        assert load.statuses[200] <= 150
        assert made.recorded(*names)[0] == load.statuses[200]
        assert load.statuses[200] >= 145, "hardly any of it lies idle at the other gateway"
        assert made.usage()["tenant:health", "requests_per_day"]["used"] == load.statuses[200]
        assert min(made.recorded(name)[0] for name in names) >= 20


def test_of_two_gateways_either_is_killed_and_a_limit_is_neither_lost_nor_doubled(
    tmp_path: Path, store_url: str
) -> None:
    """What it spent is counted from its ledger; what it held beyond that comes back with its next start."""
    limit = 600
    with world(tmp_path, store_url) as made:
        key = prepared(made, requests_per_day=limit, concurrent=64)
        names = ("gateway-0", "gateway-1")
        gateways = {name: made.start_gateway(name) for name in names}
        load = Load(made, key, names, threads=8)
        try:
            for killed, answered in zip((*names, *names), (60, 140, 220, 300), strict=True):
                until(lambda answered=answered: load.statuses[200] >= answered, f"{answered} answers came", 60)
                gateways[killed].kill()
                gateways[killed].wait()
                gateways[killed] = made.start_gateway(killed)
            load.until_all_refuse(names)
        finally:
            load.end()
        requests, _ = made.recorded(*names)
        assert load.statuses[200] <= requests <= limit, "what was cut off by a kill may be in the ledger, never beyond"
        assert requests >= limit - 8, "nothing of it was lost with a gateway"
        used = made.usage()["tenant:health", "requests_per_day"]
        assert used["used"] == requests
