"""Services that prove themselves by a client certificate, as the official SDK, a real CA and TLS see it."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from openai import OpenAI

from authority import DAY, Authority
from installation import CHAT, Installation, eventually, start, stop
from killing import QUICK, forget

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

LETTERS = "spiffe://state.example/health/letters"
MAPS = "spiffe://state.example/health/maps"
SERVICES = "".join(
    f'[[service]]\nuri = "{uri}"\ntenant = "{tenant}"\nroles = ["developer"]\n'
    for uri, tenant in ((LETTERS, "default"), (MAPS, "maps"))
)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"), "state")


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Installation]:
    home = tmp_path_factory.mktemp("secured")
    certificate, key = authority.server()
    files = {"tls_certificate": certificate, "tls_key": key, "tls_client_ca": authority.file}
    lines = "".join(f'{name} = "{file}"\n' for name, file in files.items())
    (home / "config.toml").write_text(f"[gateway]\n{lines}")
    (home / "identity.toml").write_text(SERVICES)
    running = start(home, environ=QUICK)
    try:
        yield running
        assert stop(running) == 0
    finally:
        forget(home)


def without_key(request: httpx.Request) -> None:
    """The SDK insists on a key; a certificate counts only where none is sent."""
    del request.headers["authorization"]


def ask(secured: Installation, context: ssl.SSLContext, key: str | None = None) -> httpx.Response:
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    return httpx.get(f"{secured.base_url}/models", verify=context, headers=headers, timeout=20)


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json().get("error", {}).get("code", "")


def test_the_official_sdk_is_answered_for_its_certificate_alone(secured, authority):
    shown = authority.trusting(authority.client("letters", LETTERS))
    with httpx.Client(verify=shown, event_hooks={"request": [without_key]}) as http:
        client = OpenAI(base_url=secured.base_url, api_key="none", http_client=http, max_retries=0)
        answer = client.chat.completions.create(
            model=CHAT, messages=[{"role": "user", "content": "Name a colour."}], max_tokens=4
        )
    assert answer.choices[0].message.content
    found = secured.run("ledger", "find", "--type", "inference.completed", "--json")
    assert f"mtls:{LETTERS}" in found.stdout, found.stderr


def test_a_key_counts_and_not_the_certificate_beside_it(secured, authority):
    shown = authority.trusting(authority.client("letters-again", LETTERS))
    assert ask(secured, shown, secured.admin_key).status_code == 200
    assert code(ask(secured, shown, "fst_nonsense")) == (401, "invalid_api_key")
    assert ask(secured, authority.trusting(), secured.admin_key).status_code == 200


@pytest.mark.parametrize("uris", [(LETTERS + "/",), ("spiffe://state.example",), (LETTERS, MAPS)])
def test_a_certificate_that_names_no_service_or_two_stands_for_nobody(secured, authority, uris):
    shown = authority.trusting(authority.client("other", *uris))
    assert code(ask(secured, shown)) == (401, "invalid_certificate")


def test_without_key_and_certificate_a_key_is_asked_for(secured, authority):
    assert code(ask(secured, authority.trusting())) == (401, "missing_api_key")
    assert code(ask(secured, authority.trusting(authority.client("nameless")))) == (401, "missing_api_key")


def test_a_certificate_of_a_stranger_or_of_the_past_ends_the_handshake(secured, authority, tmp_path: Path):
    stranger = Authority(tmp_path, "state")
    for shown in (stranger.client("letters", LETTERS), authority.client("old", LETTERS, ends=-DAY)):
        with pytest.raises(httpx.TransportError):
            ask(secured, authority.trusting(shown))


def test_a_service_comes_with_its_tenant_and_goes_with_it(secured, authority):
    shown = authority.trusting(authority.client("maps", MAPS))
    refused = ask(secured, shown)
    assert code(refused) == (401, "invalid_certificate")
    assert "tenant maps" in refused.json()["error"]["message"]
    assert secured.run("tenants", "create", "maps").returncode == 0
    eventually(lambda: ask(secured, shown).status_code == 200, "the tenant is known")
    assert secured.run("tenants", "revoke", "maps", "--yes").returncode == 0
    eventually(lambda: code(ask(secured, shown)) == (401, "invalid_certificate"), "the tenant is gone")


def test_a_service_that_is_taken_out_of_the_file_is_refused_within_seconds(secured, authority):
    shown = authority.trusting(authority.client("letters-last", LETTERS))
    assert ask(secured, shown).status_code == 200
    file = secured.home / "identity.toml"
    file.write_text("")
    eventually(lambda: code(ask(secured, shown)) == (401, "invalid_certificate"), "it is not trusted any more")
    file.write_text(SERVICES)
    eventually(lambda: ask(secured, shown).status_code == 200, "it is trusted again")
    assert secured.run("ledger", "find", "--type", "identity.changed", "--json").stdout.count('"identity_sha256"') == 3
