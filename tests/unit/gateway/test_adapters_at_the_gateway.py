"""An adapter is named after a colon, by those who may; engines are told every scale, and no slot mixes two."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from fastness.core.deployment import Adapter, Deployment
from fastness.core.marking import Label
from fastness.core.policy import Decision, Query
from fastness.core.replica import Replica, ReplicaState, RoutingSnapshot
from fastness.core.tenant import Principal
from policed import ANN, CLOSED, LATTICE, OPEN, SECRET, Door, Rules, card, opened, run, until

BOB = Principal("key_bob", "tax", frozenset({"developer"}), tenant_clearance=CLOSED)
PLANS = Adapter("plans", "01" * 32, "ab" * 32, CLOSED)
NOTES = Adapter("notes", "02" * 32, "ab" * 32, OPEN, ("health",))
BOTH = (NOTES, PLANS)


def deployment(*adapters: Adapter, **more: Any) -> Deployment:
    return Deployment("small", "small", CLOSED, SECRET, adapters, model_digest="ab" * 32, **more)


def replica(door: Door, name: str, *adapters: Adapter, **changes: Any) -> Replica:
    one = replace(door.replica(name, "high"), deployment="small", model_digest="ab" * 32)
    return replace(one, adapters=tuple(each.digest for each in adapters), **changes)


def publish(door: Door, *replicas: Replica, deployments: tuple[Deployment, ...]) -> None:
    snapshot = RoutingSnapshot(1, (card("small"),), replicas, deployments, tuple(door.nodes))
    door.gateway.routing.replace(snapshot)


def serve(door: Door, *adapters: Adapter, **changes: Any) -> None:
    publish(door, replica(door, "small-0", *adapters, **changes), deployments=(deployment(*adapters),))


def told(door: Door, node: str = "high") -> list[tuple[list[float], bool, int]]:
    """The scales, in the engine's order, that each generation came with; whether it goes on from its slot; which."""
    bodies = [json.loads(body) for path, body in door.engines[node].asked if path.endswith("/chat/completions")]
    return [([one["scale"] for one in body.get("lora", [])], body["cache_prompt"], body["id_slot"]) for body in bodies]


def test_who_names_an_adapter_gets_it_and_the_record_says_so(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path, ANN) as door:
            serve(door, *BOTH)
            answer = await door.chat(model="small:plans")
            whole = json.loads(answer.body)
            assert (answer.status, whole["model"]) == (200, "small:plans")
            assert whole["system_fingerprint"] == f"fp_{'ab' * 6}_{'01' * 6}"
            assert (await door.chat()).status == 200
            assert [scales for scales, _, _ in told(door)] == [[0.0, 1.0], [0.0, 0.0]]
            with_adapter, alone = door.entries()
            assert (with_adapter["model"], with_adapter["adapter"]) == ("small", "plans")
            assert with_adapter["adapter_digest"] == PLANS.digest
            assert "adapter" not in alone and "adapter_digest" not in alone

    run(test)


def test_no_slot_goes_on_from_what_was_read_with_another_adapter(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path, ANN) as door:
            serve(door, *BOTH)
            for model in ("small", "small", "small:plans", "small:plans", "small:notes", "small"):
                assert (await door.chat(model=model)).status == 200
            assert told(door) == [
                ([0.0, 0.0], False, 0),
                ([0.0, 0.0], True, 0),
                ([0.0, 1.0], False, 0),
                ([0.0, 1.0], True, 0),
                ([1.0, 0.0], False, 0),
                ([0.0, 0.0], False, 0),
            ]

    run(test)


def test_engines_without_adapters_hear_nothing_of_them(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path, ANN) as door:
            serve(door)
            assert (await door.chat()).status == 200
            assert b"lora" not in door.engines["high"].asked[-1][1]

    run(test)


def test_an_adapter_of_some_tenants_is_not_there_for_others(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path, ANN, BOB) as door:
            serve(door, *BOTH)
            listed = {
                key: [one["id"] for one in json.loads((await door.send("/v1/models", key=key)).body)["data"]]
                for key in ("ann", "bob")
            }
            assert listed == {"ann": ["small", "small:notes", "small:plans"], "bob": ["small", "small:plans"]}
            assert (await door.chat(model="small:notes")).status == 200
            refused = await door.chat(key="bob", model="small:notes")
            assert (refused.status, refused.code) == (404, "model_not_found")
            assert "small, small:plans." in refused.error["message"]
            assert (await door.send("/v1/models/small:notes", key="bob")).code == "model_not_found"

    run(test)


def test_names_that_mean_nothing_are_not_found(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path, ANN) as door:
            serve(door, PLANS)
            for name in ("small:", "small:plan", ":plans", "plans", "small:plans:plans", "mini:plans", "small: plans"):
                assert (await door.chat(model=name)).code == "model_not_found", name
            assert door.asked("high") == 0

    run(test)


class Marked(Rules):
    """Rules that hold each adapter to what it was admitted for, as `ceilings/5` does."""

    def decide(self, query: Query) -> Decision:
        for one in query.deployment.adapters if query.deployment else ():
            if not LATTICE.dominates(one.ceiling, query.label):
                had = f"adapter {one.name} was admitted to {one.ceiling}"
                return Decision(False, "ceilings/5", "marking_not_cleared", str(query.label), had)
        return super().decide(query)


def test_a_request_is_held_to_the_adapter_that_it_names_and_to_no_other(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path, ANN) as door:
            door.enforce(Marked())
            serve(door, *BOTH)
            refused = await door.chat("CLOSED", model="small:notes")
            assert (refused.status, refused.code) == (403, "marking_not_cleared")
            assert "adapter notes was admitted to OPEN" in refused.error["message"]
            assert "small, small:plans" in refused.error["message"], "what is cleared for it is told"
            assert door.asked("high") == 0
            assert (await door.chat("CLOSED", model="small:plans")).status == 200
            assert (await door.chat("CLOSED", model="small")).status == 200
            listed = json.loads((await door.send("/v1/models")).body)["data"]
            assert {one["id"]: (one["ceiling"], one["adapter"]) for one in listed} == {
                "small": ("CLOSED", None),
                "small:notes": ("OPEN", NOTES.digest),
                "small:plans": ("CLOSED", PLANS.digest),
            }

    run(test)


def test_a_replica_with_other_adapters_than_are_described_gets_nothing(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path, ANN) as door:
            publish(door, replica(door, "small-0", *BOTH), deployments=(deployment(PLANS),))
            for model in ("small", "small:plans"):
                answer = await door.chat(model=model)
                assert answer.code == "no_replica_ready"
                assert "small-0 has a model or adapters that are not described here" in answer.error["message"]
            assert door.asked("high") == 0

    run(test)


def test_while_adapters_roll_both_names_are_served_each_where_it_is_loaded(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path, ANN) as door:
            old = replica(door, "small-0", NOTES, node="low", socket=door.engines["low"].socket)
            new = replica(door, "small-1", PLANS)
            publish(door, old, new, deployments=(deployment(NOTES), deployment(PLANS)))
            assert (await door.chat(model="small:notes")).status == 200
            assert (door.asked("low"), door.asked("high")) == (1, 0)
            assert (await door.chat(model="small:plans")).status == 200
            assert (door.asked("low"), door.asked("high")) == (1, 1)
            assert (await door.chat()).status == 200
            publish(door, new, deployments=(deployment(PLANS),))
            assert (await door.chat(model="small:notes")).code == "model_not_found"
            assert (await door.chat(model="small:plans")).status == 200

    run(test)


def test_an_adapter_that_has_new_bytes_goes_over_from_the_old_to_the_new(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path, ANN) as door:
            newer = replace(PLANS, digest="03" * 32)
            old = replica(door, "small-0", PLANS, node="low", socket=door.engines["low"].socket)
            new = replica(door, "small-1", newer)
            starting = replace(new, state=ReplicaState.STARTING)
            both = (deployment(PLANS), deployment(newer))
            publish(door, old, starting, deployments=both)
            assert (await door.chat(model="small:plans")).status == 200
            publish(door, replace(old, state=ReplicaState.DRAINING), new, deployments=both[::-1])
            assert (await door.chat(model="small:plans")).status == 200
            assert [one["adapter_digest"] for one in door.entries()] == [PLANS.digest, newer.digest]

    run(test)


def test_who_waits_for_an_adapter_that_is_taken_away_is_told_so(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path, ANN) as door:
            serve(door, PLANS)
            door.engines["high"].busy = True
            first = asyncio.ensure_future(door.chat(model="small:plans"))
            await until(lambda: door.asked("high") == 1)
            second = asyncio.ensure_future(door.chat(model="small:plans"))
            third = asyncio.ensure_future(door.chat())
            await until(lambda: door.waiting == 2)
            serve(door, epoch=2)
            answer = await second
            assert (answer.status, answer.code) == (404, "model_not_found")
            assert "small:plans was taken out of service" in answer.error["message"]
            door.engines["high"].free()
            assert (await third).status == 200
            await first

    run(test)


def test_a_label_of_an_adapter_that_the_profile_does_not_know_permits_nothing(tmp_path: Path) -> None:
    strange = replace(PLANS, ceiling=Label("OPEN", ("NEVER HEARD",)))

    async def test() -> None:
        async with opened(tmp_path, ANN) as door:
            door.enforce(Marked())
            serve(door, strange)
            assert (await door.chat("CLOSED", model="small:plans")).code == "marking_not_cleared"

    run(test)
