"""The fleet is changed, and killed, while clients ask real engines: none of them hears of it."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator

import httpx
import pytest

from fastness.core.fleet_event import (
    ReplicaDraining,
    ReplicaPlaced,
    ReplicaRemoved,
    ReplicaStopping,
    RevisionRolledBack,
)
from fastness.ledger.verify import verify
from installation import CHAT, Installation, eventually, start, stop
from killing import forget, kill, on_this_machine
from losing import Streams
from ordering import SMALL, Fleet, RoutingWatch, Slowed, folded, shown, told, unheard
from traffic import Together, Traffic, chat, headers

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
CONTROL_KILLS = 5
CLIENTS = 6


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    installation = start(tmp_path_factory.mktemp("fleet"), environ=SMALL)
    try:
        yield installation
        assert stop(installation) == 0
    finally:
        forget(installation.home)


@pytest.fixture
def fleet(running: Installation) -> Fleet:
    """The fleet, with one replica of the chat model."""
    fleet = Fleet(running)
    fleet.scale(1, 1, 1)
    fleet.settles(replicas=1)
    return fleet


def traffic(fleet: Fleet) -> Traffic:
    return Traffic(fleet.installation, seed=5, clients=CLIENTS, chats=0.3)


def flows(clients: Traffic, answers: int = 10) -> None:
    """Wait until so many more answers have come."""
    enough = clients.count() + answers
    eventually(lambda: clients.count() >= enough, "answers come", 60)


def test_a_rolling_update_is_not_heard_of(fleet):
    before = fleet.deployment()
    with traffic(fleet) as clients:
        flows(clients)
        rolled = fleet.post(f"/deployments/{CHAT}/roll", parameters={"slots": 3})["applied"][0]
        assert rolled["outcome"] == "rolling" and rolled["revision"] > before["revision"]
        after = fleet.settles(replicas=1)
        flows(clients)
    assert unheard(clients.heard) == []
    assert after["revision"] == after["stable"] == rolled["revision"]
    old, new = before["placed"][0]["id"], after["placed"][0]["id"]
    steps = [
        (type(event), event.replica)
        for event in fleet.happened()
        if isinstance(event, ReplicaPlaced | ReplicaDraining | ReplicaStopping | ReplicaRemoved)
        and event.replica in (old, new)
    ]
    assert steps[-4:] == [
        (ReplicaPlaced, new), (ReplicaDraining, old), (ReplicaStopping, old), (ReplicaRemoved, old),
    ]  # fmt: skip
    stopped = next(e for e in fleet.happened() if isinstance(e, ReplicaStopping) and e.replica == old)
    assert stopped.reason.endswith("drained"), "not for want of time"


def test_more_and_fewer_replicas_are_not_heard_of(fleet):
    with traffic(fleet) as clients:
        flows(clients)
        fleet.scale(2, 2, 2)
        both = fleet.settles(replicas=2)
        flows(clients, 20)
        fleet.scale(1, 1, 1)
        fleet.settles(replicas=1)
        flows(clients)
    assert unheard(clients.heard) == []
    assert len({device for one in both["placed"] for device in one["devices"]}) == 2


def test_a_killed_engine_gets_nothing_from_the_next_second_on_and_no_client_hears_of_it(fleet):
    fleet.scale(2, 2, 2)
    fleet.settles(replicas=2)
    second_s = on_this_machine(1.0)
    with traffic(fleet) as clients, RoutingWatch(fleet.installation) as watch:
        for _ in range(2):
            flows(clients)
            victim, pid = min(fleet.pids().items())
            killed_s = time.monotonic()
            kill(pid)
            took_s = watch.told_s(victim) - killed_s
            print(f"gateways were told {1_000 * took_s:.0f} ms after the kill")
            assert took_s < second_s
            fleet.settles(replicas=2)
        flows(clients)
    assert unheard(clients.heard) == []


def test_a_new_revision_that_is_slower_is_taken_back_and_no_client_fails(fleet):
    careful = {"canary_percent": 50, "hold_s": 120, "ttft_ratio_max": 1.5, "samples_min": 5}
    whole = next(one for one in fleet.get("/deployment-file")["deployment"] if one["name"] == CHAT)
    fleet.post("/deployments", deployment=[whole | {"scaling": {"min": 2, "max": 2}, "rollout": careful}])
    before = fleet.settles(replicas=2)
    with traffic(fleet) as clients:
        flows(clients)
        rolled = fleet.post(f"/deployments/{CHAT}/roll", parameters={"slots": 2})["applied"][0]
        with Slowed(fleet.pid_of_revision(rolled["revision"])):
            fleet.eventually(lambda one: one["rolled_back"], "it is taken back")
        after = fleet.settles(replicas=2)
        flows(clients)
    assert unheard(clients.heard) == []
    assert after["revision"] == after["stable"] == before["revision"]
    (taken_back,) = (one for one in fleet.happened() if isinstance(one, RevisionRolledBack))
    print(taken_back.reason)
    assert taken_back.revision == rolled["revision"] and "its first token takes" in taken_back.reason
    why = fleet.get(f"/deployments/{CHAT}/why")
    assert why["settled"], why


def test_what_sleeps_is_woken_by_a_request(fleet):
    fleet.scale(0, 1, 0)
    fleet.eventually(lambda one: one["wanted"] == 0 and one["placed"] == [], "no replica is left")
    assert fleet.pids() == {}
    (heard,) = Together(fleet.installation, [chat(random.Random(), True, 4)], 60).heard()
    assert heard.whole, heard
    print(f"woken and answered in {heard.elapsed_s:.1f} s")
    fleet.settles(replicas=1)


def test_a_deployment_that_is_taken_away_finishes_what_it_began(fleet):
    first = fleet.get("/deployment-file")["deployment"][0]
    fleet.post("/deployments", deployment=[first | {"name": "second"}])
    fleet.settles("second", replicas=1)
    path, body = chat(random.Random(), True, 60)
    with traffic(fleet) as clients:
        flows(clients)
        answers = Together(fleet.installation, [(path, body | {"model": "second"})] * 2, 60)
        eventually(lambda: any(one["id"].startswith("second") for one in busy(fleet)), "the answers begin", 60, 0.01)
        fleet.post("/deployments/second/remove")
        assert all(one.whole for one in answers.heard())
        eventually(lambda: not fleet.pids("second"), "its engine ends", 60)
        flows(clients)
    assert unheard(clients.heard) == []
    with httpx.Client(base_url=fleet.installation.base_url, headers=headers(fleet.installation)) as client:
        refused = client.post(path, json=body | {"model": "second", "stream": False})
    assert (refused.status_code, refused.json()["error"]["code"]) == (404, "model_not_found")
    assert "second" not in told(fleet)


def busy(fleet: Fleet) -> list[dict[str, object]]:
    """Replicas whose engine says that it works."""
    found = []
    for one in fleet.get("/replicas")["replicas"]:
        if one["state"] == "ready":
            with httpx.Client(transport=httpx.HTTPTransport(uds=one["socket"]), base_url="http://engine") as engine:
                if any(slot["is_processing"] for slot in engine.get("/slots").json()):
                    found.append(one)
    return found


def test_a_control_plane_that_is_killed_again_and_again_disturbs_nobody_and_forgets_nothing(fleet):
    fleet.scale(2, 2, 2)
    fleet.settles(replicas=2)
    pids, before = fleet.pids(), folded(fleet)
    streams = Streams(fleet.installation, count=8, output_tokens=150)
    with traffic(fleet) as clients:
        eventually(lambda: streams.begun(), "the streams flow", 60)
        for _ in range(CONTROL_KILLS):
            fleet.kill_control()
            flows(clients, 2)
    assert unheard(clients.heard) == []
    assert [one.error for one in streams.heard() if not one.whole or one.error] == []
    assert fleet.pids() == pids, "not one engine was started again"
    assert folded(fleet) == before, "nothing was decided that was decided before"
    assert told(fleet) == shown(before)
    assert verify(fleet.installation.home / "ledger").sound


def test_a_department_gets_back_what_is_its_own_and_no_client_of_the_borrower_hears_of_it(tmp_path):
    few = SMALL | {"FASTNESS__NODE__CPU_SLOTS": "3", "FASTNESS__ENGINE__REPLICAS": "2"}
    running = start(tmp_path, environ=few)
    try:
        fleet = Fleet(running)
        fleet.settles(replicas=2)
        fleet.post("/tenants", id="health")
        fleet.post("/shares", owner="health", devices=2)
        mine = {"name": "health-chat", "model": CHAT, "owner": "health", "scaling": {"min": 2, "max": 2}}
        with traffic(fleet) as clients:
            flows(clients)
            fleet.post("/deployments", deployment=[mine | {"parameters": {"slots": 2, "slot_context_tokens": 512}}])
            began_s = time.monotonic()
            fleet.settles("health-chat", replicas=2)
            print(f"its own after {time.monotonic() - began_s:.1f} s")
            flows(clients)
        assert unheard(clients.heard) == []
        left = fleet.deployment()
        assert (left["wanted"], left["ready"]) == (2, 1)
        taken = [one for one in fleet.happened() if isinstance(one, ReplicaStopping)]
        assert len(taken) == 1 and taken[0].reason.endswith("drained")
        assert len(folded(fleet).taken()) == 3
        why = fleet.get(f"/deployments/{CHAT}/why")
        assert not why["settled"] and why["nodes"], "it says why there is no place for its second"
    finally:
        stop(running)
        forget(tmp_path)


def test_a_start_goes_on_from_the_orders_before_with_the_same_state(tmp_path):
    running = start(tmp_path, environ=SMALL)
    try:
        fleet = Fleet(running)
        fleet.scale(2, 2, 2)
        before = fleet.settles(replicas=2)
        state = folded(fleet)
        assert stop(running) == 0
        running = start(tmp_path, environ=SMALL)
        fleet = Fleet(running)
        after = fleet.settles(replicas=2)
        assert [one["id"] for one in after["placed"]] == [one["id"] for one in before["placed"]]
        assert folded(fleet) == state, "what a person asked for is not undone by a start under the same configuration"
    finally:
        stop(running)
        forget(tmp_path)
