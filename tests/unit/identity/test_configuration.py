"""identity.toml: what is understood, and what is refused by name."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastness.config import ConfigError
from fastness.core.identity import IdentitySnapshot, Issuer, Service
from fastness.core.marking import Caveat, Label, Lattice, Marking, Profile
from fastness.identity.configuration import check_url, read_identities

LATTICE = Lattice(
    Profile(
        "test",
        "Test",
        (Marking("OFFICIAL", ""), Marking("SECRET", "", ("OFFICIAL",))),
        (Caveat("UK EYES ONLY", "", "OFFICIAL"),),
        (),
        (),
        "OFFICIAL",
    )
)
ISSUER = {
    "url": '"https://login.state.example"',
    "audience": '"https://inference.state.example"',
    "algorithms": '["RS256", "ES256"]',
    "tenant": '"health"',
}
SERVICE = {"uri": '"spiffe://state.example/letters"', "tenant": '"health"', "roles": '["developer"]'}


def table(kind: str, known: dict[str, str], **changes: str | None) -> str:
    lines = {name: value for name, value in (known | changes).items() if value is not None}
    return f"[[{kind}]]\n" + "".join(f"{name} = {value}\n" for name, value in lines.items())


def read(text: str, lattice: Lattice | None = LATTICE) -> IdentitySnapshot:
    return read_identities(text.encode(), "identity.toml", lattice)


def test_an_empty_file_trusts_nobody():
    assert read("") == IdentitySnapshot(0)


def test_a_whole_file_is_read():
    text = table(
        "issuer",
        ISSUER,
        roles_claim='"realm_access.roles"',
        clearance='"secret; uk eyes only"',
        keys_max_age_s="3600",
        jwks_url='"https://login.state.example/keys"',
    )
    text += '[issuer.roles]\n"Inference.Use" = "developer"\n"Ops" = "admin"\n'
    text += table("service", SERVICE, clearance='"OFFICIAL"')
    assert read(text) == IdentitySnapshot(
        0,
        (
            Issuer(
                "https://login.state.example",
                "https://inference.state.example",
                ("RS256", "ES256"),
                "health",
                "realm_access.roles",
                (("Inference.Use", "developer"), ("Ops", "admin")),
                Label("SECRET", ("UK EYES ONLY",)),
                keys_max_age_s=3600,
                jwks_url="https://login.state.example/keys",
            ),
        ),
        (Service("spiffe://state.example/letters", "health", ("developer",), Label("OFFICIAL")),),
    )


def test_without_a_profile_a_clearance_is_read_as_it_is_written():
    found = read(table("service", SERVICE, clearance='"SECRET; B, A"'), None).services[0]
    assert found.clearance == Label("SECRET", ("A", "B"))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"url": None}, "`url` needs"),
        ({"url": "7"}, "`url` needs"),
        ({"url": '"http://login.state.example"'}, "loopback"),
        ({"url": '"http://localhost:8080"'}, "loopback"),
        ({"url": '"http://127.0.0.1.evil.example"'}, "loopback"),
        ({"url": '"ftp://login.state.example"'}, "https"),
        ({"url": '"https://me@login.state.example"'}, "without user"),
        ({"url": '"https://login.state.example?tenant=1"'}, "query"),
        ({"url": '"https://login.state.example#top"'}, "fragment"),
        ({"url": '"https://login.state.example:port"'}, "[Pp]ort"),
        ({"url": '"https://"'}, "https"),
        ({"url": '"https://login state.example"'}, "printable ASCII"),
        ({"url": '"https://l\\u00f6gin.example"'}, "printable ASCII"),
        ({"audience": None}, "`audience` needs"),
        ({"audience": '""'}, "`audience` needs"),
        ({"audience": '["a"]'}, "`audience` needs"),
        ({"algorithms": None}, "`algorithms` needs"),
        ({"algorithms": "[]"}, "`algorithms` needs"),
        ({"algorithms": '"RS256"'}, "`algorithms` needs"),
        ({"algorithms": '["none"]'}, "RS256"),
        ({"algorithms": '["RS256", "HS256"]'}, "RS256"),
        ({"algorithms": '["rs256"]'}, "RS256"),
        ({"algorithms": '["RS256", "RS256"]'}, "each once"),
        ({"tenant": '"Health Department"'}, "id of a tenant"),
        ({"roles_claim": "[]"}, "`roles_claim` needs"),
        ({"roles": '["developer"]'}, "`roles` needs a table"),
        ({"roles": '{ Ops = "Admin" }'}, "'Ops' needs a role of ours"),
        ({"roles": '{ Ops = "operator" }'}, "'Ops' needs a role of ours"),
        ({"roles": "{ Ops = 7 }"}, "'Ops' needs a role of ours"),
        ({"clearance": '"COSMIC"'}, "`clearance`: there is no marking"),
        ({"clearance": "7"}, "`clearance` needs"),
        ({"keys_max_age_s": "59"}, "from 60 to"),
        ({"keys_max_age_s": "true"}, "from 60 to"),
        ({"keys_max_age_s": '"3600"'}, "from 60 to"),
        ({"jwks_url": '"http://login.state.example/keys"'}, "`jwks_url`.*loopback"),
        ({"audiance": '"x"'}, "`audiance` is unknown. Did you mean `audience`"),
        ({"keys": '"{}"'}, "`keys` is unknown"),
        ({"fetched_s": "7"}, "`fetched_s` is unknown"),
    ],
)
def test_an_issuer_that_is_not_understood_is_refused_by_name(changes, said):
    with pytest.raises(ConfigError, match=f"(?s)^identity.toml, issuer 2: .*{said}"):
        read(table("issuer", ISSUER, url='"https://first.example"') + table("issuer", ISSUER, **changes))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"uri": '"letters"'}, "`uri` needs a URI"),
        ({"uri": '"spiffe://state.example/a b"'}, "`uri` needs a URI"),
        ({"uri": f'"spiffe://state.example/{"a" * 255}"'}, "255"),
        ({"roles": None}, "`roles` needs a list"),
        ({"roles": '"admin"'}, "`roles` needs a list"),
        ({"roles": '["operator"]'}, "a role of ours"),
        ({"tenant": None}, "`tenant` needs"),
        ({"url": '"x"'}, "`url` is unknown. Did you mean `uri`"),
    ],
)
def test_a_service_that_is_not_understood_is_refused_by_name(changes, said):
    with pytest.raises(ConfigError, match=f"^identity.toml, service 1: .*{said}"):
        read(table("service", SERVICE, **changes))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[issuer]]\nurl = https", "TOML.*line 2"),
        ("\n\n[issuer]\nurl = 1\n", "two brackets"),
        ("service = 7", "two brackets"),
        ("[[issuers]]", "`issuers` is unknown. Did you mean `issuer`"),
        ("x = 1", "`x` is unknown. There are issuer, service"),
        (table("issuer", ISSUER) * 2, "two issuers have the url 'https://login.state.example'"),
        (table("service", SERVICE) * 2, "two services have the uri"),
        ("[[service]]\n" * 1_025, "there are 1025"),
        ("#" * 262_145, "262145 bytes"),
        ("a = " + "[" * 5_000, "TOML"),
    ],
)
def test_a_file_that_is_not_understood_is_refused(text, said):
    with pytest.raises(ConfigError, match=said):
        read(text)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(content):
    with suppress(ConfigError):
        assert not read_identities(content, "identity.toml").issuers


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("https://login.state.example/realm", "login.state.example:443"),
        ("https://LOGIN.state.example:8443/", "login.state.example:8443"),
        ("http://127.0.0.1/", "127.0.0.1:80"),
        ("http://[::1]/", "[::1]:80"),
        ("https://[2001:DB8:0::1]:444", "[2001:db8::1]:444"),
    ],
)
def test_a_url_has_one_address(url, address):
    assert check_url(url) == address
