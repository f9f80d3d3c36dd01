"""The replica keeper with real processes: what it starts, tells, restarts and ends."""

import asyncio
import os
import signal
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import pytest

from keeper_child import children, is_gone, order, run, soon


@pytest.fixture
def folder():
    with tempfile.TemporaryDirectory(prefix="fst-") as name:
        yield Path(name)


@pytest.fixture(autouse=True)
def no_process_is_left():
    before = children()
    yield
    assert children() <= before


def test_a_replica_is_starting_then_ready_then_draining_then_stopped(folder):
    async def journey(watched):
        await watched.start("serve")
        _, ready = await watched.until("ready")
        assert ready.pid
        assert ready.memory_bytes > 1_000_000
        assert ready.diagnosis is None
        assert watched.keeper.observe()[0].state == "ready"
        await watched.keeper.stop("tiny-0")
        assert watched.states == ["starting", "ready", "draining", "stopped"]
        assert watched.keeper.observe() == ()
        assert is_gone(ready.pid)

    run(journey, folder)


def test_a_replica_is_not_ready_before_its_health_says_so(folder):
    async def journey(watched):
        await watched.start("serve 5")
        began = time.perf_counter()
        told_s, _ = await watched.until("ready")
        assert told_s - began > 4 * 0.02

    run(journey, folder)


def test_a_replica_that_crashes_is_started_again_after_a_growing_wait(folder):
    async def journey(watched):
        await watched.start("exit 3\nexit 3\nexit 3\nserve")
        _, ready = await watched.until("ready", epoch=4)
        assert ready.restarts == 3
        assert watched.states == [*("starting", "backing_off") * 3, "starting", "ready"]
        waits = [
            after - before
            for (before, one), (after, _) in zip(watched.history, watched.history[1:], strict=False)
            if one.state == "backing_off"
        ]
        for wait, wanted in zip(waits, (0.05, 0.1, 0.2), strict=True):
            assert wait > wanted - 0.001  # the loop's timers count whole milliseconds

    run(journey, folder)


def test_a_crash_is_told_with_its_diagnosis_from_the_last_words(folder):
    async def journey(watched):
        await watched.start("say out of memory, exit 7\nserve")
        _, crashed = await watched.until("backing_off")
        assert crashed.diagnosis.summary == "ended with 7"
        assert crashed.diagnosis.evidence == ("out of memory",)
        _, starting = await watched.until("starting", epoch=2)
        assert starting.diagnosis.summary == "ended with 7"
        _, ready = await watched.until("ready", epoch=2)
        assert ready.diagnosis is None

    run(journey, folder)


def test_each_crash_is_told_with_its_own_diagnosis(folder):
    async def journey(watched):
        await watched.start("say one, exit 1\nsay two, exit 2\nserve")
        await watched.until("ready", epoch=3)
        crashes = [replica.diagnosis.evidence for _, replica in watched.history if replica.state == "backing_off"]
        assert crashes == [("one",), ("two",)]

    run(journey, folder)


def test_a_killed_engine_leaves_the_routing_within_a_second(folder):
    async def journey(watched):
        await watched.start("serve")
        _, ready = await watched.until("ready")
        killed_s = time.perf_counter()
        os.kill(ready.pid, signal.SIGKILL)
        told_s, dead = await watched.until("backing_off")
        assert told_s - killed_s < 1.0
        assert dead.pid is None
        assert dead.diagnosis.summary == "ended with -9"
        _, again = await watched.until("ready", epoch=2)
        assert again.pid != ready.pid

    run(journey, folder)


def test_a_killed_engine_leaves_the_routing_at_once_though_its_orphan_holds_the_pipe(folder):
    async def journey(watched):
        await watched.start("beget away, serve\nserve")
        _, ready = await watched.until("ready")
        orphan = int(Path(f"{folder}/engines/tiny-0/engine.sock.child").read_text())
        try:
            killed_s = time.perf_counter()
            os.kill(ready.pid, signal.SIGKILL)
            told_s, _ = await watched.until("backing_off")
            assert told_s - killed_s < 1.0
        finally:
            os.kill(orphan, signal.SIGKILL)

    run(journey, folder)


def test_what_a_dead_engine_left_in_its_group_dies_with_it(folder):
    async def journey(watched):
        await watched.start("beget, serve\nserve")
        _, ready = await watched.until("ready")
        grandchild = int(Path(f"{folder}/engines/tiny-0/engine.sock.child").read_text())
        assert not is_gone(grandchild)
        os.kill(ready.pid, signal.SIGKILL)
        await watched.until("backing_off")
        await soon(lambda: is_gone(grandchild))

    run(journey, folder)


def test_an_engine_that_hangs_is_ended_and_started_again(folder):
    async def journey(watched):
        await watched.start("serve")
        _, ready = await watched.until("ready")
        flag = Path(f"{folder}/engines/tiny-0/engine.sock.hang")
        flag.touch()
        _, hung = await watched.until("backing_off")
        assert hung.diagnosis.code == "hung"
        _, again = await watched.until("ready", epoch=2)
        assert is_gone(ready.pid)
        assert again.diagnosis is None
        assert not flag.exists()

    run(journey, folder, watch_period_s=0.02, health_timeout_s=0.1)


def test_an_engine_that_does_not_become_ready_in_time_is_ended_and_started_again(folder):
    async def journey(watched):
        await watched.start("say loading, wait\nserve")
        _, late = await watched.until("backing_off")
        assert late.diagnosis.summary == "ended with None"
        assert late.diagnosis.evidence == ("loading",)
        await watched.until("ready", epoch=2)

    run(journey, folder, start_timeout_s=1.0)


def test_an_engine_that_ignores_the_polite_signal_is_killed_after_the_stop_timeout(folder):
    async def journey(watched):
        await watched.start("stubborn, beget, serve")
        _, ready = await watched.until("ready")
        grandchild = int(Path(f"{folder}/engines/tiny-0/engine.sock.child").read_text())
        began = time.perf_counter()
        await watched.keeper.stop("tiny-0")
        assert 0.3 <= time.perf_counter() - began < 3.0
        assert is_gone(ready.pid)
        await soon(lambda: is_gone(grandchild))

    run(journey, folder, stop_timeout_s=0.3)


def test_a_stop_is_told_as_draining_before_the_engine_is_asked_to_end(folder):
    async def journey(watched):
        await watched.start("stubborn, serve")
        await watched.until("ready")
        stopping = asyncio.create_task(watched.keeper.stop("tiny-0"))
        _, draining = await watched.until("draining")
        assert not is_gone(draining.pid)
        await stopping

    run(journey, folder, stop_timeout_s=0.2)


@pytest.mark.parametrize(
    ("plan", "state"), [("wait", "starting"), ("exit 1", "backing_off")], ids=["starting", "backing-off"]
)
def test_a_replica_can_be_stopped_in_any_state(folder, plan, state):
    async def journey(watched):
        await watched.start(plan)
        await watched.until(state)
        began = time.perf_counter()
        await watched.keeper.stop("tiny-0")
        assert time.perf_counter() - began < 3.0
        assert watched.states[-1] == "stopped"

    run(journey, folder, backoff_first_s=60.0)


def test_a_program_that_does_not_exist_is_told_and_tried_again(folder):
    async def journey(watched):
        await watched.keeper.start(replace(order(folder, "serve"), argv=("/no/such/engine",)))
        _, failed = await watched.until("backing_off")
        assert failed.diagnosis.code == "not_started"
        assert "No such file" in failed.diagnosis.evidence[0]
        await watched.until("backing_off", epoch=2)

    run(journey, folder)


def test_each_start_finds_a_private_and_empty_directory(folder):
    async def journey(watched):
        scratch = folder / "engines/tiny-0"
        scratch.mkdir(parents=True)
        (scratch / "engine.sock").write_text("stale")
        await watched.start("serve")
        _, ready = await watched.until("ready")
        assert scratch.stat().st_mode & 0o777 == 0o700
        (scratch / "left.txt").write_text("by the first run")
        os.kill(ready.pid, signal.SIGKILL)
        await watched.until("ready", epoch=2)
        assert [file.name for file in scratch.iterdir()] == ["engine.sock"]

    run(journey, folder)


def test_replicas_live_and_die_alone(folder):
    async def journey(watched):
        await watched.start("serve", "tiny-0")
        await watched.start("serve", "tiny-1")
        _, first = await watched.until("ready", replica_id="tiny-0")
        _, second = await watched.until("ready", replica_id="tiny-1")
        os.kill(first.pid, signal.SIGKILL)
        await watched.until("ready", epoch=2, replica_id="tiny-0")
        observed = watched.keeper.observe()
        assert [replica.id for replica in observed] == ["tiny-0", "tiny-1"]
        assert (observed[1].pid, observed[1].epoch) == (second.pid, 1)

    run(journey, folder)


def test_an_id_can_be_used_once_at_a_time_and_again_after_its_stop(folder):
    async def journey(watched):
        await watched.start("serve")
        with pytest.raises(ValueError, match="tiny-0 is kept already"):
            await watched.start("serve")
        await watched.keeper.stop("tiny-0")
        await watched.start("serve")
        with pytest.raises(KeyError):
            await watched.keeper.stop("tiny-9")

    run(journey, folder)


@pytest.mark.parametrize("wrong", [{"socket": Path("/tmp/other/engine.sock")}, {"id": "other"}])
def test_an_order_whose_directory_is_not_its_own_is_refused(folder, wrong):
    async def journey(watched):
        with pytest.raises(ValueError, match="needs a scratch directory of its own name"):
            await watched.keeper.start(replace(order(folder, "serve"), **wrong))

    run(journey, folder)


def test_lines_of_stderr_are_told_with_the_replica_they_come_from(folder):
    async def journey(watched):
        await watched.start("say hello, serve")
        await watched.until("ready")
        await soon(lambda: watched.lines)
        assert watched.lines == [("tiny-0", "hello")]

    run(journey, folder)


def test_closing_ends_every_replica(folder):
    pids = []

    async def journey(watched):
        for number in range(3):
            await watched.start("serve", f"tiny-{number}")
            pids.append((await watched.until("ready", replica_id=f"tiny-{number}"))[1].pid)

    run(journey, folder)
    assert all(is_gone(pid) for pid in pids)
