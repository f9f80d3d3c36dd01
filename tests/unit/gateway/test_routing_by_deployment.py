"""Callers name a deployment: its replicas serve it and no other's, also while one model takes the place of another."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path

from dying import BEGINNING, Site, dying, told
from fastness.core.deployment import Deployment
from fastness.core.replica import Replica, ReplicaState, RoutingSnapshot
from policed import CLOSED, OPEN, SECRET, Door, card, opened, run, until

OLD, NEW = replace(card("old"), digest="01" * 32), replace(card("new"), digest="02" * 32)
CHAT = {"messages": [{"role": "user", "content": "hello there 12"}], "temperature": 0}


def of(door: Door, deployment: str, **changes: object) -> Replica:
    """A replica of that deployment, on the low node unless it says otherwise."""
    one = replace(door.replica(f"{deployment}-x", "low"), model="small", deployment=deployment)
    return replace(one, **changes)


def publish(
    door: Door, *replicas: Replica, deployments: tuple[Deployment, ...] = (), models: tuple[str, ...] = ("small",)
) -> None:
    cards = tuple({"old": OLD, "new": NEW}.get(name, card(name)) for name in models)
    door.gateway.routing.replace(RoutingSnapshot(1, cards, replicas, deployments, tuple(door.nodes)))


def chat(door: Door, model: str, **fields: object) -> asyncio.Task[object]:
    return asyncio.ensure_future(door.send("/v1/chat/completions", {"model": model} | CHAT | fields))


def test_two_deployments_of_one_model_are_two_names_with_replicas_of_their_own(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path) as door:
            both = (Deployment("fast", "small", CLOSED, SECRET), Deployment("slow", "small", CLOSED, SECRET))
            fast = of(door, "fast")
            slow = of(door, "slow", node="high", socket=door.engines["high"].socket)
            publish(door, fast, slow, deployments=both)
            assert (await chat(door, "fast")).status == 200
            assert (door.asked("low"), door.asked("high")) == (1, 0)
            answer = await chat(door, "slow")
            assert json.loads(answer.body)["model"] == "slow"
            assert (door.asked("low"), door.asked("high")) == (1, 1)
            missing = await chat(door, "small")
            assert missing.code == "model_not_found"
            assert "fast, slow" in missing.error["message"]
            listed = json.loads((await door.send("/v1/models")).body)
            assert [one["id"] for one in listed["data"]] == ["fast", "slow"]
            assert [one["model"] for one in door.entries()[:2]] == ["fast", "slow"]

    run(test)


def test_a_deployment_for_some_tenants_is_not_found_by_its_models_name(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path) as door:
            mine = Deployment("mine", "small", CLOSED, SECRET, tenants=("tax",))
            publish(door, of(door, "mine"), deployments=(mine,))
            assert (await chat(door, "mine")).code == "model_not_found"
            assert (await chat(door, "small")).code == "model_not_found"

    run(test)


def test_a_replica_of_a_model_that_its_deployment_is_not_described_with_gets_nothing(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path) as door:
            one = Deployment("small", "old", CLOSED, SECRET, model_digest=OLD.digest)
            publish(door, of(door, "small", model_digest=NEW.digest), deployments=(one,), models=("old", "new"))
            answer = await chat(door, "small")
            assert answer.code == "no_replica_ready"
            assert "small-x has a model or adapters that are not described here" in answer.error["message"]
            assert not door.asked("low")

    run(test)


def roll(door: Door, *replicas: Replica, wanted: str = "new") -> None:
    """Publish the deployment `small` as it goes from the old model to the new one."""
    both = {one.name: Deployment("small", one.name, CLOSED, SECRET, model_digest=one.digest) for one in (OLD, NEW)}
    names = ("new", "old") if wanted == "new" else ("old", "new")
    publish(door, *replicas, deployments=tuple(both[name] for name in names), models=("old", "new"))


def old_and_new(door: Door) -> tuple[Replica, Replica]:
    old = of(door, "small", id="old-0", model="old", model_digest=OLD.digest)
    high = door.engines["high"].socket
    new = of(door, "small", id="new-0", model="new", model_digest=NEW.digest, node="high", socket=high)
    return old, new


def test_who_waits_for_the_old_model_is_prepared_anew_for_the_one_that_takes_its_place(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path) as door:
            old, new = old_and_new(door)
            door.engines["low"].busy = True
            roll(door, old, wanted="old")
            first = chat(door, "small")
            await until(lambda: door.asked("low") == 1)
            second = chat(door, "small")
            await until(lambda: door.waiting == 1)
            roll(door, replace(old, state=ReplicaState.DRAINING), new)
            answer = await second
            assert (answer.status, door.asked("high")) == (200, 1)
            assert json.loads(answer.body)["system_fingerprint"] == f"fp_{NEW.digest[:12]}"
            door.engines["low"].free()
            assert json.loads((await first).body)["system_fingerprint"] == f"fp_{OLD.digest[:12]}"
            assert [one["model_digest"] for one in door.entries()] == [NEW.digest, OLD.digest]

    run(test)


def test_what_a_new_model_is_not_cleared_for_stays_with_the_old_one(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path) as door:
            old, new = old_and_new(door)
            described = (
                Deployment("small", "new", OPEN, SECRET, model_digest=NEW.digest),
                Deployment("small", "old", CLOSED, SECRET, model_digest=OLD.digest),
            )
            old, new = replace(old, node="high"), replace(new, slots=8)
            publish(door, old, new, deployments=described, models=("old", "new"))
            answer = await door.chat("CLOSED")
            assert answer.status == 200
            assert door.entries()[0]["replica"] == "old-0"

    run(test)


async def begun(site: Site, replica: Replica) -> asyncio.Task[object]:
    """A stream of which something came, on an engine that then is held."""
    roll(site.door, replica, wanted="old")
    site.low.hold = asyncio.Event()
    stream = chat(site.door, "small", stream=True, stream_options={"include_usage": True})
    await until(lambda: bool(site.low.asked))
    await asyncio.sleep(0.02)  # so that what it said has come: nothing hangs on it
    return stream


def test_a_stream_that_has_begun_goes_on_where_the_same_model_is(tmp_path: Path) -> None:
    async def test() -> None:
        async with dying(tmp_path, BEGINNING + 50) as site:
            old, new = old_and_new(site.door)
            stream = await begun(site, old)
            other = replace(new, id="old-1", model="old", model_digest=OLD.digest)
            roll(site.door, old, other)
            assert site.low.hold
            site.low.hold.set()
            told(await stream)
            assert site.door.entries()[-1]["replica"] == "old-1"
            assert site.door.entries()[-1]["model_digest"] == OLD.digest

    run(test)


def test_a_stream_that_has_begun_never_goes_on_with_another_model(tmp_path: Path) -> None:
    async def test() -> None:
        async with dying(tmp_path, BEGINNING + 50, resume_timeout_s=0.05) as site:
            old, new = old_and_new(site.door)
            stream = await begun(site, old)
            roll(site.door, replace(old, state=ReplicaState.DRAINING), new)
            assert site.low.hold
            site.low.hold.set()
            heard = await stream
            assert b"engine_failed" in heard.body
            assert not site.high.asked
            assert site.door.entries()[-1]["model_digest"] == OLD.digest

    run(test)


def test_what_needs_a_long_context_waits_for_a_replica_that_has_it(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path) as door:
            short = of(door, "small", context_tokens=512, slots=8)
            high = door.engines["high"].socket
            long = of(door, "small", id="long", node="high", socket=high, context_tokens=4_096)
            one = Deployment("small", "small", CLOSED, SECRET)
            publish(door, short, long, deployments=(one,))
            for _ in range(3):
                assert (await chat(door, "small", max_tokens=1_000)).status == 200
            asked = [path for path, _ in door.engines["low"].asked if "chat" in path and "input" not in path]
            assert not asked, "the engine with the short context was asked to answer"
            assert {one["replica"] for one in door.entries()} == {"long"}

    run(test)


def test_who_waits_for_a_deployment_that_is_removed_is_told_at_once(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path) as door:
            one = Deployment("small", "small", CLOSED, SECRET)
            publish(door, of(door, "small", state=ReplicaState.STARTING), deployments=(one,))
            asked = chat(door, "small")
            await until(lambda: door.waiting == 1)
            publish(door)
            answer = await asked
            assert answer.code == "no_replica_ready"
            assert "was removed" in answer.error["message"]

    run(test)
