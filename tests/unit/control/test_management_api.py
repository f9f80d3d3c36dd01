"""The management API, asked as the CLI asks it."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import msgspec
import pytest

from fastness.config import LedgerSettings
from fastness.control.api import build_app
from fastness.control.validation import TenantWish
from fastness.core.event import Event, EventType
from fastness.core.model import ModelCard, ModelKind, ToolFormat
from fastness.core.own_process import OwnProcess, OwnProcesses
from fastness.core.replica import Replica, ReplicaState, RoutingSnapshot
from fastness.ledger.file import FileLedger
from fastness.ledger.port import LedgerUnavailable
from fastness.store.snapshot_file import write_snapshot

CHAT = ModelCard("small", ModelKind.CHAT, "d" * 64, 98, "Apache-2.0", 2048, 1, ToolFormat("{tools}", "<t>", "</t>"))
EMBEDDING = ModelCard("mini", ModelKind.EMBEDDING, "e" * 64, 87, "Apache-2.0", 512, 1, embedding_dimensions=384)


def replica(number, state=ReplicaState.READY, sealed=True):
    return Replica(f"small-{number}", "small", "llamacpp", state, f"/run/{number}", 8, 2048, 1, sealed)


def supervise(world, *replicas, pid=None):
    """Leave in the run directory what a supervisor does."""
    write_snapshot(world.run_directory / "routing.json", RoutingSnapshot(1, (CHAT, EMBEDDING), replicas))
    running = {"pid": pid or os.getpid(), "base_url": "http://127.0.0.1:1/v1", "started_s": world.clock.now_s - 60}
    write_snapshot(world.run_directory / "fastness.json", running | {"a_later_field": 1})


@pytest.fixture
def admin(world):
    """A world whose first admin key was issued."""
    world.post("/keys/first-admin")
    return world


def test_status_sums_up_what_the_supervisor_wrote(world):
    supervise(world, replica(1), replica(2, ReplicaState.STARTING))
    assert world.get("/status") == {
        "version": "0.0.0",
        "pid": os.getpid(),
        "control_pid": os.getpid(),
        "base_url": "http://127.0.0.1:1/v1",
        "started_s": world.clock.now_s - 60,
        "uptime_s": 60.0,
        "sealed": True,
        "models": ["small", "mini"],
        "replicas": {"total": 2, "ready": 1, "states": {"ready": 1, "starting": 1}},
        "processes": [],
    }


def test_status_shows_our_own_processes_while_a_supervisor_keeps_them_up(world):
    gateway = OwnProcess("gateway-0", 77, ReplicaState.READY, 1, 5.0)
    write_snapshot(world.run_directory / "processes.json", OwnProcesses((gateway,)))
    assert world.get("/status")["processes"] == [], "what one that is gone has left"
    supervise(world)
    shown = {"name": "gateway-0", "pid": 77, "state": "ready", "restarts": 1, "since_s": 5.0}
    assert world.get("/status")["processes"] == [shown]


def test_one_unsealed_replica_makes_the_installation_unsealed(world):
    supervise(world, replica(1), replica(2, sealed=False))
    assert world.get("/status")["sealed"] is False


def test_status_with_nothing_running_has_nothing_to_tell(world):
    found = world.get("/status")
    assert (found["pid"], found["base_url"], found["uptime_s"], found["sealed"]) == (None, None, None, None)
    assert found["replicas"] == {"total": 0, "ready": 0, "states": {}}


def test_a_supervisor_that_is_dead_is_not_running(world):
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    supervise(world, pid=child.pid)
    assert world.get("/status")["pid"] is None


def test_replicas_are_listed_as_the_fleet_sees_them(world):
    assert world.get("/replicas") == {"replicas": [], "deployments": [], "nodes": []}
    supervise(world, replica(1))
    assert msgspec.convert(world.get("/replicas")["replicas"][0], Replica) == replica(1)


def test_a_broken_routing_snapshot_leaves_the_one_before_in_force(world):
    supervise(world, replica(1))
    world.get("/replicas")
    (world.run_directory / "routing.json").write_text('{"version": 2, "mod')
    assert len(world.get("/replicas")["replicas"]) == 1


def test_models_are_listed_with_their_replicas(world):
    supervise(world, replica(1), replica(2, ReplicaState.FAILED))
    small, mini = world.get("/models")["models"]
    assert (small["name"], small["kind"], small["tools"], small["replicas"], small["replicas_ready"]) == (
        "small", "chat", True, 2, 1,
    )  # fmt: skip
    assert (mini["embedding_dimensions"], mini["tools"], mini["replicas"]) == (384, False, 0)


def test_models_on_disk_are_listed_while_nothing_is_served(world):
    world.app = build_app(replace(world.deps, admitted=lambda: (CHAT,)))
    assert [(model["name"], model["replicas"]) for model in world.get("/models")["models"]] == [("small", 0)]
    supervise(world)
    assert [model["name"] for model in world.get("/models")["models"]] == ["small", "mini"]


def test_a_tenant_is_created_listed_and_revoked(world):
    made = world.post("/tenants", {"id": "health", "name": "Department of Health", "models": ["small"]})
    assert made == {
        "id": "health",
        "name": "Department of Health",
        "state": "active",
        "created_s": 1_800_000_000,
        "revoked_s": None,
        "models": ["small"],
        "clearance": None,
        "marking": None,
        "share": 1.0,
    }
    assert world.get("/tenants") == {"tenants": [made]}
    assert world.post("/tenants/health/set", {"share": 2.5}) == made | {"share": 2.5}
    world.clock.now_s += 5
    assert world.post("/tenants/health/revoke")["revoked_s"] == 1_800_000_005
    assert world.get("/tenants")["tenants"][0]["state"] == "revoked"


def test_a_key_is_issued_once_listed_without_its_text_and_revoked(admin):
    made = admin.post("/keys", {"tenant": "default", "name": "ci", "role": "admin", "ttl_s": 60, "models": ["small"]})
    text = made.pop("key")
    assert text.startswith(made["hint"])
    assert made | {"id": "", "hint": ""} == {
        "id": "",
        "tenant": "default",
        "name": "ci",
        "role": "admin",
        "hint": "",
        "state": "active",
        "created_s": 1_800_000_000,
        "expires_s": 1_800_000_060,
        "revoked_s": None,
        "models": ["small"],
        "clearance": None,
    }
    assert admin.get("/keys")["keys"][1] == made
    assert admin.post(f"/keys/{made['id']}/revoke")["state"] == "revoked"


def test_no_listing_ever_shows_a_mac_or_a_whole_key(admin):
    text = admin.post("/keys", {"tenant": "default", "name": "ci"})["key"]
    shown = admin.ask("GET", "/keys").text + admin.ask("GET", "/tenants").text
    assert text not in shown
    assert not any(key.mac in shown for key in admin.store.access().keys)


def test_keys_are_listed_by_tenant_and_with_their_state(admin):
    admin.post("/tenants", {"id": "health"})
    admin.post("/keys", {"tenant": "health", "name": "short", "expires_s": 1_800_000_010})
    admin.post("/keys", {"tenant": "health", "name": "long"})
    admin.clock.now_s += 10
    assert [(key["name"], key["state"]) for key in admin.get("/keys", tenant="health")["keys"]] == [
        ("short", "expired"),
        ("long", "active"),
    ]
    admin.post("/tenants/health/revoke")
    assert {key["state"] for key in admin.get("/keys", tenant="health")["keys"]} == {"revoked"}
    assert len(admin.get("/keys")["keys"]) == 3


def test_a_body_may_leave_out_or_null_what_it_does_not_need(admin):
    assert admin.post("/tenants", {"id": "tax", "name": None, "models": None})["name"] == "tax"
    wish = {"tenant": "tax", "name": "ci", "role": "developer", "ttl_s": None, "expires_s": None, "models": None}
    assert admin.post("/keys", wish)["expires_s"] is None


def test_commands_without_a_body_take_none_and_an_empty_object(admin):
    assert admin.ask("POST", "/keys/ephemeral").status_code == 201
    assert admin.ask("POST", "/keys/ephemeral", content=b"{}").status_code == 201


def test_an_ephemeral_key_lives_for_ten_minutes(admin):
    made = admin.post("/keys/ephemeral", {})
    assert (made["name"], made["role"], made["tenant"]) == ("cli", "developer", "default")
    assert made["expires_s"] - made["created_s"] == 600


def test_the_first_admin_key_is_given_to_the_first_who_asks(world):
    first, second = world.ask("POST", "/keys/first-admin"), world.ask("POST", "/keys/first-admin")
    assert (first.status_code, second.status_code) == (201, 200)
    assert first.json()["key"].startswith("fst_admin_")
    assert second.json() == {"key": None}


def test_config_tells_each_setting_and_where_it_came_from(world):
    settings = {setting["name"]: setting for setting in world.get("/config")["settings"]}
    assert settings["gateway.port"] | {"doc": ""} == {
        "name": "gateway.port", "value": 8080, "source": "default", "default": 8080, "doc": "",
    }  # fmt: skip


def test_logs_are_the_last_lines_of_each_process(world):
    logs = world.deps.logs_directory
    assert world.get("/logs") == {"processes": []}
    logs.mkdir()
    (logs / "gateway-0.jsonl").write_text("".join(f'{{"n":{number}}}\n' for number in range(500)))
    (logs / "gateway-0.1.jsonl").write_text('{"rotated":true}\n')
    (logs / "control.jsonl").write_text('{"event":"x"}\n')
    assert world.get("/logs", process="gateway-0", lines=2) == {
        "processes": [{"process": "gateway-0", "lines": ['{"n":498}', '{"n":499}']}]
    }
    assert [(tail["process"], len(tail["lines"])) for tail in world.get("/logs")["processes"]] == [
        ("control", 1),
        ("gateway-0", 100),
    ]


def test_a_huge_log_is_read_from_its_end_only(world, monkeypatch):
    monkeypatch.setattr("fastness.control.observed.LOG_TAIL_BYTES_MAX", 1_000)
    world.deps.logs_directory.mkdir()
    lines = [json.dumps({"line": number}) for number in range(10_000)]
    (world.deps.logs_directory / "control.jsonl").write_text("\n".join(lines) + "\n")
    found = world.get("/logs", process="control", lines=10_000)["processes"][0]["lines"]
    assert 50 < len(found) < 100
    assert found == lines[-len(found) :]


@pytest.fixture
def ledger(world):
    """A real log beside the control plane: three entries of `node`, one of `gateway-0`."""

    refused = {"request_id": "req_1", "tenant": "health", "status": 400}
    logs = {
        "node": [(EventType.BOOT, 1, {"pid": 1}), (EventType.BOOT, 3, {"pid": 2}), (EventType.STOPPED, 4, {})],
        "gateway-0": [(EventType.INFERENCE_REFUSED, 2, refused)],
    }

    async def fill():
        for log, events in logs.items():
            opened = FileLedger.open(world.deps.ledger_directory / log, log, LedgerSettings(), lambda: 1)
            for event in events:
                await opened.commit(Event(*event))
            await opened.close()

    world.run(fill())
    return world


def test_the_ledger_is_verified(ledger):
    report = ledger.get("/ledger/verify")
    assert report["sound"] is True
    assert {log["log"]: (log["entries"], log["fault"]) for log in report["logs"]} == {
        "gateway-0": (1, None),
        "node": (3, None),
    }


def test_no_ledger_yet_is_a_sound_one(world):
    assert world.get("/ledger/verify") == {"sound": True, "logs": []}
    assert world.get("/ledger/tail") == {"entries": []}


def test_a_changed_entry_is_found_and_named(ledger):
    path = next((ledger.deps.ledger_directory / "node").glob("*.jsonl"))
    path.write_bytes(path.read_bytes().replace(b'"pid":2', b'"pid":9'))
    report = ledger.get("/ledger/verify")
    assert report["sound"] is False
    fault = next(log["fault"] for log in report["logs"] if log["log"] == "node")
    assert fault["index"] == 1
    assert fault["reason"]


def test_the_tail_of_the_ledger_is_of_one_log_or_of_all_by_time(ledger):
    everything = ledger.get("/ledger/tail", count=3)["entries"]
    assert [(entry["log"], entry["index"], entry["time_ms"]) for entry in everything] == [
        ("gateway-0", 0, 2),
        ("node", 1, 3),
        ("node", 2, 4),
    ]
    assert [entry["type"] for entry in ledger.get("/ledger/tail", log="node", count=1)["entries"]] == ["stopped"]


def test_one_entry_is_read_by_log_and_index(ledger):
    entry = ledger.get("/ledger/entries/node/1")
    assert (entry["log"], entry["index"], entry["type"], entry["fields"]) == ("node", 1, "boot", {"pid": 2})
    assert len(entry["chain"]) == 64


def test_entries_are_found_by_what_they_say(ledger):
    assert [entry["log"] for entry in ledger.get("/ledger/find", request_id="req_1")["entries"]] == ["gateway-0"]
    assert len(ledger.get("/ledger/find", type="boot")["entries"]) == 2
    assert len(ledger.get("/ledger/find", type="boot", count=1)["entries"]) == 1
    assert ledger.get("/ledger/find", log="node", tenant="health")["entries"] == []


def test_the_type_of_a_problem_leads_to_its_explanation(world):
    problem = world.ask("GET", "/keys", params={"tenant": "nobody"}).json()
    assert problem["type"] == "/api/v1/errors/not_found"
    explained = world.get("/errors/not_found")
    assert (explained["code"], explained["status"], explained["title"]) == ("not_found", 404, problem["title"])
    assert explained in world.get("/errors")["errors"]


def test_publishing_begins_with_the_application_and_the_ledger_is_closed_with_it(world):
    async def live():
        async with world.app.router.lifespan_context(world.app):
            assert world.published().version == 0

    world.run(live())
    assert world.events() == []
    with pytest.raises(LedgerUnavailable, match="closed"):
        world.run(world.access.create_tenant(TenantWish("default")))
