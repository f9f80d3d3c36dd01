"""Letters go by Ray, and by the doors while Ray brings nothing new; whichever way they go, a lease needs a new one."""

from __future__ import annotations

import asyncio
from pathlib import Path

from fastness.control.post import REPORT, WORD, SealedPost
from fastness.core.event import EventType
from fastness.core.replica import ReplicaState
from fastness.fleet.letter_files import door_way
from fastness.fleet.ways import FIRST_S
from letters_world import LEASE_S, NODE, Two, run, serving

READY = {"chat-1": ReplicaState.READY}


def way(two: Two) -> str:
    """By which way the head heard of the node last."""
    return two.head._nodes[NODE].report.way


def lapses(two: Two) -> int:
    return [one for one, _ in two.recorded.events].count(EventType.LEASE_LAPSED)


def test_ray_may_be_away_and_nothing_ends_nor_is_suspected_and_orders_arrive(tmp_path: Path) -> None:
    async def journey(two: Two) -> None:
        await serving(two)
        assert way(two) == "ray" and not two.node.by_door
        two.by_ray = False
        for _ in range(40):
            await two.turn()
            assert two.node.leased and two.routed() == READY
        assert way(two) == "door" and two.node.by_door
        two.order(4)
        await two.turns(lambda: not two.node.observe())
        two.order(5, "chat-2")
        await two.turns(lambda: two.routed() == {"chat-2": ReplicaState.READY})
        assert not lapses(two) and not two.refused and not two.recorded.failed

    run(journey, tmp_path)


def test_when_ray_is_back_letters_go_by_it_again(tmp_path: Path) -> None:
    async def journey(two: Two) -> None:
        await serving(two)
        two.by_ray = False
        await two.turns(lambda: way(two) == "door")
        two.by_ray = True
        await two.turns(lambda: not two.node.by_door and way(two) == "ray")
        for _ in range(10):
            await two.turn()
            assert way(two) == "ray"
        assert not lapses(two) and not two.refused and not two.recorded.failed

    run(journey, tmp_path)


def test_a_ray_that_is_back_under_another_name_is_found(tmp_path: Path) -> None:
    async def journey(two: Two) -> None:
        await serving(two)
        two.by_ray = False
        await two.turns(lambda: way(two) == "door")
        (two.run / "letters/in/ray-1").unlink()
        carry = two.carry
        two.carry = lambda name="ray-2", brought="head": carry(name, brought)  # type: ignore[method-assign]
        two.by_ray = True
        await two.turns(lambda: way(two) == "ray")
        assert not lapses(two) and not two.refused

    run(journey, tmp_path)


def test_a_node_that_nobody_reaches_ends_its_engines_within_its_lease(tmp_path: Path) -> None:
    async def journey(two: Two) -> None:
        await serving(two)
        two.by_ray = False
        await two.turns(lambda: way(two) == "door")
        cut_s, two.by_doors = two.now_s, False
        await two.turns(lambda: not two.node.leased)
        assert two.now_s - cut_s <= LEASE_S + 0.5
        await asyncio.sleep(0.01)
        assert two.keeper and not two.keeper.observe()

    run(journey, tmp_path)


def test_a_ray_that_goes_on_bringing_what_is_old_is_no_way(tmp_path: Path) -> None:
    async def journey(two: Two) -> None:
        await serving(two)
        two.by_ray = False
        old = (two.there / "letters/in/head").read_bytes()
        for _ in range(20):
            (two.there / "letters/in/head").write_bytes(old)
            await two.turn()
        assert two.node.leased and way(two) == "door"

    run(journey, tmp_path)


def test_a_slow_ray_and_the_doors_bring_the_same_letters_and_nobody_minds(tmp_path: Path) -> None:
    async def journey(two: Two) -> None:
        await serving(two)
        two.by_ray = False
        await two.turns(lambda: way(two) == "door")
        late = (two.there / "letters/out/head").read_bytes()
        for _ in range(12):
            (two.run / "letters/in/ray-1").write_bytes(late)
            late = (two.there / "letters/out/head").read_bytes()
            await two.turn()
        assert two.node.leased and two.routed() == READY and not two.refused and not two.recorded.failed

    run(journey, tmp_path)


def test_a_host_that_ray_never_brought_gets_nothing_by_its_door(tmp_path: Path) -> None:
    async def journey(two: Two) -> None:
        two.by_ray = False
        for _ in range(10):
            await two.turn()
        assert not two.node.by_door, "Ray may take a while to begin"
        two.now_s += FIRST_S
        for _ in range(10):
            await two.turn()
        assert two.node.by_door and not two.node.leased and not two.head.places()
        assert not (two.run / "letters/out" / door_way(NODE)).exists()
        two.by_ray = True
        await two.turns(lambda: two.node.leased)

    run(journey, tmp_path)


def test_a_report_kept_from_before_the_head_began_anew_raises_no_dead_node(tmp_path: Path) -> None:
    async def journey(two: Two) -> None:
        await serving(two)
        kept = (two.run / "letters/in/ray-1").read_bytes()
        two.head = two.new_head()
        two.head.begin()
        for name in ("ray-1", "ray-2", door_way(NODE)):
            (two.run / "letters/in" / name).write_bytes(kept)
            two.head.look()
        assert not two.head.places() and not two.routed() and not two.control.reports()
        assert not (two.run / "letters/out" / door_way(NODE)).exists()
        await two.node.look()  # what it is answered, if it lives, is no lease
        (two.there / "letters/in/head").write_bytes((two.run / "letters/out/ray-1").read_bytes())
        before = two.node._lease.from_s
        await two.node.look()
        assert two.node._lease.from_s == before

    run(journey, tmp_path)


def test_a_node_that_lives_is_back_with_a_head_that_began_anew_within_its_lease(tmp_path: Path) -> None:
    async def journey(two: Two) -> None:
        await serving(two)
        two.head = two.new_head()
        two.head.begin()
        two.order(3, "chat-1")
        for _ in range(3):
            await two.turn()
        assert two.node.leased and two.routed() == READY and not lapses(two) and not two.refused

    run(journey, tmp_path)


def test_a_head_that_began_anew_hears_by_the_doors_whom_ray_brought_to_the_one_before(tmp_path: Path) -> None:
    async def journey(two: Two) -> None:
        await serving(two)
        two.by_ray = False
        await two.turns(lambda: way(two) == "door")
        two.head = two.new_head()
        two.head.begin()
        two.order(3, "chat-1")
        await two.turns(lambda: two.routed() == READY)
        assert way(two) == "door" and two.node.leased and not lapses(two) and not two.refused
        two.by_ray = True
        await two.turns(lambda: not two.node.by_door and way(two) == "ray")

    run(journey, tmp_path)


def test_a_head_whose_run_directory_is_gone_waits_for_ray(tmp_path: Path) -> None:
    async def journey(two: Two) -> None:
        await serving(two)
        two.by_ray = False
        await two.turns(lambda: way(two) == "door")
        for report in (two.run / "nodes").iterdir():
            report.unlink()
        two.head = two.new_head()
        two.head.begin()
        for _ in range(10):
            await two.turn()
        assert not two.head.places() and any("by Ray" in why for _, why in two.refused)
        two.by_ray = True
        await two.turns(lambda: two.node.leased and bool(two.head.places()))

    run(journey, tmp_path)


def test_a_word_kept_from_before_a_node_began_anew_gives_it_nothing(tmp_path: Path) -> None:
    async def journey(two: Two) -> None:
        await serving(two)
        kept = (two.there / "letters/in/head").read_bytes()
        anew = SealedPost(two.node_is, REPORT, WORD, two.clock_ms)
        two.node._parts.post.open, opened = anew.open, two.node._lease.from_s  # type: ignore[method-assign]
        (two.there / "letters/in/head").write_bytes(kept)
        two.now_s += LEASE_S + 1
        await two.node.look()
        assert not two.node.leased and two.node._lease.from_s == opened

    run(journey, tmp_path)
