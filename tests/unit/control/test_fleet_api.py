"""The routes of the fleet: what is shown, what would happen, what happened and why."""

from __future__ import annotations

import pytest

from commanded_fleet import GB, Site, chat, node
from fastness.core.policy import Action


@pytest.fixture
def site(world):
    found = Site(world)
    yield found
    found.close()


def test_a_deployment_is_shown_as_wanted_and_as_seen(site):
    site.apply(chat(scaling={"min": 2, "max": 4}))
    shown = site.world.get("/deployments/chat")
    assert (shown["wanted"], shown["ready"], shown["phase"], shown["settled"]) == (2, 0, "pending", False)
    site.fleet.starting = {"chat-2"}
    site.step()
    shown = site.world.get("/deployments/chat")
    assert (shown["ready"], shown["phase"]) == (1, "starting")
    one, other = shown["placed"]
    assert (one["phase"], one["state"], one["stage"]) == ("placed", "ready", None)
    assert (other["id"], other["state"], other["stage"]) == ("chat-2", "starting", "load")
    assert other["devices"] == [f"{other['nodes'][0]}/gpu-{0 if other['nodes'] != one['nodes'] else 1}"]
    site.fleet.starting = set()
    site.settle()
    (shown,) = site.world.get("/deployments")["deployments"]
    assert (shown["ready"], shown["phase"], shown["settled"]) == (2, "ready", True)
    assert (shown["answered"], shown["failed"]) == (0, 0)


def test_a_roll_is_followed_to_its_end_and_goes_back_to_what_was_good_before(site):
    site.apply(chat(scaling={"min": 2, "max": 4}))
    site.settle()
    site.world.post("/deployments/chat/roll", {"model": "large"})
    assert site.world.get("/deployments/chat")["phase"] == "rolling"
    site.settle()
    shown = site.world.get("/deployments/chat")
    assert (shown["settled"], shown["revision"], shown["stable"], shown["model"]) == (True, 2, 2, "large")
    assert all(one["revision"] == 2 for one in shown["placed"])
    site.world.post("/deployments/chat/scale", {"replicas": 3})
    (back,) = site.world.post("/deployments/chat/roll", {"back": True})["applied"]
    assert back["revision"] == 3
    site.settle()
    shown = site.world.get("/deployments/chat")
    assert (shown["settled"], shown["revision"], shown["model"], shown["ready"]) == (True, 3, "small", 3)


def test_one_removed_is_seen_to_leave(site):
    site.apply(chat())
    site.settle()
    site.world.post("/deployments/chat/remove")
    shown = site.world.get("/deployments/chat")
    assert (shown["phase"], shown["settled"]) == ("removing", False)
    site.settle()
    assert site.world.get("/deployments") == {"deployments": []}


def test_what_is_exported_is_what_is_applied(site):
    site.apply(
        chat(needs={"labels": ["gpu=h100"], "device_bytes": 10 * GB}), chat("embed", model="embed", tenants=["health"])
    )
    exported = site.world.get("/deployment-file")["deployment"]
    assert [one["name"] for one in exported] == ["chat", "embed"]
    assert exported[0]["needs"]["device_bytes"] == 10 * GB
    assert exported[1]["parameters"]["slot_context_tokens"] == 512
    assert [one["outcome"] for one in site.apply(*exported)] == ["unchanged", "unchanged"]
    site.begin_anew()
    assert [one["outcome"] for one in site.apply(*exported)] == ["created", "created"]
    assert site.world.get("/deployment-file")["deployment"] == exported


def test_the_plan_says_what_would_happen_and_changes_nothing(site):
    site.apply(chat(scaling={"min": 2, "max": 2}))
    site.settle()
    before = site.state
    wish = chat(model="large", scaling={"min": 2, "max": 2})
    plan = site.world.post("/plan", {"deployment": [wish]})
    assert [one["outcome"] for one in plan["changes"]] == ["rolling"]
    assert (plan["complete"], plan["pending"]) == (True, [])
    texts = [one["text"] for one in plan["steps"]]
    assert sum("(revision 2) placed on" in text for text in texts) == 2
    assert sum("gone" in text for text in texts) == 2
    assert {one["deployment"] for one in plan["steps"]} == {"chat"}
    assert any("draining" in one["text"] for one in site.world.post("/plan", {"remove": ["chat"]})["steps"])
    assert site.world.post("/plan", {"roll": ["chat"]})["changes"][0]["revision"] == 2
    assert site.world.post("/plan")["steps"] == []
    assert site.state is before
    assert site.refused("POST", "/plan", {"remove": ["chut"]})["code"] == "not_found"
    assert site.refused("POST", "/plan", {"deployment": [chat(model="none")]})["code"] == "model_not_found"


def test_the_plan_says_what_would_be_missing(site):
    plan = site.world.post("/plan", {"deployment": [chat(scaling={"min": 9, "max": 9})]})
    assert not plan["complete"]
    (pending,) = plan["pending"]
    assert (pending["deployment"], pending["wanted"], pending["there"]) == ("chat", 9, 8)
    assert {one["node"] for one in pending["nodes"]} >= {"bristol", "leeds"}


def test_why_names_needs_nodes_shares_and_what_comes_next(site):
    site.apply(chat(scaling={"min": 8, "max": 8}, owner="justice"))
    site.settle()
    site.world.post("/shares", {"owner": "health", "devices": 2})
    site.world.post("/nodes/leeds/cordon", {"reason": "firmware"})
    site.apply(chat("more", needs={"devices": 2, "accelerator": "h100", "labels": ["gpu=h100"]}))
    site.step()
    why = site.world.get("/deployments/more/why")
    assert (why["wanted"], why["ready"], why["settled"]) == (1, 0, False)
    assert why["needs"].startswith("2 × h100 with ")
    assert "marking OFFICIAL, labels gpu=h100" in why["needs"]
    said = {one["node"]: one["text"] for one in why["nodes"]}
    assert "firmware" in said["leeds"]
    assert "chat-1 of justice holds 1" in said["bristol"] + said["leeds"]
    assert any("justice holds" in one and "borrowed" in one for one in why["shares"])
    assert why["next"]
    assert why["since_ms"] is not None


def test_why_says_when_a_pool_has_less_than_is_guaranteed_of_it(site):
    site.world.post("/shares", {"owner": "health", "devices": 6})
    site.apply(chat("more"))
    assert not any("guaranteed" in one and "has" in one for one in site.world.get("/deployments/more/why")["shares"])
    site.fleet.nodes = site.fleet.nodes[:1]
    site.step()
    shares = site.world.get("/deployments/more/why")["shares"]
    assert "pool default has 4 devices of the 6 that are guaranteed" in shares


def test_why_says_which_concession_would_place_a_replica(site):
    site.fleet.nodes = (node("bristol", 2), node("york", 4, pool="gold"))
    site.apply(chat(scaling={"min": 1, "max": 1}))
    site.settle()
    site.apply(chat("more", needs={"devices": 2}))
    site.step()
    fits = site.world.get("/deployments/more/why")["would_fit"]
    assert any(one.startswith("in pool gold: on york") for one in fits)
    assert any(one.startswith("on 1 device with") for one in fits)


def test_why_of_what_is_ready_has_nothing_to_complain_of(site):
    site.apply(chat())
    site.settle()
    why = site.world.get("/deployments/chat/why")
    assert (why["settled"], why["nodes"], why["would_fit"], why["next"]) == (True, [], [], [])
    assert why["replicas"][0].startswith("chat-1 on ")
    assert site.refused("GET", "/deployments/chut/why")["hint"] == "Did you mean chat?"


def test_why_tells_of_a_roll_of_a_removal_and_of_a_roll_back(site):
    site.apply(chat())
    site.settle()
    site.world.post("/deployments/chat/roll")
    assert "revision 2 takes the place of revision 1" in site.world.get("/deployments/chat/why")["next"]
    site.world.post("/deployments/chat/roll", {"back": True})
    assert any("rolled back: local asked" in one for one in site.world.get("/deployments/chat/why")["next"])
    site.settle()
    site.world.post("/deployments/chat/remove")
    assert any("removed by local" in one for one in site.world.get("/deployments/chat/why")["next"])


def test_while_nothing_plans_why_says_so_and_makes_the_plan_itself(site):
    site.apply(chat(scaling={"min": 9, "max": 9}))
    why = site.world.get("/deployments/chat/why")
    assert why["next"][0].startswith("nothing runs here")
    assert len(why["nodes"]) >= 2


def test_events_have_their_entry_their_author_and_their_deployment(site):
    site.apply(chat(scaling={"min": 2, "max": 2}))
    site.settle()
    site.world.post("/nodes/leeds/cordon")
    events = site.world.get("/events")["events"]
    assert [one["type"] for one in events] == [
        "deployment.applied", "replica.placed", "replica.placed", "node.cordoned",
    ]  # fmt: skip
    assert [one["by"] for one in events] == ["local", "control", "control", "local"]
    assert [one["deployment"] for one in events] == ["chat", "chat", "chat", None]
    assert events[-1]["nodes"] == ["leeds"]
    assert [one["index"] for one in events] == [0, 1, 2, 3]
    assert site.world.get("/events", since=2)["events"] == events[2:]
    assert site.world.get("/events", limit=1)["events"] == events[-1:]
    assert site.world.get("/events", since=0, limit=1)["events"] == events[:1]
    assert site.world.get("/events", node="leeds")["events"][-1] == events[-1]
    assert site.refused("GET", "/events?limit=0")["param"] == "limit"
    assert site.refused("GET", "/events?sinse=0")["code"] == "unknown_field"


def test_events_of_a_replica_that_is_gone_are_still_its_deployments(site):
    site.apply(chat())
    site.settle()
    site.world.post("/deployments/chat/remove")
    site.settle()
    removed = site.world.get("/events")["events"][-1]
    assert (removed["type"], removed["deployment"]) == ("replica.removed", "chat")
    assert site.world.get("/events", since=removed["index"])["events"][0]["deployment"] == "chat"


def test_nodes_and_pools_are_shown_with_what_is_free(site):
    site.apply(chat(scaling={"min": 3, "max": 3}))
    site.settle()
    shown = {one["name"]: one for one in site.world.get("/nodes")["nodes"]}
    assert sum(one["devices_free"] for one in shown.values()) == 5
    assert shown["leeds"]["accelerators"] == {"h100": 4}
    assert (shown["leeds"]["heard_s"], shown["leeds"]["release"]) == (0, "9.9.9")
    shares = site.world.get("/shares")
    assert shares["pools"] == [{"pool": "default", "devices": 8, "free": 5, "guaranteed": 0}]
    assert [(one["owner"], one["held"], one["borrowed"]) for one in shares["shares"]] == [("health", 3, 3)]


def test_a_node_that_does_not_report_any_more_is_still_shown(site):
    site.apply(chat())
    site.settle()
    site.fleet.nodes = ()
    shown = {one["name"]: one for one in site.world.get("/nodes")["nodes"]}
    (one,) = shown.values()
    assert (one["heard_s"], one["release"], len(one["replicas"])) == (None, "", 1)


def test_each_route_needs_its_action(site):
    auditor = site.world.post("/keys", {"tenant": "health", "name": "auditor", "role": "auditor"})["key"]
    headers = {"authorization": f"Bearer {auditor}"}
    site.apply(chat())
    for path in ("/deployments", "/deployments/chat", "/deployments/chat/why", "/nodes", "/shares", "/events"):
        assert site.world.ask("GET", path, headers=headers).status_code == 200
    assert site.world.ask("POST", "/plan", json={}, headers=headers).status_code == 200
    for path, body in (
        ("/deployments", {"deployment": [chat()]}),
        ("/deployments/chat/scale", {"replicas": 1}),
        ("/deployments/chat/roll", {}),
        ("/deployments/chat/remove", {}),
        ("/nodes/leeds/cordon", {}),
        ("/nodes/leeds/label", {"put": {"a": "b"}}),
        ("/shares", {"owner": "health", "devices": 1}),
    ):
        answer = site.world.ask("POST", path, json=body, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (403, "permission_denied")
    assert {Action.DEPLOY, Action.MANAGE_FLEET} < set(Action)


def test_a_file_that_is_too_long_is_refused(site):
    body = {"deployment": [chat(tenants=["x" * 1_000] * 1_100)]}
    assert site.refused("POST", "/deployments", body)["code"] == "body_too_large"
