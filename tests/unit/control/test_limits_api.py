"""Limits over the management API: set, shown, recorded and published; leased and counted for gateways."""

import asyncio
import re
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from fastness.config import LedgerSettings
from fastness.control import limits_wire
from fastness.control.api import build_app
from fastness.control.limits import BOUND_MAX, LIMITS_MAX, LimitCommands
from fastness.control.limits_api import ROUTES, LimitsApi
from fastness.control.quotas import DAYS_KEPT_S, MINUTES_KEPT_S, Quotas
from fastness.control.routes import bound
from fastness.core.event import Event, EventType
from fastness.core.limit import Limit, Metric, Scope
from fastness.gateway.usage import LimitOut, UsageOut
from fastness.ledger.file import FileLedger
from fastness.store.memory_limits import MemoryLimitStore
from fastness.traffic.quota import Wish

DOCS = Path(__file__).parents[3] / "docs"
PAGE = (DOCS / "reference/limits-api.md").read_text()
SHOWN = [
    one
    for one in vars(limits_wire).values()
    if isinstance(one, type) and issubclass(one, msgspec.Struct) and one.__module__ == limits_wire.__name__
]
DAY_S = 1_800_000_000 // 86_400 * 86_400


@pytest.fixture
def site(world):
    """A world with routes of limits, a tenant and a key."""
    world.limit_store = MemoryLimitStore(world.store)
    world.quotas = Quotas(world.limit_store, world.store, world.root / "ledger", world.clock, world.log)
    commands = LimitCommands(world.limit_store, world.access, world.ledger, world.clock)
    routes = bound(ROUTES, LimitsApi(commands, world.quotas, world.access, world.clock))
    world.app = build_app(replace(world.deps, extra_routes=routes))
    world.post("/tenants", {"id": "health"})
    world.key = world.post("/keys", {"tenant": "health", "name": "ci"})
    return world


def lease(site, *wishes, gateway="gateway-0", boot="first", sequence=1):
    body = {"gateway": gateway, "boot": boot, "sequence": sequence, "wishes": list(wishes)}
    return site.ask("POST", "/quota/lease", json=body)


def wish(hold, metric="requests_per_day", window_s=DAY_S, limit="tenant:health"):
    return {"limit": limit, "metric": metric, "window_s": window_s, "hold": hold, "least": 0}


def answered(site, count, **fields):
    """Write entries of answers to the gateway's ledger, as a gateway that met limits does."""
    said = {"tenant": "health", "key": site.key["id"], "model": "small", "admitted_s": int(site.clock())} | fields

    async def write():
        ledger = FileLedger.open(site.root / "ledger/gateway-0", "gateway-0", LedgerSettings(), lambda: 5)
        for _ in range(count):
            tokens = {"input_tokens": 3, "output_tokens": 4}
            await ledger.commit(Event(EventType.INFERENCE_COMPLETED, 5, said | tokens))
        failed = {"code": "client_closed", "charged_tokens": 2}
        await ledger.commit(Event(EventType.INFERENCE_FAILED, 5, said | failed))
        await ledger.commit(Event(EventType.INFERENCE_REFUSED, 5, {"tenant": "health", "code": "queue_full"}))
        await ledger.close()

    site.run(write())


def test_a_limit_is_recorded_shown_and_published(site):
    made = site.post("/limits", {"tenant": "health", "model": "small", "requests_per_minute": 60})
    assert made["id"] == "tenant:health,model:small"
    assert (made["requests_per_minute"], made["tokens_per_day"], made["key"]) == (60, None, None)
    assert site.get("/limits") == {"limits": [made]}
    assert site.published().limits == (Limit(Scope("health", model="small"), requests_per_minute=60),)
    kind, fields = site.events()[-1]
    assert kind == EventType.LIMIT_SET
    assert fields["limit"] == "tenant:health,model:small"
    assert (fields["requests_per_minute"], fields["concurrent"], fields["by"]) == (60, None, "local")
    removed = site.post("/limits/remove", {"tenant": "health", "model": "small"})
    assert removed == made
    assert site.published().limits == ()
    assert site.events()[-1][0] == EventType.LIMIT_REMOVED


def test_setting_again_replaces_all_numbers(site):
    site.post("/limits", {"tenant": "health", "requests_per_minute": 60, "concurrent": 2})
    site.post("/limits", {"tenant": "health", "requests_per_minute": 30})
    assert site.published().limits == (Limit(Scope("health"), requests_per_minute=30),)


@pytest.mark.parametrize(
    ("wish_", "status", "code", "param"),
    [
        ({"requests_per_minute": 1}, 400, "missing_field", "tenant"),
        ({"tenant": "health"}, 400, "missing_field", "requests_per_minute"),
        ({"tenant": "health", "requests_per_minute": -1}, 400, "invalid_value", "requests_per_minute"),
        ({"tenant": "health", "tokens_per_day": BOUND_MAX + 1}, 400, "invalid_value", "tokens_per_day"),
        ({"tenant": "nobody", "requests_per_minute": 1}, 404, "not_found", None),
        ({"key": "key_nobody", "requests_per_minute": 1}, 404, "not_found", None),
        ({"model": "a,b", "requests_per_minute": 1}, 400, "invalid_value", "model"),
        ({"tenant": "health", "requests_per_hour": 1}, 400, "unknown_field", "requests_per_hour"),
    ],
)
def test_a_limit_that_cannot_be_is_refused_with_the_field(site, wish_, status, code, param):
    before = site.events()
    answer = site.ask("POST", "/limits", json=wish_)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.json()["param"] == param
    assert site.events() == before


def test_a_key_of_another_tenant_is_refused(site):
    site.post("/tenants", {"id": "works"})
    answer = site.ask("POST", "/limits", json={"tenant": "works", "key": site.key["id"], "concurrent": 1})
    assert "is of tenant health" in answer.json()["detail"]


def test_removing_what_is_not_there_is_not_found_and_not_recorded(site):
    before = site.events()
    assert site.ask("POST", "/limits/remove", json={"tenant": "health"}).status_code == 404
    assert site.events() == before


def test_gateways_lease_and_their_ledgers_are_counted(site):
    site.post("/limits", {"tenant": "health", "requests_per_day": 100, "tokens_per_day": 1_000})
    assert lease(site, wish(40)).json() == {"grants": [{"held": 40, "others": 0}]}
    answered(site, 5)
    used = {one["metric"]: one for one in site.get("/usage", tenant="health")["usage"]}
    requests, tokens = used["requests_per_day"], used["tokens_per_day"]
    assert (requests["used"], requests["charged"], requests["remaining"]) == (6, 40, 60)
    assert (tokens["used"], tokens["charged"], tokens["remaining"]) == (37, 37, 963)
    assert (requests["window_s"], requests["resets_s"]) == (DAY_S, DAY_S + 86_400)
    again = lease(site, wish(10), boot="second").json()
    assert again == {"grants": [{"held": 10, "others": 6}]}, "what the former start held is free, but for what it used"
    site.run(site.quotas.count())
    assert site.get("/usage")["usage"][0]["used"] == 6, "counted once"


def test_a_gateway_that_died_is_counted_to_its_end_before_its_next_start_gets_anything(site):
    site.post("/limits", {"tenant": "health", "requests_per_day": 8})
    lease(site, wish(8))
    answered(site, 5)
    assert lease(site, wish(8), boot="second").json() == {"grants": [{"held": 2, "others": 6}]}


def test_leases_are_answered_while_a_long_ledger_is_counted(site, monkeypatch):
    monkeypatch.setattr("fastness.control.quotas.ENTRIES_MAX", 1)
    site.post("/limits", {"tenant": "health", "requests_per_day": 100})
    lease(site, wish(40))
    answered(site, 5)

    async def both():
        counting = asyncio.create_task(site.quotas.count())
        await asyncio.sleep(0)
        await site.quotas.lease("gateway-0", "first", 2, (Wish("tenant:health", Metric.REQUESTS_PER_DAY, DAY_S, 50),))
        position = site.limit_store.gateway("gateway-0").position
        await counting
        return position

    assert site.run(both()) < site.limit_store.gateway("gateway-0").position
    assert site.get("/usage")["usage"][0]["used"] == 6


def test_a_defect_while_ledgers_are_counted_is_logged_and_not_the_end_of_it(site, monkeypatch):
    site.post("/limits", {"tenant": "health", "requests_per_day": 100})
    lease(site, wish(40))
    answered(site, 5)
    monkeypatch.setattr("fastness.control.quotas.uses_of", None)

    async def counting():
        async with site.quotas.keep_counting(0.001):
            while not site.log.records or site.log.records[-1][1] != "quota.not_counted":
                await asyncio.sleep(0.001)
            monkeypatch.undo()
            while site.limit_store.gateway("gateway-0").position == 0:
                await asyncio.sleep(0.001)

    site.run(counting())


def test_what_met_no_limit_and_what_was_before_the_first_lease_is_not_counted(site):
    answered(site, 9)
    site.post("/limits", {"tenant": "health", "requests_per_day": 100})
    lease(site, wish(10))
    answered(site, 2, admitted_s=None)
    answered(site, 1, tenant="works")
    assert site.get("/usage")["usage"][0]["used"] == 0


def test_a_limit_set_meanwhile_takes_its_part_of_what_ends_from_then_on(site):
    site.post("/limits", {"tenant": "health", "requests_per_day": 100})
    lease(site, wish(10))
    answered(site, 1)
    site.run(site.quotas.count())
    site.post("/limits", {"key": site.key["id"], "requests_per_day": 50})
    answered(site, 1)
    used = {one["id"]: one["used"] for one in site.get("/usage", tenant="health")["usage"]}
    assert used == {"tenant:health": 4, f"key:{site.key['id']}": 2}


def test_a_ledger_that_cannot_be_read_is_logged_once_and_stops_nothing(site):
    site.post("/limits", {"tenant": "health", "requests_per_day": 100})
    lease(site, wish(10))
    (site.root / "ledger/gateway-0").mkdir(parents=True)
    (site.root / "ledger/gateway-0/00000000.jsonl").write_text("{}\n")
    for _ in range(3):
        site.run(site.quotas.count())
    assert [event for _, event, _ in site.log.records].count("quota.not_counted") == 1
    assert site.get("/usage")["usage"][0]["charged"] == 10


def test_entries_that_were_read_and_then_written_anew_do_not_stop_the_counting(site):
    site.post("/limits", {"tenant": "health", "requests_per_day": 100})
    lease(site, wish(40))
    answered(site, 5)
    site.run(site.quotas.count())
    (path,) = (site.root / "ledger/gateway-0").glob("*.jsonl")
    *lines, last = path.read_bytes().splitlines(keepends=True)
    anew = last.replace(b"queue_full", b"something_longer")
    after = lines[0].replace(b'"index":0', b'"index":%d' % (len(lines) + 1))
    path.write_bytes(b"".join((*lines, anew, after)))  # the disk refused the last one, after it had been read
    used = site.get("/usage")["usage"][0]["used"]
    for _ in range(2):
        site.run(site.quotas.count())
    assert site.get("/usage")["usage"][0]["used"] == used + 1


def test_what_the_disk_lost_does_not_stop_the_counting(site):
    site.post("/limits", {"tenant": "health", "requests_per_day": 100})
    lease(site, wish(10))
    site.limit_store.settle("gateway-0", 0, 500, {("tenant:health", Metric.REQUESTS_PER_DAY, DAY_S): 7})
    answered(site, 1)
    assert site.get("/usage")["usage"][0]["used"] == 7
    answered(site, 1)
    assert site.get("/usage")["usage"][0]["used"] == 9


@pytest.mark.parametrize("window_s", [DAY_S + 1, DAY_S - 86_400 * 3, DAY_S + 86_400 * 3])
def test_a_window_that_is_none_is_refused(site, window_s):
    answer = lease(site, wish(1, window_s=window_s))
    assert (answer.status_code, answer.json()["param"]) == (400, "window_s")


def test_a_name_that_is_no_log_is_refused(site):
    assert lease(site, gateway="../control").json()["param"] == "gateway"


def test_only_gateways_of_this_installation_may_lease(site):
    admin = site.post("/keys", {"tenant": "health", "name": "boss", "role": "admin"})["key"]
    body = {"gateway": "gateway-0", "boot": "x", "sequence": 1, "wishes": []}
    answer = site.ask("POST", "/quota/lease", json=body, headers={"authorization": f"Bearer {admin}"})
    assert (answer.status_code, answer.json()["code"]) == (403, "permission_denied")


def test_a_late_question_is_a_conflict(site):
    assert lease(site, sequence=3).status_code == 200
    assert lease(site, sequence=2).status_code == 409


def test_the_page_has_every_route_field_and_bound():
    headings = re.findall(r"^### `([A-Z]+) ([^`]+)`$", PAGE, re.MULTILINE)
    assert sorted(headings) == sorted((method, path) for method, path, *_ in ROUTES)
    fields = [one.encode_name for shown in (*SHOWN, LimitOut, UsageOut) for one in msgspec.structs.fields(shown)]
    assert [one for one in fields if f"`{one}`" not in PAGE] == []
    for limit in (LIMITS_MAX, BOUND_MAX, limits_wire.LEASE_BYTES_MAX, DAYS_KEPT_S // 86_400, MINUTES_KEPT_S // 60):
        assert re.search(rf"\b{limit:,}\b", PAGE), limit
