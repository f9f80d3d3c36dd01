"""TLS by two settings: the official SDK, our own CLI, and what is not spoken any more."""

from __future__ import annotations

import json
import random
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from openai import OpenAI

from installation import CHAT, Installation, eventually, start, stop
from killing import QUICK, child, forget, kill
from traffic import chat, headers

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that signed itself, and its key."""
    place = tmp_path_factory.mktemp("tls")
    openssl = shutil.which("openssl")
    assert openssl, "these tests make a certificate with the openssl command"
    command = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
               "-subj", "/CN=fastness test", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost",
               "-keyout", "key.pem", "-out", "certificate.pem"]  # fmt: skip
    subprocess.run(command, cwd=place, check=True, capture_output=True)
    return place / "certificate.pem", place / "key.pem"


@pytest.fixture(scope="module")
def trusting(certificate: tuple[Path, Path]) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(certificate[0]))


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory, certificate: tuple[Path, Path]) -> Iterator[Installation]:
    home = tmp_path_factory.mktemp("secured")
    written, key = certificate
    (home / "config.toml").write_text(f'[gateway]\ntls_certificate = "{written}"\ntls_key = "{key}"\n')
    running = start(home, environ=QUICK)
    try:
        yield running
        assert stop(running) == 0
    finally:
        forget(home)


def test_the_official_sdk_speaks_https(secured, trusting):
    assert secured.base_url.startswith("https://127.0.0.1:")
    ask = [{"role": "user", "content": "Name three colours."}]
    with httpx.Client(verify=trusting) as trust:
        client = OpenAI(base_url=secured.base_url, api_key=secured.admin_key, http_client=trust, max_retries=0)
        whole = client.chat.completions.create(model=CHAT, messages=ask, max_tokens=12, temperature=0)
        chunks = list(client.chat.completions.create(
            model=CHAT, messages=ask, max_tokens=12, temperature=0, stream=True
        ))  # fmt: skip
    said = whole.choices[0].message.content
    assert said.strip()
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == said


def test_our_own_verbs_trust_the_certificate_that_settings_name(secured):
    done = secured.run("run", CHAT, "Name a colour.", "--max-tokens", "3", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["content"]


def test_a_client_that_does_not_trust_the_certificate_is_not_served(secured):
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        httpx.get(f"{secured.base_url}/models", headers=headers(secured))


def test_plain_http_is_not_answered_on_a_tls_port(secured):
    with pytest.raises(httpx.TransportError):
        httpx.get(f"{secured.root.replace('https', 'http')}/livez", timeout=10)


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_old_versions_of_tls_are_not_spoken(secured, trusting, version):
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    old.set_ciphers("ALL:@SECLEVEL=0")
    old.minimum_version = old.maximum_version = version
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        handshake(secured, old)
    assert handshake(secured, trusting) in ("TLSv1.2", "TLSv1.3")


def handshake(secured: Installation, context: ssl.SSLContext) -> str | None:
    place = ("127.0.0.1", int(secured.root.rpartition(":")[2]))
    with (
        socket.create_connection(place, timeout=10) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as wrapped,
    ):
        return wrapped.version()


def test_a_killed_gateway_comes_back_with_tls(secured, trusting):
    kill(child(secured, "gateway"))
    path, body = chat(random.Random(1), False, 2)

    def answered() -> bool:
        try:
            found = httpx.post(
                f"{secured.base_url}{path}", json=body, headers=headers(secured), verify=trusting, timeout=20
            )
        except httpx.TransportError:
            return False
        return found.status_code == 200

    eventually(answered, "it is served again")
