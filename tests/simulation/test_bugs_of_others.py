"""Each test is a defect that somebody's users met (the name says whose), played here against the production decisions.

The laws are looked at in every event of every one of them, so a test that ends has also kept to all of these.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from fastness.core.desired import Needs, Scaling
from fastness.core.fleet_event import NodeLost, ReplicaPlaced
from fastness.core.fleet_state import Phase
from fastness.fleet.simulated import FOREVER_S, Cause, Change, Step
from fastness.simulator.command import Apply, Cordon, Roll, Scale, Share, Uncordon
from fastness.simulator.faults import Fault, Kind
from fastness.simulator.request import Asked
from small_worlds import GB, OFFICIAL, SECRET, ends, node, ready, spec, steady, tell, world


def epochs(played) -> dict[str, int]:
    return {name: one.epoch for name, one in played.serving.live.items()}


def test_dynamo_12428_devices_never_exceed_what_there_is_also_while_everything_is_moved() -> None:
    commands = [spec("chat", 8), spec("code", 6, owner="tax"), (200.0, Share("tax", "default", 8))]
    commands += [(300.0, Scale("code", 8)), (320.0, Cordon("leeds-01", True)), (400.0, Roll("chat", "cd" * 32))]
    commands += [(500.0, Uncordon("leeds-01"))]
    faults = [Fault(330.0, Kind.ORDERS_LATE, for_s=200.0, amount=15.0), Fault(410.0, Kind.DOWN, for_s=40.0)]
    played = world(4, commands, steady("chat", 60.0, 700.0), faults).run()
    held = [device for one in played.control.state.replicas.values() for part in one.parts for device in part.devices]
    assert len(held) <= 16 and played.laws.checks > 1_000


def test_dynamo_13559_scaling_down_drops_no_answer_under_way() -> None:
    commands = [spec(count=6), (200.0, Scale("chat", 1)), (300.0, Scale("chat", 6)), (400.0, Scale("chat", 2))]
    played = world(2, commands, steady("chat", 60.0, 600.0, 0.5, 400)).run()
    assert ends(played) == {"answer": 1_080}, tell(played)
    assert played.story.tallies["chat"].resumed == 0


def test_dynamo_14251_what_cannot_grow_can_still_shrink() -> None:
    played = world(1, [spec(count=2), (100.0, Scale("chat", 9)), (300.0, Scale("chat", 1))]).run()
    assert ready(played) == len(played.control.state.replicas) == 1, tell(played)


def test_grove_565_scaling_one_deployment_restarts_no_other_and_none_of_its_own() -> None:
    played = world(3, [spec("chat", 3), spec("code", 3, owner="tax"), (200.0, Scale("chat", 5))])
    begun = []
    played.laws.engine = record(begun, played.laws.engine)
    played.run()
    assert len(begun) == len(set(begun)) == 8, "each replica has begun once"


def record(begun: list[str], engine):
    def on_change(change, state) -> None:
        if change.step is Step.BEGAN:
            begun.append(change.assignment.replica)
        engine(change, state)

    return on_change


@pytest.mark.parametrize("order", range(6))
def test_dynamo_10527_the_fleet_converges_after_any_order_of_deaths(order: int) -> None:
    kinds = [Kind.POWER, Kind.CRASH, Kind.DOWN, Kind.DARK, Kind.HANG, Kind.TORN]
    turned = kinds[order:] + kinds[:order]
    faults = [Fault(100.0 + 7.0 * number, kind, for_s=40.0) for number, kind in enumerate(turned)]
    played = world(3, [spec(count=5)], steady("chat", 60.0, 300.0), faults, quiet_s=600.0).run()
    assert ready(played) == 5, tell(played)


def test_aibrix_235_nothing_is_routed_to_before_all_of_it_is_loaded() -> None:
    """Adapters are loaded before an engine says that it is ready: a second start, too, takes its whole time."""
    faults = [Fault(100.0, Kind.CRASH), Fault(150.0, Kind.SLOW, "leeds-00", FOREVER_S, 8.0), Fault(200.0, Kind.CRASH)]
    played = world(1, [spec(count=1)], steady("chat", 50.0, 240.0), faults)
    first = []
    played.laws.sent = note_when(first, played, played.laws.sent)
    played.run()
    gaps = [after - before for before, after in pairwise(first) if after - before > 1.5]
    assert len(gaps) == 2 and gaps[1] > 16.0, "eight times two seconds"


def note_when(moments: list[float], played, sent):
    def on_sent(*what) -> None:
        if what[2] is not None:
            moments.append(played.now_s)
        sent(*what)

    return on_sent


def test_aibrix_236_what_a_restart_must_load_again_is_loaded_before_it_is_ready() -> None:
    played = world(1, [spec(count=1)], (), [Fault(100.0, Kind.CRASH)], 200.0)
    steps = []
    played.laws.engine = lambda change, state: steps.append((change.step, change.epoch, change.at_s))
    played.run()
    began = next(at_s for step, epoch, at_s in steps if step is Step.BEGAN and epoch == 2)
    ready_again = next(at_s for step, epoch, at_s in steps if step is Step.READY and epoch == 2)
    assert ready_again - began >= 2.0


def test_production_stack_749_and_420_a_dead_engine_gets_nothing_after_a_second_and_holds_up_nobody() -> None:
    faults = [Fault(200.0, Kind.CRASHES, "leeds-00", 300.0, 1.0), Fault(201.0, Kind.CRASH, "chat")]
    played = world(2, [spec(count=6)], steady("chat", 60.0, 400.0, 0.25), faults).run()
    assert ends(played) == {"answer": 1_360}, tell(played)
    assert max(played.story.pauses_s, default=0.0) < 1.0
    assert played.story.tallies["chat"].percentile_s(0.99) < 1.0


def test_xinference_2585_a_dead_node_never_stops_what_is_decided_for_the_others() -> None:
    faults = [Fault(100.0, Kind.POWER, "leeds-00", FOREVER_S)]
    played = world(4, [spec(count=2), (101.0, Scale("chat", 6))], (), faults).run()
    assert ready(played) == 6, tell(played)


def test_gpustack_5935_a_control_plane_that_hears_nothing_evicts_nobody() -> None:
    faults = [Fault(200.0, Kind.CUT_OFF, for_s=400.0), Fault(700.0, Kind.PAUSE, for_s=300.0)]
    played = world(6, [spec(count=12)], steady("chat", 60.0, 1_100.0), faults, quiet_s=100.0).run()
    assert not any(isinstance(event, NodeLost) for event in played.control.log), tell(played)
    assert ends(played) == {"answer": 1_040}
    assert set(epochs(played).values()) == {1}, "no engine was touched"


def test_gpustack_1020_an_isolated_node_ends_its_engines_by_itself() -> None:
    played = world(3, [spec(count=9)], (), [Fault(100.0, Kind.DARK, "leeds-00", 500.0)], until_s=150.0)
    ended: list[Change] = []
    engine = played.laws.engine
    played.laws.engine = lambda change, state: (ended.append(change), engine(change, state))
    played.run()
    by_lease = [one.at_s for one in ended if one.cause is Cause.LEASE]
    assert by_lease and set(by_lease) == {120.0}
    assert played.laws.lives("leeds-00") == ()


def test_gpustack_915_and_ray_55590_a_pinned_replica_never_lands_elsewhere() -> None:
    nodes = [node(0, law="IE"), node(1, law="GB"), node(2, ceiling=SECRET), node(3, law="IE", ceiling=SECRET)]
    needs = Needs(SECRET, 40 * GB, jurisdictions=("GB",))
    commands = [spec(count=3, needs=needs), (100.0, Scale("chat", 6)), (300.0, Cordon("leeds-02", True))]
    played = world(nodes, commands, (), [Fault(200.0, Kind.POWER, "leeds-02", 60.0)]).run()
    places = {part.node for event in played.control.log if isinstance(event, ReplicaPlaced) for part in event.parts}
    assert places == {"leeds-02"}, "it rather waits"
    assert any(one.deployment == "chat" and one.refusals for one in played.control.pending)


def test_opengatellm_counters_a_dead_engine_takes_no_slot_with_it() -> None:
    """Their counters leaked whenever a worker died, until nothing was let in any more."""
    faults = [Fault(100.0 + 10.0 * one, Kind.CRASH, "chat") for one in range(60)]
    faults += [Fault(105.0 + 60.0 * one, Kind.HANG, "chat") for one in range(10)]
    played = world(1, [spec(count=3)], steady("chat", 60.0, 900.0, 0.5, 300), faults).run()
    played.look_at_slots()
    assert all(gateway.waiting() == 0 for gateway in played.gateways.values()), tell(played)


def test_opengatellm_flushdb_a_gateway_that_restarts_lets_no_more_in_than_there_are_slots() -> None:
    faults = [Fault(100.0 + 20.0 * one, Kind.GATEWAY, f"gateway-{one % 2}", 1.0) for one in range(10)]
    played = world(1, [spec(count=1)], steady("chat", 60.0, 400.0, 0.8, 300), faults, gateways=2).run()
    found = ends(played)
    assert found["answer"] > 300 and found["lost"] > 0, tell(played)


def test_gpustack_memory_claim_what_fits_no_device_is_placed_nowhere_and_says_so() -> None:
    """Their estimate fell back to 2 GiB when the size was not known in time. Ours is part of what is asked for."""
    played = world(2, [spec(count=1, needs=Needs(OFFICIAL, 81 * GB))], until_s=60.0).run()
    (pending,) = played.control.pending
    assert not played.control.state.replicas
    assert any("81" in one.sentence for one in pending.refusals), pending


def test_a_roll_under_traffic_costs_no_answer_and_never_goes_below_what_is_wanted() -> None:
    """KServe asserts it, Dynamo failed it: no error while everything is replaced."""
    played = world(2, [spec(count=4), (200.0, Roll("chat", "cd" * 32))], steady("chat", 60.0, 700.0, 0.5, 300)).run()
    assert ends(played) == {"answer": 1_280}, tell(played)
    state = played.control.state
    assert {one.revision for one in state.of("chat")} == {2} == {state.deployments["chat"].stable}
    assert played.story.tallies["chat"].resumed == 0


def test_a_revision_that_cannot_start_takes_nothing_away_from_the_one_that_serves() -> None:
    faults = [Fault(1.0, Kind.CRASHES, "chat@2", FOREVER_S, 1.0)]
    commands = [spec(count=3), (200.0, Roll("chat", "cd" * 32))]
    played = world(2, commands, steady("chat", 60.0, 900.0), faults).run()
    assert ends(played) == {"answer": 840}, tell(played)


def test_a_reclaimed_share_is_back_within_the_drain_deadline_and_no_answer_is_lost() -> None:
    lender, owner = spec("justice", 8, owner="justice", drain_timeout_s=30.0), spec("health", 1)
    commands = [(0.5, Share("health", "default", 4)), (0.6, Share("justice", "default", 4)), lender, owner]
    commands += [(300.0, Scale("health", 4))]
    played = world(2, commands, steady("justice", 60.0, 500.0, 0.5, 400) + steady("health", 60.0, 500.0)).run()
    placed = [
        (at_s, text) for at_s, text in played.story.timeline() if "placed" in text and "health" in text and at_s > 300.0
    ]
    assert placed and placed[-1][0] < 300.0 + 30.0 + 5.0, tell(played)
    assert ready(played, "health") == 4
    assert set(ends(played, "justice")) == set(ends(played, "health")) == {"answer"}


def test_a_deployment_scaled_to_zero_wakes_for_a_request_that_waits() -> None:
    sleeper = replace(spec(), scaling=Scaling(0, 2, idle_s=120.0, down_s=60.0))
    asked = [Asked(60.0, "chat", "health", 400, 50), Asked(900.0, "chat", "health", 400, 50)]
    played = world(1, [(1.0, Apply(sleeper))], asked)
    played.run()
    assert ends(played) == {"answer": 2}, tell(played)
    assert all(one.phase is not Phase.LOST for one in played.control.state.replicas.values())
