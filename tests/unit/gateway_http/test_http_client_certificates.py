"""Client certificates: asked for, verified, and their URIs known to each exchange of the connection."""

from __future__ import annotations

import asyncio
import datetime
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fastness.config import ConfigError, GatewaySettings
from fastness.gateway.http import Exchange
from fastness.gateway.http.certificate import URI_CHARS_MAX, URIS_MAX, uris_of
from fastness.gateway.tls import tls_context
from http_harness import run, serving

SPIFFE = "spiffe://state.example/health/triage"
NOW = datetime.datetime.now(datetime.UTC)
DAY = datetime.timedelta(days=1)


class Authority:
    """A CA with its certificate in `file`."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.file = folder / f"{name}.pem"
        built = self._builder(self._name, self._key, NOW + DAY).add_extension(x509.BasicConstraints(True, None), True)
        self.file.write_bytes(built.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))

    def issue(self, name: str, *alternatives: x509.GeneralName, until: datetime.datetime = NOW + DAY) -> Path:
        """Return a PEM file with a certificate for servers and clients, and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        built = self._builder(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]), key, until)
        usages = [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
        built = built.add_extension(x509.ExtendedKeyUsage(usages), False)
        if alternatives:
            built = built.add_extension(x509.SubjectAlternativeName(alternatives), False)
        secret = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        file = self._folder / f"{name}.pem"
        file.write_bytes(built.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM) + secret)
        return file

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, until: datetime.datetime
    ) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(NOW - 2 * DAY)
            .not_valid_after(until)
        )


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "ours")


def server_context(authority: Authority, *, asking: bool = True) -> ssl.SSLContext:
    own = str(authority.issue("server", x509.DNSName("localhost")))
    asks = str(authority.file) if asking else ""
    context = tls_context(GatewaySettings(tls_certificate=own, tls_key=own, tls_client_ca=asks))
    assert context
    return context


async def uris_seen(
    server: ssl.SSLContext, authority: Authority, own: Path | None, *, version: ssl.TLSVersion | None = None
) -> list[tuple[str, ...]]:
    """What two requests on one connection have; raises OSError when the server ends it."""
    seen: list[tuple[str, ...]] = []

    def note(exchange: Exchange) -> None:
        seen.append(exchange.certificate_uris)
        exchange.respond(200, b"", b"ok")

    client = ssl.create_default_context(cafile=str(authority.file))
    if version:
        client.maximum_version = version
    if own:
        client.load_cert_chain(own)
    async with serving(note, ssl=server) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client, server_hostname="localhost")
        for _ in range(2):
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200")
            assert await reader.readexactly(2) == b"ok"
        assert not writer.get_extra_info("ssl_object").session_reused
        writer.close()
        await writer.wait_closed()
    return seen


@pytest.mark.parametrize("stock_loop", [False, True])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_the_uris_of_a_verified_certificate_are_known_to_every_exchange(
    authority: Authority, version: ssl.TLSVersion, stock_loop: bool
) -> None:
    own = authority.issue(
        "service", x509.DNSName("triage"), x509.UniformResourceIdentifier(SPIFFE), x509.RFC822Name("a@b.example")
    )

    async def test() -> None:
        assert await uris_seen(server_context(authority), authority, own, version=version) == [(SPIFFE,)] * 2

    run(test, stock_loop=stock_loop)


def test_a_client_without_a_certificate_is_served_and_has_no_uris(authority: Authority) -> None:
    async def test() -> None:
        assert await uris_seen(server_context(authority), authority, None) == [(), ()]

    run(test)


def test_without_the_setting_no_certificate_is_asked_for(authority: Authority) -> None:
    own = authority.issue("service", x509.UniformResourceIdentifier(SPIFFE))

    async def test() -> None:
        assert await uris_seen(server_context(authority, asking=False), authority, own) == [(), ()]

    run(test)


def strangers(authority: Authority, folder: Path) -> Path:
    return Authority(folder, "theirs").issue("stranger", x509.UniformResourceIdentifier(SPIFFE))


def expired(authority: Authority, folder: Path) -> Path:
    return authority.issue("expired", x509.UniformResourceIdentifier(SPIFFE), until=NOW - DAY)


@pytest.mark.parametrize("made", [strangers, expired])
def test_a_certificate_that_is_not_valid_here_ends_the_connection(
    authority: Authority, tmp_path: Path, made: Callable[[Authority, Path], Path]
) -> None:
    own = made(authority, tmp_path)

    async def test() -> None:
        with pytest.raises((OSError, asyncio.IncompleteReadError)):
            await uris_seen(server_context(authority), authority, own)

    run(test)


def certificate(*names: tuple[str, str]) -> dict[str, Any]:
    return {"subjectAltName": names}


def test_only_uris_count_and_a_certificate_with_too_many_or_too_long_ones_stands_for_nobody() -> None:
    assert uris_of(None) == uris_of({}) == uris_of(certificate(("DNS", SPIFFE))) == ()
    most = [("URI", f"spiffe://x/{number}") for number in range(URIS_MAX)]
    assert len(uris_of(certificate(*most))) == URIS_MAX
    assert uris_of(certificate(*most, ("URI", SPIFFE))) == ()
    assert uris_of(certificate(("URI", "x" * URI_CHARS_MAX))) != ()
    assert uris_of(certificate(("URI", "x" * (URI_CHARS_MAX + 1)))) == ()


def test_authorities_that_cannot_be_used_are_refused_by_name(authority: Authority, tmp_path: Path) -> None:
    own = str(authority.issue("server", x509.DNSName("localhost")))
    with pytest.raises(ConfigError, match=r"gateway\.tls_client_ca is set, but TLS is not"):
        tls_context(GatewaySettings(tls_client_ca=str(authority.file)))
    settings = {"tls_certificate": own, "tls_key": own}
    with pytest.raises(ConfigError, match=r"gateway\.tls_client_ca is .*none\.pem, which cannot be read"):
        tls_context(GatewaySettings(**settings, tls_client_ca=str(tmp_path / "none.pem")))
    (tmp_path / "empty.pem").write_text("nothing")
    with pytest.raises(ConfigError, match=r"empty\.pem, which has no PEM certificates"):
        tls_context(GatewaySettings(**settings, tls_client_ca=str(tmp_path / "empty.pem")))
