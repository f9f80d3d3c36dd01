"""Client certificates: a URI to the letter, one service, one tenant."""

import pytest

from fastness.core.error import Refusal
from fastness.core.identity import IdentitySnapshot, Service
from fastness.core.marking import Label
from fastness.core.tenant import AccessSnapshot, Credential, Principal, Tenant
from fastness.identity.authenticator import Authenticator

LETTERS = "spiffe://state.example/health/letters"
MAPS = "https://maps.state.example"
HEALTH = Tenant("health", "Health", 1, ("a",), None, Label("SECRET"), Label("OFFICIAL"))
SERVICES = (
    Service(LETTERS, "health", ("developer",), Label("OFFICIAL")),
    Service(MAPS, "health", ("developer", "auditor")),
)


def knowing(*tenants: Tenant) -> Authenticator:
    made = Authenticator(b"p" * 32)
    made.replace(AccessSnapshot(1, tenants, ()))
    made.replace_identities(IdentitySnapshot(1, (), SERVICES), 100.0)
    return made


def refusal(authenticator: Authenticator, *uris: str, header: str | None = None) -> Refusal:
    with pytest.raises(Refusal) as caught:
        authenticator.authenticate(header, 100.0, uris)
    assert caught.value.status == 401
    return caught.value


def test_a_known_uri_stands_for_its_service():
    authenticator = knowing(HEALTH)
    found = authenticator.authenticate(None, 100.0, (LETTERS,))
    assert found == Principal(
        f"mtls:{LETTERS}",
        "health",
        frozenset({"developer"}),
        frozenset({"a"}),
        Credential.CERTIFICATE,
        Label("OFFICIAL"),
        Label("SECRET"),
        Label("OFFICIAL"),
    )
    assert authenticator.authenticate(None, 200.0, ("urn:other", LETTERS)) is found


@pytest.mark.parametrize(
    "uri",
    [LETTERS + "/", LETTERS[:-1], LETTERS.upper(), f"{LETTERS}\0", f" {LETTERS}", "", "spiffe://state.example", "*"],
)
def test_any_other_uri_stands_for_nobody(uri):
    assert refusal(knowing(HEALTH), uri).code == "invalid_certificate"


def test_a_certificate_of_two_services_stands_for_neither():
    assert "several services" in refusal(knowing(HEALTH), LETTERS, MAPS).message
    assert knowing(HEALTH).authenticate(None, 100.0, (MAPS, MAPS))


def test_a_certificate_with_many_uris_is_refused_unread():
    assert "17 URIs" in refusal(knowing(HEALTH), *[LETTERS] * 17).message


def test_a_certificate_counts_only_when_no_header_is_sent():
    assert refusal(knowing(HEALTH), LETTERS, header="Bearer fst_nonsense").code == "invalid_api_key"
    assert refusal(knowing(HEALTH), LETTERS, header="").code == "missing_api_key"
    assert refusal(knowing(HEALTH)).code == "missing_api_key"


@pytest.mark.parametrize("tenants", [(), (Tenant("health", "Health", 1, revoked_s=50),)])
def test_a_tenant_that_is_gone_takes_its_services_with_it(tenants):
    authenticator = knowing(HEALTH)
    assert authenticator.authenticate(None, 100.0, (LETTERS,))
    authenticator.replace(AccessSnapshot(2, tenants, ()))
    assert "tenant health" in refusal(authenticator, LETTERS).message


def test_a_service_is_the_same_principal_until_it_changes():
    authenticator = knowing(HEALTH)
    found = authenticator.authenticate(None, 100.0, (LETTERS,))
    authenticator.replace(AccessSnapshot(2, (HEALTH, Tenant("works", "Works", 2)), ()))
    assert authenticator.authenticate(None, 100.0, (LETTERS,)) is found
    authenticator.replace_identities(IdentitySnapshot(2, (), SERVICES[1:]), 100.0)
    assert refusal(authenticator, LETTERS).code == "invalid_certificate"
