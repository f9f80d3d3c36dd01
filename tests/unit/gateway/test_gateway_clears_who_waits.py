"""Law 4 while a request waits: what it is cleared for is asked anew whenever policy, nodes or keys change."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from fastness.core.replica import ReplicaState
from fastness.core.tenant import Principal
from policed import ANN, CLOSED, HIGH, LOW, OPEN, Rules, opened, run, until

BOB = Principal("key_bob", "works", frozenset({"developer"}))


def test_who_waits_for_a_cleared_replica_does_not_get_another(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path) as door:
            door.engines["high"].busy = True
            first = asyncio.create_task(door.chat("CLOSED"))
            await until(lambda: door.asked("high") == 1)
            second = asyncio.create_task(door.chat("CLOSED"))
            await until(lambda: door.waiting == 1)
            assert (await door.chat("OPEN")).status == 200, "who may use the free replica passes"
            assert door.waiting == 1
            door.engines["high"].free()
            assert (await first).status == (await second).status == 200
            assert (door.asked("low"), door.asked("high")) == (1, 2)

    run(test)


def test_when_the_last_cleared_replica_goes_who_waits_is_refused_in_time(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path, queue_timeout_s=0.2) as door:
            door.replicas = [replace(one, state=ReplicaState.BACKING_OFF) if one.node == "high" else one
                             for one in door.replicas]  # fmt: skip
            door.publish()
            answer = await door.chat("CLOSED")
            assert (answer.status, answer.code) == (503, "no_replica_ready")
            assert "small-high is backing_off" in answer.error["message"]
            assert "small-low" not in answer.error["message"]
            assert door.asked("low") == 0

    run(test)


def test_a_policy_that_changes_decides_about_those_who_wait(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path) as door:
            door.engines["high"].busy = True
            first = asyncio.create_task(door.chat("CLOSED"))
            await until(lambda: door.asked("high") == 1)
            second = asyncio.create_task(door.chat("CLOSED", logit_bias={"1": 1}))
            await until(lambda: door.waiting == 1)
            door.enforce(Rules(denies="logit_bias"))
            answer = await second
            assert (answer.status, answer.code) == (403, "parameter_not_allowed"), "at once, not when a slot is free"
            assert door.waiting == 0
            door.engines["high"].free()
            assert (await first).status == 200, "what had its slot goes on"
            assert door.asked("high") == 1

    run(test)


def test_a_policy_withdrawn_refuses_those_who_wait(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path) as door:
            door.engines["high"].busy = True
            first = asyncio.create_task(door.chat("CLOSED"))
            await until(lambda: door.asked("high") == 1)
            second = asyncio.create_task(door.chat("CLOSED"))
            await until(lambda: door.waiting == 1)
            door.enforce(None)
            assert (await second).code == "policy_unavailable"
            door.engines["high"].free()
            await first

    run(test)


def test_a_node_whose_ceiling_falls_takes_none_of_those_who_wait_for_it(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path) as door:
            door.engines["high"].busy = True
            first = asyncio.create_task(door.chat("CLOSED"))
            await until(lambda: door.asked("high") == 1)
            second = asyncio.create_task(door.chat("CLOSED"))
            await until(lambda: door.waiting == 1)
            door.nodes = [LOW, replace(HIGH, ceiling=OPEN)]
            door.publish()
            assert (await second).code == "marking_not_cleared"
            door.engines["high"].free()
            await first
            assert door.asked("high") == 1

    run(test)


def test_a_node_whose_ceiling_rises_takes_those_who_wait(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path) as door:
            door.engines["high"].busy = True
            first = asyncio.create_task(door.chat("CLOSED"))
            await until(lambda: door.asked("high") == 1)
            second = asyncio.create_task(door.chat("CLOSED"))
            await until(lambda: door.waiting == 1)
            door.nodes = [replace(LOW, ceiling=CLOSED), HIGH]
            door.publish()
            assert (await second).status == 200
            assert door.asked("low") == 1
            door.engines["high"].free()
            await first

    run(test)


@pytest.mark.parametrize("change", ["policy", "no policy", "ceiling", "node unnamed", "replica gone"])
def test_a_slot_given_before_a_change_and_taken_after_it_is_not_used(tmp_path: Path, change: str) -> None:
    """The slot is given in one turn of the loop and taken in the next; the change comes in between."""

    async def test() -> None:
        async with opened(tmp_path) as door:
            served = door.gateway.routing.find("small")
            assert served
            door.engines["high"].busy = True
            first = asyncio.create_task(door.chat("CLOSED"))
            await until(lambda: door.asked("high") == 1)
            second = asyncio.create_task(door.chat("CLOSED", seed=1))
            await until(lambda: door.waiting == 1)
            served.queue.lanes["small-high"].capacity += 1
            served.wake(served.queue.advance())
            if change == "policy":
                door.enforce(Rules(denies="seed"))
            elif change == "no policy":
                door.enforce(None)
            elif change == "replica gone":
                door.replicas = [one for one in door.replicas if one.node == "low"]
                door.publish()
            else:
                door.nodes = [LOW] if change == "node unnamed" else [LOW, replace(HIGH, ceiling=OPEN)]
                door.publish()
            answer = await second
            assert answer.status in (403, 503)
            assert door.asked("high") == 1
            assert door.asked("low") == 0
            door.engines["high"].free()
            await first
            lane = served.queue.lanes.get("small-high")
            assert lane is None or lane.in_flight == 0, "the slot was given back"

    run(test)


@pytest.mark.parametrize("change", ["clearance lowered", "key revoked"])
def test_who_waits_is_recognised_anew_when_tenants_or_keys_change(tmp_path: Path, change: str) -> None:
    async def test() -> None:
        async with opened(tmp_path, ANN, replace(ANN, id="key_eve")) as door:
            door.engines["high"].busy = True
            first = asyncio.create_task(door.chat("CLOSED"))
            await until(lambda: door.asked("high") == 1)
            both = [asyncio.create_task(door.chat("CLOSED", key=key)) for key in ("eve", "ann", "eve")]
            await until(lambda: door.waiting == 3)
            if change == "key revoked":
                del door.keys.known["eve"]
            else:
                door.keys.known["eve"] = replace(ANN, id="key_eve", tenant_clearance=OPEN)
            door.gateway.access_changed()
            code = "invalid_api_key" if change == "key revoked" else "marking_not_cleared"
            assert (await both[0]).code == (await both[2]).code == code
            assert door.waiting == 1
            door.engines["high"].free()
            assert (await first).status == (await both[1]).status == 200
            assert (door.asked("low"), door.asked("high")) == (0, 2)

    run(test)
