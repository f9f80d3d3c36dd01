"""A second replica is asked when the first is late to begin: only where that is allowed, never at others' cost."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from dying import BEGINNING, Site, dying, told
from fastness.config import TrafficSettings
from fastness.core.policy import Action, Decision, Query
from fastness.core.replica import ReplicaState
from fastness.gateway.reports import report_of
from fastness.gateway.served import SEEN_MIN
from fastness.traffic.counters import cost
from policed import Rules, run, until

CHAT = {"model": "small", "messages": [{"role": "user", "content": "hello there 12"}], "temperature": 0}


class Forbidden(Rules):
    """A policy that permits everything but hedging."""

    def decide(self, query: Query) -> Decision:
        if query.action is Action.HEDGE:
            return Decision(False, "default-deny", "permission_denied", "a rule that permits hedge", "none does")
        return super().decide(query)


@asynccontextmanager
async def hedging(home: Path, *, allowed: bool = True, **traffic: Any) -> AsyncIterator[Site]:
    """Two replicas, of which the low one is asked first and is late until its event is set."""
    soon = {"hedge_after_min_s": 0.001, "hedge_after_max_s": 0.005}
    async with dying(home, **(soon | traffic)) as site:
        site.door.deployments["small"] = replace(site.door.deployments["small"], hedges=allowed)
        site.door.publish()
        site.low.late = asyncio.Event()
        try:
            yield site
            await until(lambda: not site.door.app._tasks)
            report = report_of("gateway-0", site.door.gateway.routing, 0, site.door.gateway.now())
            assert report.in_flight == ()
        finally:
            site.low.late.set()
            if site.high.late:
                site.high.late.set()


def ask(site: Site, *headers: str, **fields: Any) -> asyncio.Task[Any]:
    body = CHAT | {"stream": True, "stream_options": {"include_usage": True}} | fields
    return asyncio.ensure_future(site.door.send("/v1/chat/completions", body, *headers))


def charged(site: Site) -> float:
    served = site.door.gateway.routing.find("small")
    assert served
    account = served.queue.counters.find("health")
    assert account
    assert account.pending == 0
    return account.counter


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
def test_the_second_answers_where_the_first_is_late_and_the_first_is_told_to_stop(tmp_path, stream) -> None:
    async def test() -> None:
        async with hedging(tmp_path) as site:
            heard = told(await ask(site, stream=stream, stream_options=None if not stream else {"include_usage": True}))
            assert heard.finishes == ("stop",)
            (entry,) = site.door.entries()
            assert (entry["replica"], entry["hedged"]) == ("small-high", 1)
            assert "retried" not in entry
            await until(lambda: site.low.left == 1)
            assert charged(site) == cost(heard.usage["prompt_tokens"], heard.usage["completion_tokens"], 1.0)
            served = site.door.gateway.routing.find("small")
            assert served
            assert [one.answered for one in served.tallies.values()] == [1]

    run(test)


def test_the_first_answers_if_it_begins_before_the_second(tmp_path: Path) -> None:
    async def test() -> None:
        async with hedging(tmp_path) as site:
            site.high.late = asyncio.Event()
            asked = ask(site)
            await until(lambda: len(site.high.asked) == 1)
            assert site.low.late
            site.low.late.set()
            heard = told(await asked)
            (entry,) = site.door.entries()
            assert (entry["replica"], entry["hedged"]) == ("small-low", 1)
            await until(lambda: site.high.left == 1)
            assert charged(site) == cost(heard.usage["prompt_tokens"], heard.usage["completion_tokens"], 1.0)

    run(test)


def test_an_explanation_shows_both_choices(tmp_path: Path) -> None:
    async def test() -> None:
        async with hedging(tmp_path) as site:
            told(await ask(site))
            first, second = [one.document() for one in site.door.gateway.routing.explanations.of("req_1")]
            assert (first["replica"], first["hedged"]) == ("small-low", False)
            assert (second["replica"], second["hedged"]) == ("small-high", True)
            assert json.dumps(second)

    run(test)


async def nobody_else_is_asked(site: Site, *headers: str) -> None:
    """Ask, wait until the second replica would have been asked, and see that it was not."""
    asked = ask(site, *headers)
    await until(lambda: len(site.low.asked) >= 1)
    await asyncio.sleep(0.03)  # ten times as long as it takes to be late
    assert not site.high.asked
    assert site.low.late
    site.low.late.set()
    told(await asked)
    assert all("hedged" not in one for one in site.door.entries())


def test_nobody_is_asked_twice_where_the_deployment_does_not_say_so(tmp_path: Path) -> None:
    async def test() -> None:
        async with hedging(tmp_path, allowed=False) as site:
            await nobody_else_is_asked(site)

    run(test)


def test_nobody_is_asked_twice_where_policy_does_not_permit_it(tmp_path: Path) -> None:
    async def test() -> None:
        async with hedging(tmp_path) as site:
            site.door.enforce(Forbidden())
            await nobody_else_is_asked(site)

    run(test)


def test_nobody_is_asked_twice_for_a_batch(tmp_path: Path) -> None:
    async def test() -> None:
        async with hedging(tmp_path) as site:
            await nobody_else_is_asked(site, "Fastness-Priority: batch")

    run(test)


def test_nobody_is_asked_twice_beyond_the_budget_of_retries(tmp_path: Path) -> None:
    async def test() -> None:
        async with hedging(tmp_path, retry_burst=0, retry_floor_per_s=0.0) as site:
            await nobody_else_is_asked(site)

    run(test)


def test_nobody_is_asked_twice_on_a_replica_that_drains_or_is_not_cleared(tmp_path: Path) -> None:
    async def test() -> None:
        async with hedging(tmp_path) as site:
            door = site.door
            door.replicas = [
                replace(one, state=ReplicaState.DRAINING if one.node == "high" else one.state) for one in door.replicas
            ]
            door.publish()
            await nobody_else_is_asked(site)

    run(test)


def test_nobody_is_asked_twice_while_somebody_waits(tmp_path: Path) -> None:
    async def test() -> None:
        async with hedging(tmp_path, hedge_after_min_s=0.02, hedge_after_max_s=0.02) as site:
            door = site.door
            door.replicas = [replace(one, slots=1) for one in door.replicas]
            door.publish()
            site.high.late = asyncio.Event()
            asked = [ask(site) for _ in range(3)]
            await until(lambda: door.waiting == 1)
            await asyncio.sleep(0.05)
            assert len(site.low.asked) + len(site.high.asked) == 2
            assert site.low.late
            site.low.late.set()
            site.high.late.set()
            for one in asked:
                told(await one)

    run(test)


def test_a_second_that_fails_before_it_begins_harms_nobody(tmp_path: Path) -> None:
    async def test() -> None:
        async with hedging(tmp_path) as site:
            site.high.deaths = [0]
            asked = ask(site)
            await until(lambda: bool(site.high.asked))
            await asyncio.sleep(0.01)
            assert site.low.late
            site.low.late.set()
            told(await asked)
            (entry,) = site.door.entries()
            assert entry["replica"] == "small-low"
            assert "retried" not in entry

    run(test)


def test_a_second_that_won_and_dies_is_gone_on_with_elsewhere(tmp_path: Path) -> None:
    async def test() -> None:
        async with hedging(tmp_path) as site:
            undisturbed = told(await ask(site))
            site.high.deaths = [BEGINNING]
            asked = ask(site)
            await until(lambda: len(site.high.asked) >= 2)
            assert site.low.late
            site.low.late.set()
            heard = told(await asked)
            assert heard.texts == undisturbed.texts
            assert heard.usage == undisturbed.usage
            entry = site.door.entries()[-1]
            assert (entry["hedged"], entry["resumed"]) == (1, 1)

    run(test)


def test_who_leaves_in_the_middle_of_a_race_stops_both(tmp_path: Path) -> None:
    async def test() -> None:
        async with hedging(tmp_path) as site:
            site.high.late = asyncio.Event()
            asked = ask(site)
            await until(lambda: bool(site.high.asked))
            asked.cancel()
            await until(lambda: site.low.left == site.high.left == 1)

    run(test)


@pytest.mark.parametrize("seed", range(6))
def test_whatever_dies_in_a_race_answers_are_whole_and_nothing_stays_under_way(tmp_path: Path, seed: int) -> None:
    dice = Random(seed)

    async def test() -> None:
        async with hedging(tmp_path, attempts_max=9, circuit_failures=1_000) as site:
            assert site.low.late
            site.low.late.set()
            expected = told(await ask(site)).texts
            for _ in range(30):
                for engine in (site.low, site.high):
                    engine.late = asyncio.Event()
                    asyncio.get_running_loop().call_later(dice.choice((0, 0.003, 0.01)), engine.late.set)
                    engine.deaths = [dice.choice((None, None, 0, 300, 700, 900)) for _ in range(2)]
                asked = ask(site, n=dice.choice((1, 1, 2)))
                if dice.random() < 0.2:
                    await asyncio.sleep(dice.choice((0, 0.004)))
                    asked.cancel()
                    continue
                assert set(told(await asked).texts) == set(expected)

    run(test)


def test_what_is_late_is_told_by_the_95th_percentile_within_bounds(tmp_path: Path) -> None:
    async def test() -> None:
        async with hedging(tmp_path) as site:
            served = site.door.gateway.routing.find("small")
            assert served
            bounds = TrafficSettings(hedge_after_min_s=0.1, hedge_after_max_s=3.0)
            assert served.late_s(bounds) == 3.0, "little is known yet"
            served.first_s.extend([0.5] * (SEEN_MIN - 1) + [2.0])
            assert served.late_s(bounds) == 2.0
            served.first_s.extend([0.5] * 20)
            assert served.late_s(bounds) == 0.5
            served.first_s.extend([0.001] * 128)
            assert served.late_s(bounds) == 0.1

    run(test)
