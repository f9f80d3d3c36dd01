"""Tokens that were verified: remembered within bounds, one object for one subject; roles, pseudonyms, times."""

import json
from base64 import urlsafe_b64encode

import pytest
from joserfc import jws
from joserfc.jwk import ECKey

from fastness.config import IdentitySettings
from fastness.core.error import Refusal
from fastness.core.identity import IdentitySnapshot, Issuer
from fastness.core.marking import Label
from fastness.core.tenant import AccessSnapshot, Principal, Tenant
from fastness.identity.authenticator import Authenticator
from fastness.identity.tokens import Tokens, subject_id

KEY = ECKey.generate_key("P-256")
URL = "https://login.state.example"
NOW_S = 1_800_000_000
JWKS = json.dumps({"keys": [{**KEY.as_dict(private=False), "kid": "one"}]})
HEALTH = Tenant("health", "Health", 1, ("a",), None, Label("SECRET"), Label("OFFICIAL"))


def issuer(**changes) -> Issuer:
    fields = {
        "url": URL,
        "audience": "us",
        "algorithms": ("ES256",),
        "tenant": "health",
        "roles_claim": "roles",
        "roles": (("Use", "developer"), ("Audit", "auditor"), ("Use", "tester")),
        "keys": JWKS,
        "fetched_s": NOW_S,
    }
    return Issuer(**(fields | changes))


def token(**changes) -> str:
    claims = {"iss": URL, "aud": ["us", "them"], "sub": "letters", "exp": NOW_S + 100, "roles": ["Use"]} | changes
    return jws.serialize_compact({"alg": "ES256", "kid": "one", "typ": "JWT"}, json.dumps(claims), KEY)


def trusting(tokens_max: int = 16, **changes) -> Tokens:
    made = Tokens(b"p" * 32, IdentitySettings(tokens_max=tokens_max))
    made.replace((issuer(**changes),), {"health": HEALTH})
    return made


def enter(tokens: Tokens, text: str, now_s: float = NOW_S) -> Principal:
    return tokens.authenticate(text, now_s)


def test_a_principal_has_what_its_issuer_and_its_tenant_say():
    found = enter(trusting(clearance=Label("OFFICIAL")), token())
    assert (found.tenant, found.models) == ("health", {"a"})
    assert (found.clearance, found.tenant_clearance, found.marking) == (
        Label("OFFICIAL"),
        Label("SECRET"),
        Label("OFFICIAL"),
    )


def test_one_subject_is_one_object_whatever_token_it_brings():
    tokens = trusting()
    found = enter(tokens, token())
    assert enter(tokens, token(jti="another")) is found
    assert enter(tokens, token(sub="maps")) is not found
    assert enter(tokens, token(roles=["Audit"])) is not found


def test_no_more_tokens_are_remembered_than_the_setting_says_and_the_least_used_goes_first():
    tokens, first = trusting(16), token(jti="first")
    known = enter(tokens, first)
    for number in range(40):
        enter(tokens, token(sub=f"s{number}"))
        assert enter(tokens, first) is known, "it is used all the time"
    assert len(tokens._remembered) == 16
    assert len(tokens._principals) <= 32


def test_tokens_that_have_ended_are_forgotten_when_identities_are_read_anew():
    authenticator = Authenticator(b"p" * 32)
    authenticator.replace(AccessSnapshot(1, (HEALTH,), ()))
    authenticator.replace_identities(IdentitySnapshot(1, (issuer(),)), NOW_S)
    authenticator.authenticate(f"Bearer {token()}", NOW_S)
    assert authenticator._tokens
    assert len(authenticator._tokens._remembered) == 1
    authenticator.replace_identities(IdentitySnapshot(2, (issuer(fetched_s=NOW_S + 50),)), NOW_S + 130)
    assert len(authenticator._tokens._remembered) == 0


def test_a_fetch_that_changed_nothing_keeps_what_is_remembered():
    tokens = trusting()
    found = enter(tokens, token())
    tokens.replace((issuer(fetched_s=NOW_S + 60),), {"health": HEALTH, "works": Tenant("works", "Works", 1)})
    assert enter(tokens, token()) is found


@pytest.mark.parametrize(
    "changes",
    [{"audience": "them"}, {"clearance": Label("OFFICIAL")}, {"roles": ()}, {"keys_max_age_s": 60}, {"algorithms": ()}],
)
def test_anything_else_that_changes_makes_tokens_be_verified_anew(changes):
    tokens = trusting()
    enter(tokens, token())
    tokens.replace((issuer(**changes),), {"health": HEALTH})
    assert len(tokens._remembered) == 0


@pytest.mark.parametrize(
    ("claim", "value", "ours"),
    [
        ("roles", {"roles": ["Use", "Print"]}, {"developer", "tester"}),
        ("roles", {"roles": "Audit Use"}, {"developer", "tester", "auditor"}),
        ("roles", {"roles": "Use,Audit"}, set()),
        ("roles", {"roles": []}, set()),
        ("groups", {"roles": ["Use"]}, set()),
        ("realm_access.roles", {"realm_access": {"roles": ["Audit"]}}, {"auditor"}),
        ("realm_access.roles", {"realm_access": ["Audit"]}, set()),
        ("https://us/roles", {"https://us/roles": ["Audit"]}, {"auditor"}),
        ("a.b", {"a.b": ["Use"], "a": {"b": ["Audit"]}}, {"developer", "tester"}),
    ],
)
def test_roles_are_mapped_and_what_the_table_does_not_name_is_dropped(claim, value, ours):
    assert enter(trusting(roles_claim=claim), token(**value)).roles == ours


def test_a_subject_is_a_pseudonym_of_this_installation_and_this_issuer():
    mine = subject_id(b"p" * 32, URL, "minister@state.example")
    assert mine.startswith("oidc:")
    assert len(mine) == 37
    assert len({mine, subject_id(b"q" * 32, URL, "minister@state.example"), subject_id(b"p" * 32, "x", "y")}) == 3


@pytest.mark.parametrize("algorithm", ["none", "HS256", "RS256", "ES384"])
def test_an_algorithm_that_a_snapshot_should_never_have_pinned_fits_no_key(algorithm):
    _, claims, signature = token().split(".")
    forged = json.dumps({"alg": algorithm, "kid": "one", "typ": "JWT"}).encode()
    text = f"{urlsafe_b64encode(forged).rstrip(b'=').decode()}.{claims}.{signature}"
    with pytest.raises(Refusal, match="does not fit the key"):
        enter(trusting(algorithms=(algorithm, "ES256")), text)
