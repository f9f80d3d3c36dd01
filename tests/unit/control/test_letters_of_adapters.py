"""A node on another host hears that an adapter was revoked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from fastness.core.desired import WantedAdapter
from fastness.core.fleet_event import Part
from fastness.core.observation import Assignment, NodeOrders
from fastness.core.replica import ReplicaState
from test_letters_of_nodes import NODE, SPEC, Two, run, serving


def test_a_revoked_adapter_is_struck_from_what_a_node_is_ordered_and_its_engine_begins_anew(tmp_path: Path) -> None:
    async def journey(two: Two) -> None:
        await serving(two)
        (before,) = two.node.observe()
        spec = replace(SPEC, adapters=(WantedAdapter("plans", "01" * 32), WantedAdapter("notes", "02" * 32)))
        there = Assignment(before.id, spec, 1, 2, Part(NODE, ("cpu-0",)), routed=True)
        two.control.send(NodeOrders(NODE, 10, (there,), (spec,)))
        await two.turns(lambda: [one.adapters for one in two.head.replicas()] == [("01" * 32, "02" * 32)])
        two.head.withhold(frozenset({"plans"}))
        await two.turns(lambda: [one.adapters for one in two.head.replicas()] == [("02" * 32,)])
        await two.turns(lambda: list(two.routed().values()) == [ReplicaState.READY])

    run(journey, tmp_path)
