"""A gateway process beside what it is told: a drain that it reports to its end, and a deployment that it waits for."""

from __future__ import annotations

import signal
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fastness.core.observation import GatewayReport
from fastness.core.replica import ReplicaState, RoutingSnapshot
from fastness.engines.fake.behaviour import Behaviour
from fastness.store.snapshot_file import write_snapshot
from limits_world import World, until, world

pytestmark = pytest.mark.slow
CHAT = {"model": "small", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 30}


def report(made: World) -> GatewayReport | None:
    try:
        return msgspec.json.decode((made.run / "load-gateway-0.json").read_bytes(), type=GatewayReport)
    except FileNotFoundError:
        return None


def snapshot(made: World) -> RoutingSnapshot:
    return msgspec.json.decode((made.run / "routing.json").read_bytes(), type=RoutingSnapshot)


def publish(made: World, first: RoutingSnapshot, version: int, *states: ReplicaState) -> None:
    replicas = tuple(replace(first.replicas[0], state=state, epoch=version) for state in states)
    write_snapshot(made.run / "routing.json", replace(first, version=version, replicas=replicas))


def asking(made: World, key: str, answers: list[Any]) -> threading.Thread:
    thread = threading.Thread(target=lambda: answers.append(made.ask("gateway-0", key, body=CHAT)))
    thread.start()
    return thread


def test_a_drain_is_told_of_until_all_is_over_and_what_sleeps_wakes_for_who_asks(tmp_path: Path) -> None:
    with world(tmp_path) as made:
        made.start_control()
        made.start_engine(Behaviour(answer_tokens=30, token_ms=40))
        made.post("/tenants", {"id": "health", "name": "Health"})
        key = made.post("/keys", {"tenant": "health", "name": "one"})["key"]
        gateway, first = made.start_gateway(), snapshot(made)
        until(lambda: (report(made) or GatewayReport("", 0, 0)).routing_version == 1, "the report is there")
        answers: list[Any] = []
        running = asking(made, key, answers)
        until(lambda: dict(report(made).in_flight).get("small-0") == 1, "it runs")
        publish(made, first, 2, ReplicaState.DRAINING)
        until(lambda: report(made).draining == ("small-0",), "the drain is known")
        assert dict(report(made).in_flight) == {"small-0": 1}
        until(lambda: report(made).in_flight == (), "it is over")
        running.join()
        assert answers[0][0] == 200
        publish(made, first, 3)
        waiting = asking(made, key, answers)
        until(lambda: report(made).loads[0].waiting == 1, "somebody waits for what sleeps")
        publish(made, first, 4, ReplicaState.READY)
        waiting.join()
        assert answers[1][0] == 200
        until(lambda: report(made).loads[0].revisions[0].answered == 2, "both are counted")
        gateway.send_signal(signal.SIGTERM)
        gateway.wait(20)
        assert report(made) is None
