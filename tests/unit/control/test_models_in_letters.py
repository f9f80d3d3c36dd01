"""What a node lacks, as the head's letters say it and as its door is told."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

from fastness.control.handing_on import ModelHost, NoModels
from fastness.core.fleet_event import Part
from fastness.core.observation import Assignment, NodeOrders
from fastness.fleet.door.orders import DoorOrders, ModelSource, WantedModel
from fastness.store.snapshot_file import SnapshotReader
from test_letters_of_nodes import NODE, SPEC, Two, run


def test_what_a_node_lacks_is_said_to_it_and_fetched_by_its_door(tmp_path: Path) -> None:
    class Models(NoModels):
        def size_bytes(self, model: str, digest: str) -> int:
            return 100

        def record(self, model: str) -> str:
            return f'{{"model": "{model}"}}'

        def here(self) -> ModelHost:
            return ModelHost("head", "10.0.0.1:7443", "", ("cd" * 32,))

    async def journey(two: Two) -> None:
        two.head._models = Models()
        await two.turn()
        lacking = replace(SPEC, model_digest="cd" * 32)
        there = (Assignment("chat-1", lacking, 1, 1, Part(NODE, ("cpu-0",))),)
        two.control.send(NodeOrders(NODE, 3, there, (lacking,)))
        await two.turns(lambda: bool(two.records))
        assert two.records[-1] == '{"model": "smol"}'
        obtaining = asyncio.ensure_future(two.models.obtain("cd" * 32, lambda: False, lambda _: None))
        await two.turns(lambda: bool(two.models.wanted()))
        await two.turn()
        reader = SnapshotReader(two.there / "door.json", DoorOrders)
        found = reader.poll()
        assert found is not None
        source = ModelSource("head", "10.0.0.1:7443")
        assert found.wanted == (WantedModel("cd" * 32, 100, (source,)),)
        obtaining.cancel()
        await asyncio.gather(obtaining, return_exceptions=True)
        await two.turn()
        found = reader.poll()
        assert found is not None and found.wanted == ()

    run(journey, tmp_path)
