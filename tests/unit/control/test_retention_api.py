"""Law 3 at the management API: nothing is kept unless a tenant chose it, and then for as long as it chose."""

import asyncio
import re
from pathlib import Path

import msgspec
import pytest

from fastness.control import retention_wire, shred_certificate
from fastness.control.disclosures import FOUND_MAX
from fastness.control.retention_api import ROUTES
from fastness.control.sealing import keep_sealing
from fastness.core.retention import DAY_S, Retention, SealingSnapshot, read_retention
from retained import (
    ask,
    code,
    kinds,
    last,
    ok,
    retaining,
    sealed,
)

DOCS = Path(__file__).parents[3] / "docs"
PAGE = (DOCS / "reference/retention-api.md").read_text()
SHOWN = [
    one
    for one in vars(retention_wire).values()
    if isinstance(one, type) and issubclass(one, msgspec.Struct) and one.__module__ == retention_wire.__name__
] + [shred_certificate.Shredding, shred_certificate.DestroyedKey]


@pytest.fixture
def site(world):
    yield from retaining(world)


def test_nothing_is_kept_unless_it_was_chosen(site):
    assert {one["retention"] for one in ok(site, None, "GET", "")["retention"]} == {"none"}
    site.run(site.sealing.publish())
    assert site.sealing_snapshot() == SealingSnapshot()
    assert not (site.root / "sealed").exists()


def test_a_retention_is_recorded_with_its_keys_and_published(site):
    shown = ok(site, None, "POST", "", {"tenant": "health", "retention": "sealed", "days": 30})
    assert (shown["tenant"], shown["retention"], shown["requests"]) == ("health", "sealed for 30 days", 0)
    assert kinds(site)[-5:] == ["retention.sealed"] * 4 + ["retention.set"]
    _, fields = last(site)
    assert fields == {"tenant": "health", "retention": "sealed for 30 days", "before": "none", "by": "local"}
    (tenant,) = [one for one in site.published().tenants if one.id == "health"]
    assert str(tenant.retention) == "sealed for 30 days"
    keys = site.sealing_snapshot().keys
    assert [(key.tenant, key.day - keys[0].day, key.days) for key in keys] == [("health", n, 30) for n in range(4)]


@pytest.mark.parametrize(
    ("body", "refused"),
    [
        ({"tenant": "health", "retention": "sealed"}, (400, "invalid_value")),
        ({"tenant": "health", "retention": "sealed", "days": 0}, (400, "invalid_value")),
        ({"tenant": "health", "retention": "sealed", "days": 36_501}, (400, "invalid_value")),
        ({"tenant": "health", "retention": "hold", "days": 3}, (400, "invalid_value")),
        ({"tenant": "health", "retention": "forever"}, (400, "invalid_value")),
        ({"tenant": "nobody", "retention": "none"}, (404, "not_found")),
    ],
)
def test_a_retention_that_cannot_be_is_refused(site, body, refused):
    assert code(ask(site, None, "POST", "", json=body)) == refused


def test_an_auditor_sets_no_retention(site):
    body = {"tenant": "health", "retention": "none"}
    assert code(ask(site, "ann@health", "POST", "", json=body)) == (403, "permission_denied")


def test_content_is_destroyed_when_its_days_are_over_and_that_is_recorded(site):
    sealed(site, 1)
    site.clock.now_s += 31 * DAY_S
    assert site.run(site.sealing.expire()) == 1
    gone = [fields for kind, fields in site.events() if kind == "retention.expired"]
    assert sum(fields["requests"] for fields in gone) == 1
    assert site.safe.find("health", retention_wire.Selection()) == []


def test_keys_are_made_as_days_go_by_and_no_room_is_told(site):
    sealed(site, 1)
    site.clock.now_s += DAY_S
    site.run(site.sealing.publish(always=False))
    keys = site.sealing_snapshot().keys
    assert keys[0].day == int(site.clock()) // DAY_S
    assert len(keys) == 4
    (site.root / "sealed/health/filler").write_bytes(bytes(1_000_001))
    site.clock.now_s += 61
    site.run(site.sealing.publish(always=False))
    assert site.sealing_snapshot().full


def test_control_keeps_gateways_supplied_by_itself(site):
    async def work():
        async with keep_sealing(site.sealing, site.log):
            await site.access.set_retention("health", read_retention("sealed for 2 days"))
            for _ in range(600):
                if (found := site.sealing_snapshot()) and found.keys:
                    return found
                await asyncio.sleep(0.01)
            return None

    assert site.run(work()).keys[0].tenant == "health"


def test_keys_that_cannot_be_used_are_told_as_such(site):
    sealed(site, 1)
    site.safe.keyring._tenants.destroy("health")  # somebody took it away
    body = {"tenant": "health", "selection": {"end_user": "citizen-7"}}
    refused = ask(site, "ann@health", "POST", "/find", json=body)
    assert code(refused) == (503, "retention_unavailable")
    assert "has no key any more" in refused.json()["detail"]


def test_a_key_is_recorded_before_gateways_hear_of_it(site):
    site.run(site.sealing.publish())
    site.ledger.refusal = "the disk is full"
    assert ask(site, None, "POST", "", json={"tenant": "health", "retention": "hold"}).status_code == 503
    assert site.sealing_snapshot() in (None, SealingSnapshot())
    assert site.published().tenants[1].retention == Retention()


def test_the_page_has_every_route_with_the_action_it_needs():
    assert set(re.findall(r"^### `(\w+) (\S+)`", PAGE, re.MULTILINE)) == {(row[0], row[1]) for row in ROUTES}
    for method, path, action, _ in ROUTES:
        section = PAGE.partition(f"### `{method} {path}`")[2].partition("\n### ")[0].partition("\n## ")[0]
        assert action
        assert f"`{action}`" in section, path


@pytest.mark.parametrize("kind", SHOWN, ids=lambda kind: kind.__name__)
def test_the_page_names_every_field(kind):
    for name in kind.__struct_fields__:
        assert f"`{name}`" in PAGE or name == "request", name


def test_the_page_has_the_bounds_of_the_code():
    for bound_ in (FOUND_MAX, retention_wire.REQUESTS_MAX):
        assert f"{bound_:,}" in PAGE
