"""What tenants and keys may be."""

import pytest

from fastness.control import validation
from fastness.control.problem import Problem
from fastness.control.validation import LIFETIME_MAX_S, MODELS_MAX, KeyWish, TenantWish
from fastness.core.tenant import AccessSnapshot, ApiKey, Role, Tenant
from fastness.store.port import Conflict, Missing

NOW_S = 1_000_000_000
HEALTH = Tenant("health", "Health", 1, models=("small", "large"))
GONE = Tenant("gone", "Gone", 1, revoked_s=5)
KNOWN = AccessSnapshot(1, (HEALTH, Tenant("tax", "Tax", 1), GONE), ())


def key(number, **fields):
    return ApiKey(f"key_{number}", "tax", "ci", Role.DEVELOPER, "fst_", f"{number:064x}", **({"created_s": 1} | fields))


def refused_tenant(tenant_id="new", name=None, models=None, known=KNOWN):
    with pytest.raises(Problem) as caught:
        validation.new_tenant(TenantWish(tenant_id, name, models), known, NOW_S)
    return caught.value


def refused_key(known=KNOWN, **wish):
    with pytest.raises(Problem) as caught:
        validation.check_key(KeyWish(**({"tenant": "tax", "name": "ci"} | wish)), known, NOW_S)
    return caught.value


@pytest.mark.parametrize("name", ["", "UPPER", "-a", "a-", "a b", "a" * 64, "a/b", "\u00e9", "a\n", "../x"])
def test_ids_and_names_are_dns_labels(name):
    for refusal, param in ((refused_tenant(name), "id"), (refused_key(name=name), "name")):
        assert (refusal.code, refusal.param) == ("invalid_value", param)
        assert "63" in refusal.message


@pytest.mark.parametrize("name", ["", " ", " x", "x ", "a\nb", "a\x00", "x" * 101, "\u202eevil"])
def test_a_shown_name_is_short_and_printable(name):
    assert refused_tenant(name=name).param == "name"


def test_a_tenant_is_shown_by_its_id_when_it_has_no_name():
    assert validation.new_tenant(TenantWish("new"), KNOWN, NOW_S) == Tenant("new", "new", NOW_S)
    assert (
        validation.new_tenant(TenantWish("new", "D\u00e9partement 7", ("a",)), KNOWN, NOW_S).name
        == "D\u00e9partement 7"
    )


@pytest.mark.parametrize(
    ("models", "reason"),
    [
        ((), "1 to 64 names are needed, and 0 came"),
        (tuple(f"m{number}" for number in range(MODELS_MAX + 1)), "and 65 came"),
        (("a", "a"), "came twice"),
        (("",), "is no name"),
        (("a b",), "is no name"),
        (("a,b",), "is no name"),
        (("\u00e9",), "is no name"),
        (("x" * 129,), "is no name"),
        (tuple(f"{number:02}{'x' * 100}" for number in range(10)), "1000 characters together"),
    ],
)
def test_lists_of_models_are_bounded(models, reason):
    for refusal in (refused_tenant(models=models), refused_key(models=models)):
        assert refusal.param == "models"
        assert reason in refusal.message


def test_a_key_may_name_only_models_of_its_tenant():
    assert validation.check_key(KeyWish("health", "ci", models=("small",)), KNOWN, NOW_S) is None
    refusal = refused_key(tenant="health", models=("small", "secret"))
    assert "may use small, large; the key asks for secret" in refusal.message


def test_the_tenant_of_a_key_must_live():
    with pytest.raises(Missing, match="nowhere"):
        validation.check_key(KeyWish("nowhere", "ci"), KNOWN, NOW_S)
    with pytest.raises(Conflict, match="revoked"):
        validation.check_key(KeyWish("gone", "ci"), KNOWN, NOW_S)


@pytest.mark.parametrize(
    ("times", "expires_s"),
    [
        ({}, None),
        ({"ttl_s": 1}, NOW_S + 1),
        ({"ttl_s": LIFETIME_MAX_S}, NOW_S + LIFETIME_MAX_S),
        ({"expires_s": NOW_S + 1}, NOW_S + 1),
    ],
)
def test_a_key_ends_when_asked(times, expires_s):
    assert validation.check_key(KeyWish("tax", "ci", **times), KNOWN, NOW_S) == expires_s


@pytest.mark.parametrize(
    ("times", "param"),
    [
        ({"ttl_s": 0}, "ttl_s"),
        ({"ttl_s": -5}, "ttl_s"),
        ({"ttl_s": LIFETIME_MAX_S + 1}, "ttl_s"),
        ({"ttl_s": 10**30}, "ttl_s"),
        ({"expires_s": NOW_S}, "expires_s"),
        ({"expires_s": 0}, "expires_s"),
        ({"expires_s": NOW_S, "ttl_s": 5}, "ttl_s"),
    ],
)
def test_an_end_that_cannot_be_is_refused(times, param):
    assert refused_key(**times).param == param


def test_tenants_and_keys_are_bounded_in_number(monkeypatch):
    monkeypatch.setattr(validation, "TENANTS_MAX", 3)
    monkeypatch.setattr(validation, "KEYS_MAX", 2)
    assert refused_tenant().code == "limit_exceeded"
    full = AccessSnapshot(1, KNOWN.tenants, (key(1), key(2)))
    assert refused_key(known=full).code == "limit_exceeded"
    ended_long_ago = AccessSnapshot(1, KNOWN.tenants, (key(1), key(2, revoked_s=5)))
    assert validation.check_key(KeyWish("tax", "ci"), ended_long_ago, NOW_S) is None


def test_only_keys_that_ended_long_ago_may_be_forgotten():
    short_end, long_end = NOW_S - validation.SHORT_ENDED_KEPT_S, NOW_S - validation.ENDED_KEPT_S
    keys = (
        key(1),
        key(2, expires_s=NOW_S + 5),
        key(3, created_s=short_end - 600, expires_s=short_end),
        key(4, created_s=short_end - 601, expires_s=short_end - 1),
        key(5, expires_s=long_end),
        key(6, expires_s=long_end - 1),
        key(7, revoked_s=long_end - 1),
        key(8, created_s=long_end, revoked_s=long_end, expires_s=NOW_S + 5),
    )
    assert validation.forgettable(AccessSnapshot(1, KNOWN.tenants, keys), NOW_S) == ("key_4", "key_6", "key_7")
