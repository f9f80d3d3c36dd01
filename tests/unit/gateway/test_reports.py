"""What a gateway tells the control plane: true, at once where a drain waits for it, and gone when the gateway is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from random import Random

import msgspec
import pytest

from dying import Site, dying, told
from fastness.core.observation import DeploymentLoad, GatewayReport
from fastness.core.replica import ReplicaState
from fastness.gateway import reports
from fastness.gateway.reports import Reporter, report_of
from policed import Door, opened, run, until

CHAT = {"model": "small", "messages": [{"role": "user", "content": "hello there 12"}], "temperature": 0}


def read(path: Path) -> GatewayReport | None:
    return msgspec.json.decode(path.read_bytes(), type=GatewayReport) if path.exists() else None


@asynccontextmanager
async def reporting(door: Door) -> AsyncIterator[Path]:
    path = door.home / "load-gateway-0.json"
    reporter = Reporter(path, "gateway-0", door.gateway.routing, lambda: 7.0, door.gateway.log)
    keeping = asyncio.ensure_future(reporter.keep())
    try:
        yield path
    finally:
        keeping.cancel()
        await asyncio.wait([keeping])
    assert not path.exists()


def now(door: Door) -> GatewayReport:
    return report_of("gateway-0", door.gateway.routing, 7_000, asyncio.get_running_loop().time())


def load(door: Door, deployment: str = "small") -> DeploymentLoad:
    return next(one for one in now(door).loads if one.deployment == deployment)


def ask(door: Door, **fields: object) -> asyncio.Task[object]:
    return asyncio.ensure_future(door.send("/v1/chat/completions", CHAT | fields))


def test_a_report_says_who_runs_who_waits_and_since_when(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path) as door:
            for engine in door.engines.values():
                engine.busy = True
            asked = [ask(door) for _ in range(4)] + [ask(door, service_tier="flex")]
            await until(lambda: door.waiting == 3)
            await asyncio.sleep(0.01)
            told = load(door)
            assert (told.running, told.waiting + told.batch_waiting, told.asked) == (2, 3, 5)
            assert told.oldest_wait_s >= 0.01
            assert 0.0 < told.cache_part < 0.5
            assert dict(now(door).in_flight) == {"small-low": 1, "small-high": 1}
            for engine in door.engines.values():
                engine.free()
            for one in asked:
                await one
            told = load(door)
            assert (told.running, told.waiting, told.oldest_wait_s, told.cache_part) == (0, 0, 0.0, 0.0)
            assert [(one.revision, one.answered, one.failed, one.output_tokens) for one in told.revisions] == [
                (0, 5, 0, 5)
            ]
            assert now(door).in_flight == ()

    run(test)


def test_batches_are_told_apart_and_do_not_make_anybody_seem_to_wait_long(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path) as door:
            door.replicas = []
            door.publish()
            asked = asyncio.ensure_future(door.send("/v1/chat/completions", CHAT, "Fastness-Priority: batch"))
            await until(lambda: door.waiting == 1)
            told = load(door)
            assert (told.waiting, told.batch_waiting, told.oldest_wait_s) == (0, 1, 0.0)
            asked.cancel()

    run(test)


def test_a_drain_is_told_at_once_and_so_is_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reports, "PERIOD_S", 3_600.0)

    async def test() -> None:
        async with opened(tmp_path) as door, reporting(door) as path:
            await until(path.exists)
            door.engines["low"].busy = True
            door.replicas = [one for one in door.replicas if one.id == "small-low"]
            door.publish()
            asked = ask(door)
            await until(lambda: door.asked("low") == 1)
            door.replicas = [replace(door.replicas[0], state=ReplicaState.DRAINING)]
            door.publish()
            await until(lambda: (read(path) or now(door)).draining == ("small-low",))
            assert dict(read(path).in_flight) == {"small-low": 1}
            waits = ask(door)
            await until(lambda: door.waiting == 1)
            door.engines["low"].free()
            assert (await asked).status == 200
            await until(lambda: read(path).in_flight == ())
            assert read(path).draining == ("small-low",)
            assert door.asked("low") == 1, "it got something new"
            waits.cancel()

    run(test)


def test_a_replica_that_drains_is_told_of_though_nothing_was_ever_sent_there(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path) as door:
            stray = replace(door.replicas[0], id="elsewhere", deployment="nobody", state=ReplicaState.DRAINING)
            door.replicas.append(stray)
            door.publish()
            assert now(door).draining == ("elsewhere",)

    run(test)


def test_what_still_runs_for_a_removed_deployment_is_told(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path) as door:
            door.engines["low"].busy = door.engines["high"].busy = True
            asked = ask(door)
            await until(lambda: door.asked("low") + door.asked("high") == 1)
            del door.deployments["small"]
            door.publish()
            assert sum(dict(now(door).in_flight).values()) == 1
            for engine in door.engines.values():
                engine.free()
            assert (await asked).status == 200
            assert now(door).in_flight == ()
            door.publish()
            assert not door.gateway.routing._leaving

    run(test)


def test_a_question_that_takes_no_slot_counts_as_under_way(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path) as door:
            for engine in door.engines.values():
                engine.busy = True
            asked = ask(door, max_tokens=2_000)  # so much that the input must be counted
            await until(lambda: door.asked("low") + door.asked("high") == 1)
            assert sum(dict(now(door).in_flight).values()) == 1
            assert load(door).running == 0
            for engine in door.engines.values():
                engine.free()
            await asked
            assert now(door).in_flight == ()

    run(test)


def revised(site: Site) -> None:
    """Let the high replica be of the second revision."""
    site.door.replicas = [replace(one, revision=2 if one.node == "high" else 1) for one in site.door.replicas]
    site.door.publish()


def test_a_failure_counts_for_the_revision_that_failed_though_another_made_the_answer(tmp_path: Path) -> None:
    async def test() -> None:
        async with dying(tmp_path, circuit_failures=1_000) as site:
            revised(site)
            site.low.deaths, site.high.deaths = [10, None, 10, 10], [10, 10]
            for _ in range(8):
                told(await ask(site.door))
            old, new = load(site.door).revisions
            assert (old.revision, new.revision) == (1, 2)
            failed = (3 - site.low.deaths.count(10), 2 - len(site.high.deaths))
            assert (old.failed, new.failed) == failed
            assert sum(failed) > 2
            assert old.answered + new.answered == 8
            assert old.ttft_ms_sum >= 0
            assert old.output_tokens > old.answered

    run(test)


def test_a_request_that_every_revision_fails_on_speaks_against_none(tmp_path: Path) -> None:
    async def test() -> None:
        async with dying(tmp_path, *[-500] * 9, circuit_failures=1_000) as site:
            revised(site)
            assert (await ask(site.door)).status == 502
            assert all(one.failed == 0 for one in load(site.door).revisions)

    run(test)


@pytest.mark.parametrize("seed", range(8))
def test_nothing_is_under_way_once_all_is_over_however_it_ended(tmp_path: Path, seed: int) -> None:
    dice = Random(seed)

    async def test() -> None:
        async with dying(tmp_path, resume_timeout_s=0.2, queue_timeout_s=0.3, attempts_max=2) as site:
            door, asked = site.door, []
            for _ in range(40):
                for engine in (site.low, site.high):
                    if dice.random() < 0.4:
                        engine.deaths.append(dice.choice((0, 50, 300, 600, 900, -500, -400)))
                fields = {"stream": dice.random() < 0.7, "n": dice.choice((1, 1, 3))}
                asked.append(ask(door, **fields))
                if dice.random() < 0.3:
                    dice.choice(asked).cancel()
                if dice.random() < 0.3:
                    states = (ReplicaState.READY, ReplicaState.READY, ReplicaState.DRAINING, ReplicaState.BACKING_OFF)
                    door.replicas = [
                        replace(one, state=dice.choice(states), epoch=one.epoch + dice.choice((0, 1)))
                        for one in door.replicas
                    ]
                    door.publish()
                await asyncio.sleep(dice.choice((0, 0, 0.001, 0.005)))
            await asyncio.gather(*asked, return_exceptions=True)
            await until(lambda: not door.app._tasks)
            assert now(door).in_flight == ()
            assert load(door).waiting == load(door).running == 0

    run(test)


def test_a_disk_that_takes_no_report_harms_nobody_and_is_logged_once(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path) as door:
            path = tmp_path / "missing" / "load.json"
            reporter = Reporter(path, "gateway-0", door.gateway.routing, lambda: 7.0, door.gateway.log)
            keeping = asyncio.ensure_future(reporter.keep())
            await until(lambda: reporter._failed)
            assert (await ask(door)).status == 200
            keeping.cancel()

    run(test)
