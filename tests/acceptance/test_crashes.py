"""What dies comes back, leaves nothing behind, and never keeps a client in silence or an answer unrecorded."""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastness.ledger.verify import verify
from installation import CHAT, Installation, eventually, start, stop
from killing import (
    QUICK,
    child,
    forget,
    kill,
    kill_often,
    kill_while_starting,
    management,
    on_this_machine,
    start_and_ask,
    unrecorded,
)
from traffic import SILENCE_S, Together, Traffic, chat

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
KILLS = 10
"""`make soak` kills it a few hundred times."""
STREAMS = 16


def seed_of_the_day() -> int:
    """Another one in every run; FASTNESS_TEST_SEED repeats one that was printed."""
    return int(os.environ.get("FASTNESS_TEST_SEED", "0")) or random.SystemRandom().getrandbits(32)


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """An installation whose parts are killed, one after the other; at its end it still stops in order."""
    running = start(tmp_path_factory.mktemp("victim"), environ=QUICK)
    yield running
    try:
        assert stop(running) == 0
        assert verify(running.home / "ledger").sound
    finally:
        forget(running.home)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    forget(tmp_path)


def replica(installation: Installation) -> dict[str, object]:
    with management(installation) as api:
        return next(one for one in api.get("/replicas").json()["replicas"] if one["model"] == CHAT)


def ready_replica(installation: Installation) -> dict[str, object]:
    eventually(lambda: replica(installation)["state"] == "ready", "the engine is ready")
    return replica(installation)


@pytest.mark.parametrize("tokens_before_the_kill", [0, 1, 8])
def test_no_client_of_a_killed_engine_is_kept_in_silence(victim, tokens_before_the_kill):
    before, second_s = ready_replica(victim), on_this_machine(1)
    random_ = random.Random(tokens_before_the_kill)
    silence_s = second_s * SILENCE_S  # all of them are answered to the end now, also those who wait for others' restart
    streams = Together(victim, [chat(random_, True, 12) for _ in range(STREAMS)], silence_s)
    eventually(lambda: victim.busy_slots() == 8, "all slots work")
    if tokens_before_the_kill:
        eventually(lambda: decoded(victim) >= tokens_before_the_kill, "tokens flow", 60)
    kill(int(str(before["pid"])))
    killed_s = time.monotonic()
    after = Together(victim, [chat(random_, False, 2)], silence_s)
    diagnosis = eventually(lambda: replica(victim)["diagnosis"], "the crash is diagnosed")
    (next_one,) = after.heard()
    assert next_one.whole, f"the request after the crash: {next_one}"
    heard = streams.heard()
    assert len(heard) == STREAMS
    assert all(one.clear and one.lost is None for one in heard), [one for one in heard if not one.clear]
    failed = [one for one in heard if not one.whole]
    assert not failed, "those who lost their engine wait for its restart, and go on"
    # Those who still waited for a slot stand before it: what is bounded is how long nobody was answered.
    answered = [one.ended_s - killed_s for one in (*heard, next_one) if one.whole and one.ended_s > killed_s]
    assert min(answered) < 5 * second_s, "the next request is answered in under 5 s"
    print(f"{len(failed)} of {STREAMS} streams failed; the next request took {next_one.elapsed_s:.2f} s")
    assert not unrecorded(victim.home, heard)
    assert diagnosis["code"]
    assert diagnosis["summary"]
    assert shown(victim)["restarts"] == before["restarts"] + 1
    assert replica(victim)["epoch"] == before["epoch"] + 1


def decoded(installation: Installation) -> int:
    """How many tokens the busiest slot of the engine has written."""
    with installation.engine() as engine:
        return max(slot["next_token"][0]["n_decoded"] for slot in engine.get("/slots").json())


def shown(installation: Installation) -> dict[str, object]:
    """The chat replica as `fastness ps --json` shows it."""
    return next(one for one in installation.replicas() if one["model"] == CHAT)


def test_a_crashed_engine_is_in_the_ledger_with_its_diagnosis(victim):
    before = ready_replica(victim)
    kill(int(str(before["pid"])))
    eventually(lambda: replica(victim)["epoch"] == before["epoch"] + 1, "it is started again")
    ready_replica(victim)
    found = victim.run("ledger", "find", "--type", "engine.failed", "--json")
    assert found.returncode == 0, found.stderr
    last = json.loads(found.stdout)["entries"][-1]["fields"]
    assert last["model"] == CHAT
    assert last["epoch"] == before["epoch"]
    assert last["diagnosis"]


def test_serving_survives_the_death_of_the_control_process(victim):
    dead = child(victim, "control")
    with Traffic(victim, seed=1, clients=8) as traffic:
        eventually(lambda: traffic.count() >= 8, "traffic flows", 60)
        kill(dead)
        eventually(lambda: running_child(victim, "control") not in (None, dead), "control is started again")
        served = traffic.count()
        eventually(lambda: traffic.count() >= served + 8, "traffic still flows", 60)
    assert [one for one in traffic.heard if not one.whole] == []
    eventually(lambda: victim.run("keys", "list", "--json").returncode == 0, "keys are managed again")


def running_child(installation: Installation, name: str) -> int | None:
    try:
        return child(installation, name)
    except (LookupError, OSError):
        return None


def test_a_killed_gateway_comes_back_on_the_same_port_and_what_it_answered_is_recorded(victim):
    dead, second_s = child(victim, "gateway"), on_this_machine(1)
    with Traffic(victim, seed=2) as traffic:
        eventually(lambda: traffic.count() >= 8, "traffic flows", 60)
        kill(dead)
        killed_s = time.monotonic()
        served = eventually(
            lambda: [one for one in list(traffic.heard) if one.whole and one.began_s > killed_s], "it serves again", 20
        )
    assert served[0].ended_s - killed_s < 5 * second_s
    assert running_child(victim, "gateway") not in (None, dead)
    assert not unrecorded(victim.home, traffic.heard)
    eventually(lambda: victim.busy_slots() == 0, "the work of those who were cut off is stopped")


def test_an_answer_delivered_in_full_is_recorded_whenever_fastness_is_killed(home):
    losses = kill_often(home, KILLS, seed_of_the_day())
    print(losses)
    assert losses.kills == KILLS
    assert losses.whole > KILLS
    assert losses.cut > 0, "no kill hit a request under way: the test did not test anything"


def test_fastness_killed_while_it_starts_leaves_nothing_and_starts_again(home):
    for after_s in (0.1, 0.5, 1.0, 1.5, 2.0, 2.5):
        kill_while_starting(home, after_s)
    start_and_ask(home)
