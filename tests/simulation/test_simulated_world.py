"""The world keeps time, the same seed is the same world, and what breaks in it is what was meant to break."""

from __future__ import annotations

import os
import subprocess
import sys

from fastness.fleet.simulated import FOREVER_S
from fastness.simulator.command import Scale
from fastness.simulator.drawing import draw
from fastness.simulator.faults import Fault, Kind
from fastness.simulator.request import Asked
from small_worlds import ends, ready, spec, steady, tell, world

PROGRAM = """
from small_worlds import spec, steady, tell, world
from fastness.simulator.faults import Fault, Kind
faults = [Fault(100.0, kind, for_s=20.0) for kind in Kind]
print(tell(world(4, [spec(count=6)], steady("chat", 50.0, 300.0, 0.5), faults, 600.0, gateways=2).run()))
"""


def test_the_same_seed_is_the_same_world_whatever_hashes_are() -> None:
    told = set()
    for hash_seed in ("1", "2"):
        environ = os.environ | {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.path.dirname(__file__)}
        done = subprocess.run([sys.executable, "-c", PROGRAM], env=environ, capture_output=True, text=True, check=True)
        told.add(done.stdout)
    assert len(told) == 1 and "power" in told.pop()


def test_a_scenario_is_drawn_from_its_seed() -> None:
    assert draw(5) == draw(5) != draw(6)


def test_requests_are_answered_as_fast_as_the_engine_is() -> None:
    played = world(1, [spec(count=1)], [Asked(100.0, "chat", "health", 800, 101)]).run()
    tally = played.story.tallies["chat"]
    assert ends(played) == {"answer": 1}
    assert abs(tally.ttfts_s[0] - 800 / 8_000.0) < 1e-6, tell(played)


def test_a_crashed_engine_costs_a_pause_and_no_answer() -> None:
    faults = [Fault(200.0 + 50 * one, Kind.CRASH) for one in range(8)]
    played = world(2, [spec(count=3)], steady("chat", 60.0, 800.0), faults).run()
    assert ends(played) == {"answer": 740}, tell(played)
    assert played.story.tallies["chat"].resumed > 5
    assert max(played.story.pauses_s) < 1.0
    assert ready(played) == 3


def test_an_isolated_node_costs_no_answer_while_others_serve() -> None:
    played = world(2, [spec(count=6)], steady("chat", 60.0, 400.0), [Fault(200.0, Kind.DARK, "leeds-00", 100.0)]).run()
    assert ends(played) == {"answer": 340}, tell(played)
    assert any("lease" in text for _, text in played.story.timeline())
    assert ready(played) == 6


def test_the_control_plane_may_be_away_and_nobody_notices() -> None:
    faults = [Fault(100.0, Kind.DOWN, for_s=300.0), Fault(500.0, Kind.PAUSE, for_s=200.0)]
    played = world(2, [spec(count=3)], steady("chat", 60.0, 900.0), faults).run()
    assert ends(played) == {"answer": 840}, tell(played)


def test_a_gateway_that_dies_ends_what_it_had_and_no_more() -> None:
    played = world(1, [spec(count=2)], steady("chat", 60.0, 300.0), [Fault(150.0, Kind.GATEWAY, for_s=5.0)], gateways=2)
    played.run()
    found = ends(played)
    assert found["answer"] + found["lost"] == 240 and 0 < found["lost"] < 10, tell(played)


def test_lost_and_late_orders_only_delay_what_is_wanted() -> None:
    faults = [Fault(2.0, Kind.ORDERS_LOST, for_s=300.0, amount=0.7), Fault(2.0, Kind.ORDERS_LATE, for_s=300.0)]
    played = world(3, [spec(count=3), (100.0, Scale("chat", 8)), (200.0, Scale("chat", 4))], (), faults).run()
    assert ready(played) == len(played.control.state.replicas) == 4, tell(played)


def test_engines_that_never_become_ready_are_tried_for_ever_and_get_nothing() -> None:
    faults = [Fault(0.5, Kind.NEVER_READY, "leeds-00", FOREVER_S)]
    played = world(1, [spec(count=1)], steady("chat", 60.0, 90.0, 10.0), faults).run()
    assert ends(played) == {"expired": 3}, tell(played)
