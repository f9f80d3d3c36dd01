"""Commands on deployments, nodes and shares: what they record, what they refuse, and that the same again is nothing."""

from __future__ import annotations

import pytest

from commanded_fleet import Site, chat, node
from fastness.control.fleet_log import history
from fastness.core.fleet_event import (
    DeploymentApplied,
    DeploymentRemoved,
    DeploymentScaled,
    NodeCordoned,
    NodeForgotten,
    NodeLabelled,
    NodeLost,
    NodeUncordoned,
    ReplicaPlaced,
    ShareSet,
)
from fastness.core.fleet_state import fold


@pytest.fixture
def site(world):
    found = Site(world)
    yield found
    found.close()


def recorded(site):
    return [event for _, event in history(site.directory)]


def test_a_deployment_is_wanted_once_however_often_it_is_applied(site):
    (first,) = site.apply(chat())
    (again,) = site.apply(chat())
    assert (first["outcome"], first["revision"]) == ("created", 1)
    assert (again["outcome"], again["changes"]) == ("unchanged", [])
    (event,) = recorded(site)
    assert isinstance(event, DeploymentApplied)
    assert (event.by, event.spec.name, event.spec.model_digest) == ("local", "chat", "a" * 64)
    assert event.spec.needs.device_bytes > 100_000_000


@pytest.mark.parametrize(
    ("changed", "outcome"),
    [
        ({"scaling": {"min": 1, "max": 4}}, "changed"),
        ({"rollout": {"surge": 2}}, "changed"),
        ({"tenants": ["health"]}, "changed"),
        ({"drain_timeout_s": 5}, "changed"),
        ({"urgent": True}, "changed"),
        ({"model": "large"}, "rolling"),
        ({"parameters": {"slots": 4}}, "rolling"),
        ({"needs": {"labels": ["gpu=h100"]}}, "rolling"),
    ],
)
def test_only_what_replicas_are_made_of_makes_a_new_revision(site, changed, outcome):
    site.apply(chat())
    (applied,) = site.apply(chat(**changed))
    assert (applied["outcome"], applied["revision"]) == (outcome, 2 if outcome == "rolling" else 1)
    assert applied["changes"]


def test_a_lower_ceiling_counts_at_once_and_a_higher_one_needs_new_replicas(site):
    high = chat(model="large", ceiling="OFFICIAL-SENSITIVE")
    site.apply(high)
    assert site.apply(high | {"ceiling": "OFFICIAL"})[0]["outcome"] == "changed"
    assert str(site.state.deployments["chat"].spec.ceiling) == "OFFICIAL"
    assert site.apply(high)[0]["outcome"] == "rolling"


@pytest.mark.parametrize(
    ("given", "code", "said"),
    [
        ({"model": "smal"}, "model_not_found", "Did you mean small?"),
        ({"model": "small@sha256:bbbbbb"}, "conflict", "aaaaaaaaaaaa"),
        ({"model": "small@latest"}, "invalid_value", "hex digits"),
        ({"owner": "helth"}, "not_found", "Did you mean health?"),
        ({"owner": "Health!"}, "invalid_value", "department/team"),
        ({"tenants": ["justize"]}, "not_found", "Did you mean justice?"),
        ({"tenants": []}, "invalid_value", "1 to 64"),
        ({"name": "Chat"}, "invalid_value", "lower-case"),
        ({"ceiling": "TOP SECRET"}, "marking_not_cleared", "admitted for OFFICIAL"),
        ({"ceiling": "PURPLE"}, "unknown_marking", "PURPLE"),
        ({"parameters": {"slots": 0}}, "invalid_value", "from 1 to 256"),
        ({"parameters": {"engine": "vlm"}}, "invalid_value", "there are llamacpp"),
        ({"parameters": {"cache_type": "f12"}}, "invalid_value", "q8_0"),
        ({"parameters": {"slot_context_tokens": 9_000}}, "invalid_value", "8,192"),
        ({"parameters": {"slotz": 3}}, "unknown_field", "Did you mean `slots`?"),
        ({"needs": {"labels": ["a b"]}}, "invalid_value", "no label"),
        ({"needs": {"jurisdictions": ["XX"]}}, "invalid_value", "the profile uk has"),
        ({"needs": {"operators": ["nobody"]}}, "invalid_value", "the profile uk has"),
        ({"needs": {"pool": "A"}}, "invalid_value", "lower-case"),
        ({"needs": {"devices": 65}}, "invalid_value", "from 1 to 64"),
        ({"needs": {"nodes": 2}}, "invalid_value", "which runs on one node; over several runs"),
        ({"scaling": {"min": 3, "max": 2}}, "invalid_value", "`scaling.max` is 2"),
        ({"scaling": {"min": 1, "max": 2_000}}, "invalid_value", "1,000"),
        ({"rollout": {"canary_percent": 101}}, "invalid_value", "from 0 to 100"),
        ({"needs": {"devices": 5}}, "no_node_fits", "bristol"),
        ({"scaling": {"min": "two"}}, "invalid_type", "scaling"),
    ],
)
def test_a_deployment_that_cannot_be_wanted_is_refused_with_what_to_try(site, given, code, said):
    problem = site.refused("POST", "/deployments", {"deployment": [chat(**given)]})
    assert problem["code"] == code
    assert said in problem["detail"] + problem["hint"]
    assert recorded(site) == []


def test_of_a_file_all_is_taken_or_nothing(site):
    site.refused("POST", "/deployments", {"deployment": [chat("a"), chat("b", model="none")]})
    site.refused("POST", "/deployments", {"deployment": [chat("a"), chat("a")]})
    assert recorded(site) == []
    assert [one["outcome"] for one in site.apply(chat("a"), chat("b"))] == ["created", "created"]


def test_what_no_node_can_take_yet_may_be_wanted_in_advance(site):
    given = chat(needs={"devices": 8})
    assert "--pending" in site.refused("POST", "/deployments", {"deployment": [given]})["hint"]
    assert site.apply(given, pending=True)[0]["outcome"] == "created"


def test_while_no_node_is_known_nothing_is_said_of_fit(site):
    site.fleet.nodes = ()
    assert site.apply(chat(needs={"devices": 8}))[0]["outcome"] == "created"


def test_a_model_that_is_gone_leaves_what_runs_as_it_is_and_takes_no_new_replicas(site):
    site.apply(chat())
    del site.models["small"]
    assert site.apply(chat())[0]["outcome"] == "unchanged"
    assert site.apply(chat(scaling={"min": 1, "max": 2}))[0]["outcome"] == "changed"
    problem = site.refused("POST", "/deployments", {"deployment": [chat(parameters={"slots": 4})]})
    assert problem["code"] == "model_not_found"


def test_removed_it_drains_and_can_be_wanted_again(site):
    site.apply(chat())
    site.settle()
    site.world.post("/deployments/chat/remove")
    site.world.post("/deployments/chat/remove")
    assert sum(isinstance(one, DeploymentRemoved) for one in recorded(site)) == 1
    assert site.refused("POST", "/deployments/chat/scale", {"replicas": 1})["code"] == "conflict"
    assert site.apply(chat())[0]["outcome"] == "created"
    site.world.post("/deployments/chat/remove")
    site.settle()
    assert site.refused("GET", "/deployments/chat")["code"] == "not_found"


def test_it_is_scaled_within_its_bounds_and_the_bounds_with_it(site):
    site.apply(chat(scaling={"min": 1, "max": 3}))
    assert site.world.post("/deployments/chat/scale", {"replicas": 3})["wanted"] == 3
    assert site.world.post("/deployments/chat/scale", {"replicas": 3})["wanted"] == 3
    problem = site.refused("POST", "/deployments/chat/scale", {"replicas": 5})
    assert problem["hint"] == "fastness scale chat 5 --max 5"
    assert site.world.post("/deployments/chat/scale", {"replicas": 5, "max": 5})["wanted"] == 5
    assert site.world.post("/deployments/chat/scale", {"max": 2})["wanted"] == 2
    assert [one.replicas for one in recorded(site) if isinstance(one, DeploymentScaled)] == [3, 5]
    assert site.refused("POST", "/deployments/chat/scale", {})["param"] == "replicas"
    assert site.refused("POST", "/deployments/chut/scale", {"replicas": 1})["hint"] == "Did you mean chat?"


def test_a_roll_makes_a_new_revision_also_of_the_same(site):
    site.apply(chat())
    (same,) = site.world.post("/deployments/chat/roll")["applied"]
    assert (same["revision"], same["changes"]) == (2, [])
    (other,) = site.world.post("/deployments/chat/roll", {"model": "large", "parameters": {"slots": 2}})["applied"]
    assert [one["field"] for one in other["changes"]] == ["model", "parameters.slots"]
    assert site.state.deployments["chat"].spec.parameters.slots == 2
    assert site.refused("POST", "/deployments/chat/roll", {"parameters": {"slotz": 2}})["hint"].startswith(
        "Did you mean"
    )
    assert site.refused("POST", "/deployments/chat/roll", {"parameters": {"slots": "x"}})["code"] == "invalid_type"


def test_a_roll_that_is_under_way_goes_back_to_what_stood(site):
    site.apply(chat())
    site.settle()
    site.world.post("/deployments/chat/roll", {"model": "large"})
    (back,) = site.world.post("/deployments/chat/roll", {"back": True})["applied"]
    assert back["revision"] == 1
    assert site.state.deployments["chat"].spec.model == "small"
    assert "local asked for it" in site.state.deployments["chat"].rolled_back


def test_there_is_nothing_to_go_back_to_before_the_first(site):
    site.apply(chat())
    assert site.refused("POST", "/deployments/chat/roll", {"back": True})["code"] == "conflict"
    assert site.refused("POST", "/deployments/chat/roll", {"back": True, "model": "large"})["param"] == "back"


def test_a_node_is_cordoned_drained_opened_and_labelled(site):
    shown = site.world.post("/nodes/leeds/cordon", {"reason": "firmware"})
    assert (shown["cordoned"], shown["draining"], shown["reason"], shown["by"]) == (True, False, "firmware", "local")
    site.world.post("/nodes/leeds/cordon", {"reason": "firmware"})
    assert site.world.post("/nodes/leeds/cordon", {"reason": "firmware", "drain": True})["draining"]
    assert not site.world.post("/nodes/leeds/uncordon")["cordoned"]
    site.world.post("/nodes/leeds/uncordon")
    assert site.world.post("/nodes/leeds/label", {"put": {"rack": "b7"}})["labels"] == {"gpu": "h100", "rack": "b7"}
    site.world.post("/nodes/leeds/label", {"put": {"rack": "b7"}})
    assert site.world.post("/nodes/leeds/label", {"remove": ["gpu"]})["labels"] == {"rack": "b7"}
    kinds = [type(one) for one in recorded(site)]
    assert kinds == [NodeCordoned, NodeCordoned, NodeUncordoned, NodeLabelled, NodeLabelled]


def test_only_a_lost_node_can_be_forgotten(site):
    assert "not lost" in site.refused("POST", "/nodes/leeds/forget", {})["detail"]
    assert "drain leeds" in site.refused("POST", "/nodes/leeds/forget", {})["hint"]
    site.happened(NodeLost("leeds", "silent"))
    assert [one["name"] for one in site.world.post("/nodes/leeds/forget")["nodes"]] == ["bristol"]
    site.world.post("/nodes/leeds/forget")
    assert [type(one) for one in recorded(site)] == [NodeLost, NodeForgotten]


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        ("/nodes/leds/cordon", {}, "Did you mean leeds?"),
        ("/nodes/leeds/cordon", {"reason": "x" * 201}, "200"),
        ("/nodes/leeds/cordon", {"reason": "two\nlines"}, "printable"),
        ("/nodes/leeds/label", {"put": {"a b": "c"}}, "no label"),
        ("/nodes/leeds/label", {"put": {"a": "b"}, "remove": ["a"]}, "put and removed"),
        ("/nodes/leeds/label", {"put": {f"k{n}": "v" for n in range(65)}}, "64"),
        ("/nodes/nowhere/uncordon", {}, "bristol, leeds"),
    ],
)
def test_a_node_that_is_not_there_or_cannot_be_so_is_refused(site, path, body, said):
    problem = site.refused("POST", path, body)
    assert said in problem["detail"] + problem["hint"]
    assert recorded(site) == []


def test_a_guarantee_is_also_the_weight_in_the_fair_queue(site):
    site.world.post("/shares", {"owner": "health", "devices": 6})
    site.world.post("/shares", {"owner": "health", "devices": 6})
    assert {one["id"]: one["share"] for one in site.world.get("/tenants")["tenants"]} == {"health": 6, "justice": 1}
    answer = site.world.post("/shares", {"owner": "health", "devices": 0})
    assert (answer["shares"], answer["pools"]) == (
        [],
        [{"pool": "default", "devices": 8, "free": 8, "guaranteed": 0}],
    )
    assert {one["id"]: one["share"] for one in site.world.get("/tenants")["tenants"]} == {"health": 1, "justice": 1}
    assert [one.devices for one in recorded(site) if isinstance(one, ShareSet)] == [6, 0]


def test_no_more_is_promised_than_there_is_and_a_team_has_a_part_of_its_department(site):
    site.world.post("/shares", {"owner": "health", "devices": 6})
    problem = site.refused("POST", "/shares", {"owner": "justice", "devices": 3})
    assert (problem["code"], "2 are left for justice" in problem["detail"]) == ("conflict", True)
    site.world.post("/shares", {"owner": "justice", "devices": 2})
    assert "set health to 7" in site.refused("POST", "/shares", {"owner": "health/a", "devices": 7})["detail"]
    site.world.post("/shares", {"owner": "health/a", "devices": 4})
    assert site.refused("POST", "/shares", {"owner": "health", "devices": 3})["code"] == "conflict"
    assert site.refused("POST", "/shares", {"owner": "health", "devices": 1, "pool": "gold"})["code"] == "not_found"
    assert site.refused("POST", "/shares", {"owner": "health", "devices": -1})["param"] == "devices"
    assert site.refused("POST", "/shares", {"owner": "wealth", "devices": 1})["hint"].startswith("Did you mean health?")


def test_the_state_is_the_fold_of_what_the_ledger_has(site):
    site.apply(chat(scaling={"min": 2, "max": 4}), chat("embed", model="embed"))
    site.settle()
    site.world.post("/nodes/leeds/cordon", {"drain": True})
    site.settle()
    assert any(isinstance(one, ReplicaPlaced) for one in recorded(site))
    assert fold(recorded(site)) == site.state


def test_a_pool_of_its_own_is_counted_on_its_own(site):
    site.fleet.nodes += (node("york", 2, pool="gold"),)
    site.world.post("/shares", {"owner": "health", "devices": 2, "pool": "gold"})
    assert site.refused("POST", "/shares", {"owner": "health", "devices": 3, "pool": "gold"})["code"] == "conflict"
