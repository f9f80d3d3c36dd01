"""Law 4 at the door: a request reaches only replicas it is cleared for, and whoever is refused hears why."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fastness.core.deployment import Deployment
from fastness.core.marking import Label
from fastness.core.model import ModelKind
from fastness.core.tenant import Principal
from policed import ANN, HIGH, LOW, OPEN, SECRET, Rules, card, opened, run

BOB = Principal("key_bob", "works", frozenset({"developer"}))


def test_only_replicas_on_cleared_nodes_take_a_request(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path) as door:
            for _ in range(6):
                assert (await door.chat("CLOSED")).status == 200
            assert (door.asked("low"), door.asked("high")) == (0, 6)
            answers = await asyncio.gather(*(door.chat("OPEN") for _ in range(2)))
            assert [one.status for one in answers] == [200, 200]
            assert door.asked("low") >= 1, "what is not so sensitive may use any"

    run(test)


@pytest.mark.parametrize("fields", [{"stream": True}, {"n": 2}, {"n": 2, "stream": True}, {"max_tokens": 2_040}])
def test_no_form_of_a_request_leads_around_it(tmp_path: Path, fields: dict[str, Any]) -> None:
    async def test() -> None:
        async with opened(tmp_path) as door:
            assert (await door.chat("CLOSED", **fields)).status in (200, 400)
            assert door.asked("low") == 0
            assert door.asked("high") >= 1

    run(test)


def test_embeddings_and_completions_are_cleared_alike(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path) as door:
            mark = "Fastness-Marking: CLOSED"
            assert (await door.send("/v1/embeddings", {"model": "mini", "input": "a"}, mark)).status == 200
            assert (await door.send("/v1/completions", {"model": "small", "prompt": "a"}, mark)).status == 200
            assert (door.asked("low"), door.asked("high")) == (0, 2)

    run(test)


def test_not_cleared_is_a_refusal_with_needed_had_rule_and_what_is_cleared(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path, replace(ANN, tenant_clearance=SECRET)) as door:
            door.cards += [card("secure"), card("secret-mini", ModelKind.EMBEDDING), card("also-open")]
            for name, ceiling in (("secure", SECRET), ("secret-mini", SECRET), ("also-open", OPEN)):
                door.deployments[name] = Deployment(name, name, ceiling, ceiling)
            door.nodes[1] = replace(HIGH, ceiling=SECRET)
            door.replicas += [
                replace(door.replica(f"{name}-0", "high"), model=name) for name in ("secure", "secret-mini")
            ]
            door.publish()
            answer = await door.chat("SECRET", max_tokens=2_040, messages=[{"role": "user", "content": "x" * 5_000}])
            assert (answer.status, answer.code) == (403, "marking_not_cleared")
            message = answer.error["message"]
            assert "SECRET asked" in message
            assert "deployment small is cleared to CLOSED" in message
            assert "ceilings/3" in message
            assert message.endswith("Cleared for you: secure."), "of the same kind, and only what is cleared"
            assert door.asked("low") == door.asked("high") == 0, "no engine is asked, not even to count"

    run(test)


def test_a_model_that_a_key_may_not_name_is_not_found_whatever_policy_says(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path, replace(ANN, models=frozenset({"mini"}))) as door:
            for marking in ("OPEN", "SECRET"):
                answer = await door.chat(marking)
                assert (answer.status, answer.code) == (404, "model_not_found")
                assert answer.error["message"] == "There is no model 'small' for this key. Models available: none."

    run(test)


def test_what_is_not_found_lists_only_what_is_cleared(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path) as door:
            assert "available: small." in (await door.chat("CLOSED", model="other")).error["message"]
            assert "available: none." in (await door.chat("SECRET", model="other")).error["message"]

    run(test)


def test_a_parameter_that_policy_forbids_is_refused_by_policy(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path) as door:
            door.enforce(Rules(denies="logit_bias"))
            assert (await door.chat()).status == 200
            answer = await door.chat(logit_bias={"1": 5})
            assert (answer.status, answer.code) == (403, "parameter_not_allowed")

    run(test)


def test_without_a_policy_nothing_is_permitted_and_the_gateway_is_not_ready(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path) as door:
            assert (await door.send("/readyz")).status == 200
            door.enforce(None)
            for answer in (await door.chat(), await door.chat("OPEN"), await door.send("/v1/models")):
                assert (answer.status, answer.code, answer.mark) == (503, "policy_unavailable", None)
            assert (await door.send("/readyz")).status == 503
            assert (await door.send("/livez")).status == 200
            assert door.asked("low") == door.asked("high") == 0
            door.enforce(door.rules)
            assert (await door.chat()).status == 200

    run(test)


def test_a_replica_on_a_node_that_nobody_described_is_not_there(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path) as door:
            door.nodes = [LOW]
            door.publish()
            refused = await door.chat("CLOSED")
            assert refused.code == "marking_not_cleared"
            door.nodes = []
            door.publish()
            answer = await door.chat()
            assert answer.code == "no_replica_ready"
            assert "small-low is on a node that is not described here" in answer.error["message"]
            assert door.asked("high") == 0

    run(test)


def test_a_model_without_a_deployment_is_not_served(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path) as door:
            del door.deployments["small"]
            door.publish()
            assert (await door.chat()).code == "model_not_found"
            assert (await door.send("/v1/models/small")).code == "model_not_found"

    run(test)


def test_what_was_refused_is_on_record_with_marking_policy_and_rule(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path) as door:
            await door.chat("CLOSED")
            await door.chat("SECRET")
            await door.chat("CLOSED", model="other")
            await door.chat("NONSENSE")
            found = [(one["marking"], one["policy"], one["rule"], one.get("code")) for one in door.entries()]
            digest = door.rules.digest
            assert found == [
                ("CLOSED", digest, "infer/1", None),
                ("SECRET", digest, "ceilings/3", "marking_not_cleared"),
                ("CLOSED", None, None, "model_not_found"),
                (None, None, None, "unknown_marking"),
            ]

    run(test)


def test_models_are_those_cleared_at_the_callers_own_marking_with_their_ceilings(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path, ANN, BOB, replace(ANN, id="key_eve", marking=SECRET)) as door:
            door.deployments["small"] = Deployment(
                "small", "small", Label("SECRET", ("OURS ONLY",)), Label("CLOSED", ("OURS ONLY",))
            )
            door.deployments["mini"] = Deployment("mini", "mini", OPEN, SECRET)
            door.publish()
            listed = await door.send("/v1/models")
            found = {one["id"]: one["ceiling"] for one in json.loads(listed.body)["data"]}
            assert found == {"small": "CLOSED; OURS ONLY", "mini": "OPEN"}
            assert listed.mark == "open"
            closed = json.loads((await door.send("/v1/models", None, "Fastness-Marking: CLOSED")).body)["data"]
            assert [one["id"] for one in closed] == ["small"]
            assert json.loads((await door.send("/v1/models", key="eve")).body)["data"] == []
            assert (await door.send("/v1/models/small", key="eve")).code == "model_not_found"
            assert (await door.send("/v1/models/mini", key="bob")).status == 200

    run(test)


def test_a_deployment_for_other_tenants_is_not_found(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path, ANN, BOB) as door:
            door.deployments["small"] = replace(door.deployments["small"], tenants=("works",))
            door.publish()
            answer = await door.chat()
            assert (answer.code, answer.error["message"][-6:]) == ("model_not_found", " none.")
            assert (await door.send("/v1/models/small")).code == "model_not_found"
            assert (await door.chat(key="bob")).status == 200

    run(test)


def test_a_replica_that_comes_later_or_moves_is_not_taken_for_what_was_there_before(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path) as door:
            everywhere, high = door.replicas, [one for one in door.replicas if one.node == "high"]
            door.replicas = high
            door.publish()
            assert (await door.chat("CLOSED")).status == 200, "cleared for all there are"
            door.replicas = everywhere
            door.publish()
            for _ in range(4):
                assert (await door.chat("CLOSED")).status == 200
            assert door.asked("low") == 0
            low = door.engines["low"].socket
            moved = [replace(one, node="low", socket=low, epoch=2) for one in high]
            door.replicas = [*moved, *(replace(one, id=f"{one.id}-new") for one in high)]
            door.publish()
            for _ in range(4):
                assert (await door.chat("CLOSED")).status == 200
            assert door.asked("low") == 0, "its id is not what was cleared"

    run(test)


def test_what_fits_is_what_fits_a_cleared_replica(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path) as door:
            door.replicas = [replace(one, context_tokens=64_000) if one.node == "low" else one for one in door.replicas]
            door.publish()
            answer = await door.chat("CLOSED", max_tokens=5_000)
            assert (answer.status, answer.code) == (400, "context_length_exceeded")
            assert (await door.chat("OPEN", max_tokens=5_000)).status == 200

    run(test)
