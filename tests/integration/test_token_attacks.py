"""Forged, stolen, stale and mangled access tokens: each one is refused with 401, none breaks anything.

The honest tokens that attacks are made from are accepted here, too, so that a refusal is of the attack and of nothing
else.
"""

from __future__ import annotations

import hashlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastness.core.error import Refusal
from fastness.core.identity import IdentitySnapshot
from fastness.core.tenant import AccessSnapshot, Credential, Principal, Tenant
from forged_tokens import ATTACKS, B64
from forging import NOW, OTHER_URL, SIGN, WORKS, head, honest, issuer, public, says, sign, trusting


def enter(authenticator, token: str, now_s: float = NOW) -> Principal:
    return authenticator.authenticate(f"Bearer {token}", now_s)


def refusal(authenticator, token: str, now_s: float = NOW) -> Refusal:
    with pytest.raises(Refusal) as caught:
        enter(authenticator, token, now_s)
    return caught.value


def trust():
    neighbour = issuer("neighbour", url=OTHER_URL, tenant="works", audience="https://works.example")
    return trusting(issuer(), neighbour)


@pytest.mark.parametrize("algorithm", SIGN)
def test_an_honest_token_stands_for_its_principal(algorithm):
    found = enter(trust(), honest(algorithm))
    assert found.id.startswith("oidc:") and "letters" not in found.id
    assert (found.tenant, found.roles, found.credential) == ("health", {"developer"}, Credential.TOKEN)


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_is_refused(attack):
    trusted, token = trust(), ATTACKS[attack]
    found = refusal(trusted, token)
    assert found.status == 401
    assert found.code in {"invalid_token", "expired_token", "invalid_api_key"}
    for part in token.split("."):
        assert len(part) < 12 or part not in found.message, "nothing of the token is repeated"
    enter(trusted, honest())
    assert refusal(trusted, token).code == found.code, "it is the same after an honest one"


def test_the_corpus_is_not_shrinking():
    assert len(ATTACKS) >= 180


def test_times_may_be_off_by_the_clock_skew_and_no_more():
    trusted = trust()
    for claims in (says(exp=NOW - 29), says(nbf=NOW + 30), says(iat=NOW + 30)):
        assert enter(trusted, sign(head(), claims))
    short = sign(head(), says(exp=NOW))
    assert enter(trusted, short, NOW + 29.9)
    assert refusal(trusted, short, NOW + 30).code == "expired_token"


def test_a_remembered_token_ends_like_any_other():
    trusted, token = trust(), honest()
    assert enter(trusted, token) is enter(trusted, token, NOW + 329)
    assert refusal(trusted, token, NOW + 330).code == "expired_token"


def test_a_swapped_key_set_is_no_way_in_and_the_old_keys_are_none_any_more():
    trusted = trust()
    assert enter(trusted, honest())
    trusted.replace_identities(IdentitySnapshot(2, (issuer("rotated"),)), NOW)
    assert refusal(trusted, honest()).code == "invalid_token", "remembered or not, its key is gone"
    assert enter(trusted, honest(name="rotated"))


def test_a_token_signed_with_a_removed_key_is_refused():
    trusted = trust()
    assert enter(trusted, honest("ES256"))
    left = json.dumps({"keys": [key for key in public() if key["kid"] != "p256"]})
    trusted.replace_identities(IdentitySnapshot(2, (issuer(keys=left),)), NOW)
    assert refusal(trusted, honest("ES256")).code == "invalid_token"
    assert enter(trusted, honest("RS256"))


def test_an_algorithm_that_is_pinned_no_more_is_refused():
    trusted = trust()
    assert enter(trusted, honest("RS256"))
    trusted.replace_identities(IdentitySnapshot(2, (issuer(algorithms=("ES256",)),)), NOW)
    assert "pinned" in refusal(trusted, honest("RS256")).message


def test_a_key_that_says_what_it_is_for_is_used_for_nothing_else():
    keys = json.dumps({"keys": [{**public()[0], "alg": "PS256"}]})
    trusted = trusting(issuer(keys=keys))
    assert enter(trusted, honest("PS256"))
    assert refusal(trusted, honest("RS256")).code == "invalid_token"


@pytest.mark.parametrize("tenants", [(WORKS,), (WORKS, Tenant("health", "Health", 1, revoked_s=NOW))])
def test_a_revoked_tenant_takes_its_tokens_with_it(tenants):
    trusted = trust()
    assert enter(trusted, honest())
    trusted.replace(AccessSnapshot(2, tenants, ()))
    assert "tenant health" in refusal(trusted, honest()).message


def test_an_issuer_that_is_not_trusted_any_more_opens_nothing():
    trusted = trust()
    assert enter(trusted, honest())
    trusted.replace_identities(IdentitySnapshot(2), NOW)
    assert refusal(trusted, honest()).code == "invalid_token"


@pytest.mark.parametrize("stale", [{"fetched_s": NOW - 604_800}, {"fetched_s": None}, {"keys": ""}, {"keys": "{}"}])
def test_keys_that_are_missing_or_too_old_are_not_believed(stale):
    found = refusal(trusting(issuer(**stale)), honest())
    assert (found.code, found.status) == ("identity_unavailable", 503)


def test_a_remembered_token_does_not_outlive_the_belief_in_its_keys():
    trusted, token = trusting(issuer(keys_max_age_s=120)), honest()
    assert enter(trusted, token, NOW + 59)
    assert refusal(trusted, token, NOW + 60).code == "identity_unavailable"
    trusted.replace_identities(IdentitySnapshot(2, (issuer(keys_max_age_s=120, fetched_s=NOW + 60),)), NOW + 60)
    assert enter(trusted, token, NOW + 61)


def test_a_header_that_is_there_counts_even_when_a_certificate_would_do():
    with pytest.raises(Refusal) as caught:
        trust().authenticate("Bearer a.b.c", NOW, ("spiffe://state.example/letters",))
    assert caught.value.code == "invalid_token"


@pytest.mark.slow
@settings(max_examples=400, deadline=None)
@given(st.sampled_from(["RS256", "ES256", "EdDSA"]), st.data())
def test_a_token_with_any_character_changed_is_refused(algorithm, draw):
    token = _TOKENS[algorithm]
    place = draw.draw(st.integers(0, len(token) - 1))
    wrong = draw.draw(st.sampled_from(B64 + "=. +/\n").filter(lambda one: one != token[place]))
    mutant = token[:place] + wrong + token[place + 1 :]
    if mutant.strip(" ") != token:
        assert refusal(_TRUST, mutant).status == 401


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(["RS256", "ES256", "EdDSA"]), st.data())
def test_a_token_cut_grown_or_put_together_anew_is_refused(algorithm, draw):
    token = _TOKENS[algorithm]
    first, last = sorted(draw.draw(st.tuples(st.integers(0, len(token)), st.integers(0, len(token)))))
    mutant = draw.draw(
        st.sampled_from([token[:first] + token[last:], token[first:last], token[:last] + token[first:], token[last:]])
    )
    if mutant.strip(" ") != token:
        assert refusal(_TRUST, mutant).status == 401


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=400))
def test_any_text_is_refused_and_breaks_nothing(text):
    for header in (f"Bearer {text}", f"Bearer a.{text}", f"Bearer {text}.a.b", text):
        with pytest.raises(Refusal) as caught:
            _TRUST.authenticate(header, NOW)
        assert caught.value.status == 401


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(["iss", "aud", "sub", "exp", "iat", "nbf", "roles", "typ", "cnf"]), JSON)
def test_whatever_an_issuer_says_of_itself_gives_an_answer(name, value):
    token = sign(head("EdDSA"), says() | {name: value}, "EdDSA")
    try:
        found = enter(_TRUST, token)
    except Refusal as refused:
        if refused.status != 401:
            raise
    else:
        assert found.tenant == "health"
        assert found.roles <= {"developer", "auditor"}


_TRUST = trust()
_TOKENS = {name: honest(name) for name in ("RS256", "ES256", "EdDSA")}


def test_the_digest_of_a_token_is_all_that_is_remembered():
    trusted, token = trust(), honest()
    enter(trusted, token)
    kept = repr(vars(trusted)) + repr({name: getattr(trusted._tokens, name) for name in vars(trusted._tokens)})
    assert token not in kept and token.split(".")[2] not in kept and "letters-service" not in kept
    assert hashlib.sha256(token.encode()).digest() in trusted._tokens._remembered
