"""The choke point: every route names its action, and policy is asked before anything is done."""

from dataclasses import replace

import pytest

from fastness.control import artefacts, kept, ledger_tiles, limits_api, policy_api, proof, receipts
from fastness.control.api import ROUTES, all_routes, build_app
from fastness.control.routes import ApiRoute, bound, caller_of
from fastness.core.policy import Action, PolicyText
from fastness.policy.bundle import make_bundle, shipped_bundle
from fastness.policy.profile import shipped_profile
from fastness.store.memory import MemoryPolicyStore

TABLE = (*ROUTES, *policy_api.ROUTES, *ledger_tiles.ROUTES)
EVERYWHERE = (*TABLE, *artefacts.ROUTES, *proof.ROUTES, *limits_api.ROUTES, *kept.ROUTES, *receipts.ROUTES)
"""With those that main mounts beside ours."""
OPEN = {"/api/v1/status", "/api/v1/errors", "/api/v1/errors/{code}"}
"""What tells nothing but that we live, or a published table."""


@pytest.fixture
def health(world):
    """A world with a tenant and a key of each role; `keys` has their texts."""
    world.post("/tenants", {"id": "health", "clearance": "OFFICIAL-SENSITIVE"})
    roles = ("developer", "admin", "approver", "auditor")
    made = {role: world.post("/keys", {"tenant": "health", "name": role, "role": role}) for role in roles}
    world.keys = {role: one["key"] for role, one in made.items()}
    world.ids = {role: one["id"] for role, one in made.items()}
    return world


def acting(text):
    return {"authorization": f"Bearer {text}"}


def path_of(route):
    path = route.path.removeprefix("/api/v1")
    for name, value in (
        ("{id}", "nobody"),
        ("{log}", "nowhere"),
        ("{index}", "0"),
        ("{code}", "conflict"),
        ("{path:path}", "0/000"),
    ):
        path = path.replace(name, value)
    return path


def test_every_route_names_an_action_but_those_that_tell_nothing(world):
    assert {route.path for route in all_routes(world.deps) if route.action is None} == OPEN
    assert all(route.method == "GET" for route in all_routes(world.deps) if route.action is None)
    assert len(all_routes(world.deps)) == len(TABLE)


def test_no_table_of_routes_has_one_without_an_action():
    assert {path for _, path, action, _ in EVERYWHERE if action is None} == OPEN
    assert all(action is None or action in Action for _, _, action, _ in EVERYWHERE)
    assert len({(method, path) for method, path, *_ in EVERYWHERE}) == len(EVERYWHERE)


def test_every_route_that_changes_something_needs_more_than_reading(world):
    reading = {"/api/v1/policy/test", "/api/v1/policy/explain", "/api/v1/policy/diff"}
    changing = [route for route in all_routes(world.deps) if route.method != "GET" and route.path not in reading]
    assert [route.path for route in changing if route.action in (None, Action.READ)] == []


@pytest.mark.parametrize("role", ["developer", "admin", "approver", "auditor"])
def test_what_policy_denies_is_denied_on_every_route_and_what_it_permits_is_not(health, role):
    permitted = {
        "developer": set(),
        "admin": {Action.READ, Action.MANAGE_ACCESS, Action.APPLY_POLICY},
        "approver": {Action.READ},
        "auditor": {Action.READ},
    }[role]
    for route in all_routes(health.deps):
        response = health.ask(route.method, path_of(route), headers=acting(health.keys[role]))
        denied = response.status_code == 403
        assert denied == (route.action is not None and route.action not in permitted), route.path
        if denied:
            detail = response.json()["detail"]
            assert health.ids[role] in detail
            assert "Needed: " in detail
            assert "policy rule " in detail


def test_a_denied_command_does_nothing(health):
    before = (health.store.version(), len(health.ledger.entries()))
    for path, body in (("/tenants", {"id": "tax"}), ("/keys", {"tenant": "health", "name": "x"})):
        assert health.ask("POST", path, json=body, headers=acting(health.keys["developer"])).status_code == 403
    assert (health.store.version(), len(health.ledger.entries())) == before


def test_the_ledger_names_who_asked(health):
    health.post("/tenants", {"id": "tax"}, headers=acting(health.keys["admin"]))
    health.post("/keys", {"tenant": "tax", "name": "ci"}, headers=acting(health.keys["admin"]))
    health.post("/tenants/tax/revoke", headers=acting(health.keys["admin"]))
    assert [fields["by"] for _, fields in health.events()[-3:]] == [health.ids["admin"]] * 3
    health.post(f"/keys/{health.ids['auditor']}/revoke")
    assert health.events()[-1][1]["by"] == "local"


@pytest.mark.parametrize(
    ("header", "code"),
    [
        ("", "missing_api_key"),
        ("Bearer fst_nonsense", "invalid_api_key"),
        ("Basic bG9jYWw6", "invalid_api_key"),
        ("Bearer ", "invalid_api_key"),
    ],
)
def test_a_credential_that_is_none_is_refused_and_never_taken_for_the_local_operator(world, header, code):
    for path in ("/tenants", "/status"):
        response = world.ask("GET", path, headers={"authorization": header})
        assert (response.status_code, response.json()["code"]) == (401, code)


def test_two_credentials_are_one_too_many(health):
    headers = [("authorization", f"Bearer {health.keys['developer']}"), ("authorization", "Bearer x")]
    assert health.ask("GET", "/tenants", headers=headers).status_code == 401


def test_a_revoked_or_expired_key_opens_nothing_here_at_once(health):
    health.post(f"/keys/{health.ids['admin']}/revoke")
    assert health.ask("GET", "/tenants", headers=acting(health.keys["admin"])).json()["code"] == "revoked_api_key"
    short = health.post("/keys", {"tenant": "health", "name": "x", "role": "auditor", "ttl_s": 5})["key"]
    assert health.ask("GET", "/tenants", headers=acting(short)).status_code == 200
    health.clock.now_s += 5
    assert health.ask("GET", "/tenants", headers=acting(short)).json()["code"] == "expired_api_key"


def test_a_changed_policy_is_asked_from_the_next_request_on(health):
    uk = shipped_bundle(shipped_profile("uk"))
    rule = '@id("night/1") forbid (principal in Role::"auditor", action == Action::"read", resource);'
    assert health.ask("GET", "/tenants", headers=acting(health.keys["auditor"])).status_code == 200
    health.run(health.policies.apply(make_bundle(uk.profile, (*uk.policies, PolicyText("n.cedar", rule))), "local"))
    response = health.ask("GET", "/tenants", headers=acting(health.keys["auditor"]))
    assert response.status_code == 403
    assert "night/1" in response.json()["detail"]


def test_policy_may_bound_the_clearances_that_somebody_gives(health):
    uk = shipped_bundle(shipped_profile("uk"))
    rule = """@id("giving/1") @needed("a clearance of your own of {label}") @had("{principal.clearance}")
    forbid (principal, action == Action::"manage_access", resource)
    unless { context.label.marking in principal.clearance.marking || principal.credential == "local" };"""
    health.run(health.policies.apply(make_bundle(uk.profile, (*uk.policies, PolicyText("g.cedar", rule))), "local"))
    admin = acting(health.keys["admin"])
    assert health.ask("POST", "/tenants", json={"id": "a", "clearance": "SECRET"}, headers=admin).status_code == 403
    assert health.ask("POST", "/tenants", json={"id": "a", "clearance": "OFFICIAL"}, headers=admin).status_code == 201
    assert health.ask("POST", "/tenants", json={"id": "b", "clearance": "SECRET"}).status_code == 201
    wish = {"tenant": "b", "name": "x", "clearance": "SECRET"}
    assert health.ask("POST", "/keys", json=wish, headers=admin).json()["code"] == "permission_denied"


def test_without_a_policy_only_applying_one_is_possible_and_only_here(world):
    world.policies = world.new_policies(MemoryPolicyStore())
    world.deps = replace(world.deps, policies=world.policies)
    world.app = build_app(world.deps)
    for route in all_routes(world.deps):
        response = world.ask(route.method, path_of(route), json={} if route.method == "POST" else None)
        unavailable = response.status_code == 503 and response.json()["code"] == "policy_unavailable"
        assert unavailable == (route.action not in (None, Action.APPLY_POLICY)), route.path
    uk = shipped_bundle(shipped_profile("uk"))
    given = {"policies": {one.name: one.text for one in uk.policies}, "version": None}
    assert world.ask("POST", "/policy/apply", json=given).json()["code"] == "missing_field"


def test_routes_of_other_files_stand_behind_the_same_door(health):
    class Guests:
        async def who(self, request):
            return 200, {"by": caller_of(request).id}

    table = (("POST", "/api/v1/guests", Action.ADMIT, Guests.who),)
    health.app = build_app(replace(health.deps, extra_routes=bound(table, Guests())))
    assert health.post("/guests") == {"by": "local"}
    assert health.post("/guests", headers=acting(health.keys["approver"])) == {"by": health.ids["approver"]}
    assert health.ask("POST", "/guests", headers=acting(health.keys["developer"])).status_code == 403


def test_a_route_that_is_there_twice_is_a_defect(world):
    twice = ApiRoute("GET", "/api/v1/tenants", Action.READ, world.access.snapshot)
    with pytest.raises(ValueError, match="twice"):
        build_app(replace(world.deps, extra_routes=(twice,)))
