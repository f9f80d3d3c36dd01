"""The keys of an issuer: which are taken, which are left out, and which sets are refused whole."""

import json
import warnings

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from fastness.identity.jwks import JWKS_BYTES_MAX, JwksProblem, read_jwks, write_jwks

EC = {**ECKey.generate_key("P-256", private=False).as_dict(), "kid": "ec"}
RSA = {**RSAKey.generate_key(2048, private=False).as_dict(), "kid": "rsa"}
ED = {**OKPKey.generate_key("Ed25519", private=False).as_dict(), "kid": "ed"}


def jwks(*keys: object) -> bytes:
    return json.dumps({"keys": keys}).encode()


def weak(bits: int) -> dict[str, object]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {**RSAKey.import_key(rsa.generate_private_key(65_537, bits).public_key()).as_dict(), "kid": "weak"}


def test_keys_are_found_by_kid_and_know_what_they_are_for():
    found = read_jwks(jwks(RSA, EC, ED))
    assert found["rsa"].algorithms == {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}
    assert found["ec"].algorithms == {"ES256"}
    assert found["ed"].algorithms == {"EdDSA", "Ed25519"}
    assert read_jwks(jwks({**RSA, "alg": "RS256"}))["rsa"].algorithms == {"RS256"}


def test_a_set_is_written_in_one_way_with_nothing_but_public_keys():
    decorated = {**RSA, "x5c": ["MIIB"], "x5t": "abc", "use": "sig", "key_ops": ["verify"], "hello": "there"}
    one, other = write_jwks(read_jwks(jwks(decorated, EC))), write_jwks(read_jwks(jwks(EC, RSA)))
    assert one == other == write_jwks(read_jwks(one.encode()))
    assert set(json.loads(one)["keys"][1]) == {"kty", "kid", "use", "n", "e"}


@pytest.mark.parametrize(
    "other",
    [
        weak(1024),
        {**RSA, "kid": "enc", "use": "enc"},
        {**RSA, "kid": "enc", "key_ops": ["encrypt"]},
        {**RSA, "kid": "ops", "key_ops": "verify"},
        {**RSA, "kid": "enc", "alg": "RSA-OAEP-256"},
        {**RSA, "kid": "confused", "alg": "ES256"},
        {**RSA, "kid": "confused", "alg": "HS256"},
        {**RSA, "kid": "confused", "alg": ["RS256"]},
        {**RSA, "kid": "exponent", "e": "AQ"},
        {**RSA, "kid": "exponent", "e": "Aw"},
        {**RSA, "kid": "huge", "n": "_" * 700},
        {**RSA, "kid": "huge", "n": "_" * 70_000},
        {**RSA, "kid": "text", "n": 7},
        {**RSA, "kid": "padded", "n": RSA["n"] + "=="},
        {name: value for name, value in RSA.items() if name != "kid"},
        {**RSA, "kid": ""},
        {**RSA, "kid": 7},
        {**RSA, "kid": "k" * 257},
        {**RSA, "kid": "new\nline"},
        {**EC, "kid": "beside", "y": EC["x"]},
        {**EC, "kid": "curve", "crv": "P-384"},
        {**EC, "kid": "curve", "crv": "secp256k1"},
        {**EC, "kid": "curve", "crv": None},
        {**ED, "kid": "curve", "crv": "X25519"},
        {**ED, "kid": "curve", "crv": "Ed448"},
        {**ED, "kid": "short", "x": "AAAA"},
        {"kty": "AKP", "kid": "future", "alg": "ML-DSA-44", "pub": "AAAA"},
        {"kty": ["RSA"], "kid": "list"},
        {"kid": "nothing"},
    ],
)
def test_a_key_that_cannot_verify_our_tokens_is_left_out(other):
    assert set(read_jwks(jwks(other, EC))) == {"ec"}
    with pytest.raises(JwksProblem, match="none of its keys"):
        read_jwks(jwks(other))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (jwks({**OctKey.generate_key(256).as_dict(), "kid": "oct"}, EC), "treat that key as stolen"),
        (jwks(EC, {**RSAKey.generate_key(2048).as_dict(private=True), "kid": "p"}), "treat that key as stolen"),
        (jwks(EC, {**ECKey.generate_key("P-256").as_dict(private=True)}), "treat that key as stolen"),
        (jwks(EC, {"kty": "RSA", "k": "c2VjcmV0"}), "treat that key as stolen"),
        (jwks(EC, RSA, {**ED, "kid": "ec"}), "same `kid`"),
        (jwks(*([EC] * 65)), "1 to 64"),
        (jwks(), "1 to 64"),
        (jwks(EC, "x"), "no JSON object"),
        (b'{"keys": {"kid": "ec"}}', "a list"),
        (b"[]", "no object"),
        (b"", "not JSON"),
        (b'{"keys": [], "keys": []}', "one way only"),
        (b'{"keys": [{"kid": "a", "kid": "b"}]}', "one way only"),
        (b"<html>log in first</html>", "not JSON"),
        (b" " * (JWKS_BYTES_MAX + 1), "bytes"),
        (b"[" * 100_000, "not JSON"),
    ],
)
def test_a_set_that_shows_a_secret_or_means_two_things_is_refused_whole(content, said):
    with pytest.raises(JwksProblem, match=said):
        read_jwks(content)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@given(st.sampled_from([RSA, EC, ED]), st.sampled_from(["kty", "kid", "use", "alg", "n", "e", "crv", "x", "y"]), JSON)
def test_whatever_a_key_says_gives_an_answer(key, name, value):
    try:
        found = read_jwks(jwks({**key, name: value}))
    except JwksProblem:
        return
    assert len(found) == 1
