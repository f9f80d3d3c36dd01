"""A deployment may sleep while nobody asks: who asks waits for it within the time there is, or is told when to come."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from fastness.core.deployment import Deployment
from fastness.core.replica import ReplicaState
from fastness.gateway import silence
from fastness.gateway.pulse import Pulse
from fastness.gateway.reports import report_of
from policed import CLOSED, SECRET, Door, opened, run, until

CHAT = {"model": "small", "messages": [{"role": "user", "content": "hi"}]}


def ask(door: Door, *headers: str, **fields: object) -> asyncio.Task[object]:
    return asyncio.ensure_future(door.send("/v1/chat/completions", CHAT | fields, *headers))


async def wrong_method(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"{}")
    writer.write(b"HTTP/1.1 405 Method Not Allowed\r\ncontent-length: 0\r\n\r\n")
    await writer.drain()
    writer.close()


def asleep(door: Door, *, fresh: bool = False) -> None:
    """Publish `small` without a replica; `fresh`: as one that never had any."""
    door.saved = [one for one in door.replicas if one.model == "small"]
    door.replicas = [one for one in door.replicas if one.model != "small"]
    if fresh:
        del door.deployments["small"]
        door.publish()
    door.deployments["small"] = Deployment("small", "small", CLOSED, SECRET, wakes=True)
    door.publish()


def awake(door: Door, **changes: object) -> None:
    door.replicas += [replace(one, **changes) for one in door.saved]
    door.publish()


@pytest.mark.parametrize("fresh", [False, True], ids=["seen before", "never seen"])
def test_who_asks_a_deployment_that_sleeps_waits_is_told_of_and_served_by_what_comes(tmp_path, fresh) -> None:
    async def test() -> None:
        async with opened(tmp_path) as door:
            asleep(door, fresh=fresh)
            asked = ask(door)
            await until(lambda: door.waiting == 1)
            report = report_of("gateway-0", door.gateway.routing, 0, door.gateway.now())
            assert [(one.waiting, one.asked) for one in report.loads if one.deployment == "small"] == [(1, 1)]
            awake(door, state=ReplicaState.STARTING)
            assert door.waiting == 1
            door.replicas = [replace(one, state=ReplicaState.READY) for one in door.replicas]
            door.publish()
            assert (await asked).status == 200
            served = door.gateway.routing.find("small")
            assert served
            assert served.starts.took_s() is not None

    run(test)


def test_what_wakes_with_less_context_than_it_had_is_asked_nothing_that_does_not_fit(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path) as door:
            asleep(door)
            fits, fits_not = ask(door, max_tokens=50), ask(door, max_tokens=1_500)
            await until(lambda: door.waiting == 2)
            awake(door, context_tokens=512, slots=4)
            assert (await fits).status == 200
            answer = await fits_not
            assert answer.code == "context_length_exceeded"
            assert "small takes 512 here" in answer.error["message"]

    run(test)


def test_a_model_never_seen_is_measured_by_the_context_it_wakes_with(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path) as door:
            asleep(door, fresh=True)
            asked = ask(door, max_tokens=1_500)
            await until(lambda: door.waiting == 1)
            awake(door, context_tokens=512)
            assert (await asked).code == "context_length_exceeded"

    run(test)


def test_who_cannot_be_in_time_is_told_at_once_when_to_come_back(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path) as door:
            asleep(door)
            small = door.gateway.routing.find("small")
            assert small
            small.starts._waking.append(20.0)
            answer = await ask(door, "Fastness-Timeout-Ms: 5000")
            assert (answer.status, answer.code) == (503, "no_replica_ready")
            assert int(answer.headers["retry-after"]) == 20
            message = answer.error["message"]
            assert "none runs now. One was asked for 0 s ago; the last starts took up to 20 s." in message
            assert small.asked == 1, "and it is asked for all the same"
            assert not small.waiters

    run(test)


def test_who_waited_until_its_time_was_over_is_told_what_is_known(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path, queue_timeout_s=0.05) as door:
            asleep(door)
            answer = await ask(door)
            assert (answer.status, answer.code) == (503, "no_replica_ready")
            assert "none was seen to start yet" in answer.error["message"]
            assert int(answer.headers["retry-after"]) >= 1
            assert door.waiting == 0

    run(test)


def test_the_queue_of_what_sleeps_is_bounded_and_who_leaves_is_gone(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path, queue_max=4, tenant_queue_percent=100) as door:
            asleep(door)
            asked = [ask(door) for _ in range(4)]
            await until(lambda: door.waiting == 4)
            refused = await ask(door)
            assert (refused.status, refused.code) == (429, "queue_full")
            for one in asked:
                one.cancel()
            await until(lambda: door.waiting == 0)
            small = door.gateway.routing.find("small")
            assert small
            assert not small.waiters
            asked = [ask(door)]
            await until(lambda: door.waiting == 1)
            awake(door)
            assert (await asked[0]).status == 200

    run(test)


def test_where_the_control_plane_is_silent_nobody_waits_for_what_nobody_will_bring(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(silence, "SILENT_S", 0.02)

    async def test() -> None:
        async with opened(tmp_path) as door:
            pulse = Pulse(door.gateway.routing, door.connections, str(tmp_path / "nobody.sock"))
            asleep(door)
            await pulse.feel()
            assert door.gateway.routing.silence.since_s is None, "nobody had to know"
            asked = ask(door)
            await until(lambda: door.waiting == 1)
            await pulse.feel()
            assert not asked.done(), "it may be restarted just now"
            await asyncio.sleep(0.03)
            await pulse.feel()
            for answer in (await asked, await ask(door)):
                assert (answer.status, answer.code) == (503, "no_replica_ready")
                assert "The control plane, which would start one, has not answered for" in answer.error["message"]
            awake(door)
            assert (await ask(door)).status == 200, "what runs is served whoever is silent"

    run(test)


def test_a_control_plane_that_answers_again_is_heard(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path) as door:
            path = str(tmp_path / "control.sock")
            pulse = Pulse(door.gateway.routing, door.connections, path)
            door.gateway.routing.silence.since_s = 0.0
            async with await asyncio.start_unix_server(wrong_method, path):
                await pulse.feel()
            assert door.gateway.routing.silence.since_s is None

    run(test)


def test_a_gateway_is_ready_though_a_deployment_sleeps(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path) as door:
            asleep(door, fresh=True)
            assert (await door.send("/readyz")).status == 200
            awake(door, state=ReplicaState.STARTING)
            assert (await door.send("/readyz")).status == 503, "it wakes"
            door.replicas = [replace(one, state=ReplicaState.DRAINING) for one in door.replicas]
            door.deployments["mini"] = replace(door.deployments["mini"], wakes=True)
            door.publish()
            assert (await door.send("/readyz")).status == 200, "it goes to sleep"
            door.deployments["new"] = Deployment("new", "small", CLOSED, SECRET)
            door.publish()
            assert (await door.send("/readyz")).status == 503, "that one should have a replica"

    run(test)
