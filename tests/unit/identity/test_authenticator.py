"""Who is let in, who is not, and why."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastness.core.error import Refusal
from fastness.core.tenant import AccessSnapshot, ApiKey, Principal, Role, Tenant
from fastness.identity import keys
from fastness.identity.authenticator import AUTHORIZATION_CHARS_MAX, Authenticator

PEPPER = b"p" * 32
HEALTH = Tenant("health", "Health", 1)


def secret_text(number: int, role: Role = Role.DEVELOPER) -> str:
    return keys.mint(number.to_bytes(32, "big"), role)


def key(number: int, tenant: str = "health", role: Role = Role.DEVELOPER, **fields) -> ApiKey:
    text = secret_text(number, role)
    return ApiKey(f"key_{number}", tenant, "test", role, keys.hint(text), keys.mac(PEPPER, text), 1, **fields)


def knowing(*known: ApiKey, tenants: tuple[Tenant, ...] = (HEALTH,)) -> Authenticator:
    authenticator = Authenticator(PEPPER)
    authenticator.replace(AccessSnapshot(1, tenants, known))
    return authenticator


def refusal(authenticator: Authenticator, header: str | None, now_s: float = 100.0) -> Refusal:
    with pytest.raises(Refusal) as caught:
        authenticator.authenticate(header, now_s)
    assert caught.value.status == 401
    return caught.value


def test_a_known_key_stands_for_its_principal():
    header = f"Bearer {secret_text(7, Role.ADMIN)}"
    assert knowing(key(7, role=Role.ADMIN)).authenticate(header, 100.0) == Principal(
        "key_7", "health", frozenset({"admin"})
    )


@pytest.mark.parametrize("scheme", ["Bearer ", "bearer ", "BEARER ", "Bearer   "])
def test_the_scheme_may_be_written_in_any_case(scheme):
    assert knowing(key(7)).authenticate(scheme + secret_text(7), 100.0).id == "key_7"


@pytest.mark.parametrize("header", [None, ""])
def test_no_header_is_a_missing_key(header):
    found = refusal(knowing(key(7)), header)
    assert found.code == "missing_api_key"
    assert "fastness keys create" in found.message


@pytest.mark.parametrize(
    "header",
    ["Bearer", "Bearer ", "Basic dXNlcjpwYXNz", "fst_abc", "Bearer\tfst_abc", "Bearer sk-1234", "Bearer \ud800"],
)
def test_anything_else_is_an_invalid_key(header):
    assert refusal(knowing(key(7)), header).code == "invalid_api_key"


def test_a_typing_error_is_told_from_an_unknown_key():
    text = secret_text(7)
    typo = text[:20] + ("A" if text[20] != "A" else "B") + text[21:]
    assert "mistyped" in refusal(knowing(key(7)), f"Bearer {typo}").message
    assert "well formed, but unknown" in refusal(knowing(key(7)), f"Bearer {secret_text(8)}").message


def test_a_header_longer_than_the_limit_is_refused_unread():
    found = refusal(knowing(key(7)), "Bearer " + "A" * AUTHORIZATION_CHARS_MAX)
    assert found.code == "invalid_api_key"
    assert str(AUTHORIZATION_CHARS_MAX) in found.message


@given(st.text(max_size=300))
def test_what_was_sent_is_never_repeated(sent):
    assert refusal(knowing(key(7)), f"Bearer zQ{sent}").message.count("zQ") == 0


def test_a_key_ends_in_the_second_it_expires():
    authenticator, header = knowing(key(7, expires_s=200)), f"Bearer {secret_text(7)}"
    assert authenticator.authenticate(header, 199.99)
    assert refusal(authenticator, header, 200.0).code == "expired_api_key"


def test_a_revoked_key_is_refused():
    assert refusal(knowing(key(7, revoked_s=50)), f"Bearer {secret_text(7)}").code == "revoked_api_key"


def test_a_revoked_tenant_takes_its_keys_with_it():
    gone = Tenant("health", "Health", 1, revoked_s=50)
    found = refusal(knowing(key(7), tenants=(gone,)), f"Bearer {secret_text(7)}")
    assert found.code == "revoked_api_key"
    assert "tenant health" in found.message


def test_a_key_that_is_both_revoked_and_expired_counts_as_revoked():
    found = refusal(knowing(key(7, revoked_s=50, expires_s=60)), f"Bearer {secret_text(7)}")
    assert found.code == "revoked_api_key"


def test_a_key_of_an_unknown_tenant_is_unknown():
    assert refusal(knowing(key(7), tenants=()), f"Bearer {secret_text(7)}").code == "invalid_api_key"


def test_a_new_snapshot_replaces_the_old_one_whole():
    authenticator = knowing(key(7))
    authenticator.replace(AccessSnapshot(2, (HEALTH,), (key(8),)))
    assert authenticator.authenticate(f"Bearer {secret_text(8)}", 100.0).id == "key_8"
    assert refusal(authenticator, f"Bearer {secret_text(7)}").code == "invalid_api_key"


def test_without_a_snapshot_nobody_is_let_in():
    assert refusal(Authenticator(PEPPER), f"Bearer {secret_text(7)}").code == "invalid_api_key"


def test_a_database_read_under_another_pepper_opens_nothing():
    authenticator = Authenticator(b"q" * 32)
    authenticator.replace(AccessSnapshot(1, (HEALTH,), (key(7),)))
    assert refusal(authenticator, f"Bearer {secret_text(7)}").code == "invalid_api_key"


@pytest.mark.parametrize(
    ("of_key", "of_tenant", "both"),
    [
        (None, None, None),
        (("a",), None, {"a"}),
        (None, ("a", "b"), {"a", "b"}),
        (("a", "c"), ("a", "b"), {"a"}),
        (("c",), ("a",), set()),
    ],
)
def test_a_principal_may_use_what_both_its_key_and_its_tenant_allow(of_key, of_tenant, both):
    authenticator = knowing(key(7, models=of_key), tenants=(Tenant("health", "Health", 1, models=of_tenant),))
    principal = authenticator.authenticate(f"Bearer {secret_text(7)}", 100.0)
    assert principal.models == both
    assert principal.may_use("a") == (both is None or "a" in both)


def test_a_key_is_the_same_principal_until_something_about_it_changes():
    authenticator, header = knowing(key(7)), f"Bearer {secret_text(7)}"
    found = authenticator.authenticate(header, 100.0)
    authenticator.replace(AccessSnapshot(2, (HEALTH,), (key(7), key(8))))
    assert authenticator.authenticate(header, 100.0) is found
    authenticator.replace(AccessSnapshot(3, (HEALTH,), (key(7, models=("a",)),)))
    assert authenticator.authenticate(header, 100.0).models == {"a"}


def test_without_a_trusted_issuer_no_token_is_believed_and_none_is_looked_at():
    found = refusal(knowing(key(7)), "Bearer eyJhbGciOiJub25lIn0.e30.")
    assert found.code == "invalid_token"
    assert "No identity provider" in found.message


def test_a_key_is_spoken_for_by_its_id_as_it_is_now():
    authenticator = knowing(key(7), key(8, revoked_s=5), key(9, expires_s=50))
    assert authenticator.on_behalf_of("key_7", 100.0) is authenticator.authenticate(f"Bearer {secret_text(7)}", 100.0)
    for name, code in (("key_8", "revoked_api_key"), ("key_9", "expired_api_key"), ("key_1", "invalid_api_key")):
        with pytest.raises(Refusal) as caught:
            authenticator.on_behalf_of(name, 100.0)
        assert caught.value.code == code
