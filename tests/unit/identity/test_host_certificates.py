"""Certificates of hosts: what the authority says of a host comes out again, and nothing that it did not say."""

from __future__ import annotations

import datetime
import ssl
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster_world import NOW_S, YEAR_S, World, claims
from fastness.identity.cluster import folder as files
from fastness.identity.cluster.authority import Authority
from fastness.identity.cluster.certificate import CLAIMS_OID, NotTrusted, names_of, read_certificate, subject_of, usages
from fastness.identity.cluster.claims import ClaimsRefused, HostClaims, HostRole
from fastness.identity.cluster.membership import Membership
from fastness.identity.cluster.revocation import Revoked, read_revoked

WORDS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=20)
KEYS = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,20}", fullmatch=True)
CLAIMS = st.builds(
    HostClaims,
    name=st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True).filter(lambda name: name != "localhost"),
    role=st.sampled_from(HostRole),
    addresses=st.lists(st.ip_addresses(network="10.0.0.0/8").map(str), min_size=1, max_size=4, unique=True).map(tuple),
    jurisdiction=WORDS,
    ceiling=WORDS,
    operator=WORDS | st.just(""),
    pool=WORDS,
    domain=WORDS | st.just(""),
    labels=st.dictionaries(KEYS, KEYS | st.just(""), max_size=4).map(lambda found: tuple(sorted(found.items()))),
)
AUTHORITY = Authority.create(NOW_S, 10 * YEAR_S)


def der(pem: bytes) -> bytes:
    return x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)


@given(CLAIMS)
@settings(deadline=None)
def test_what_the_authority_says_of_a_host_is_read_back(said: HostClaims) -> None:
    issued = AUTHORITY.issue(said, NOW_S, YEAR_S)
    found = read_certificate(der(issued.certificate_pem), AUTHORITY.certificate)
    assert (found.claims, found.serial, found.not_after_s) == (said, issued.serial, int(NOW_S) + YEAR_S)


@given(CLAIMS, st.data())
def test_claims_are_read_in_one_form_only(said: HostClaims, draw: st.DataObject) -> None:
    content = said.to_json()
    assert HostClaims.from_json(content) == said
    at = draw.draw(st.integers(0, len(content)))
    for other in (content[:at] + b" " + content[at:], content[:at] + content[at + 1 :]):
        if other != content:
            with suppress(ClaimsRefused):
                assert HostClaims.from_json(other) != said


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        ({"addresses": ()}, "addresses"),
        ({"addresses": ("0.0.0.0",)}, "addresses"),
        ({"addresses": ("010.0.0.1",)}, "addresses"),
        ({"addresses": ("fe80::1%eth0",)}, "addresses"),
        ({"addresses": ("::0001",)}, "shortest"),
        ({"addresses": ("10.0.0.1", "10.0.0.1")}, "once"),
        ({"jurisdiction": ""}, "jurisdiction"),
        ({"ceiling": "SECRET\n"}, "ceiling"),
        ({"operator": "é"}, "operator"),
        ({"labels": (("b", ""), ("a", ""))}, "labels"),
        ({"labels": (("a b", ""),)}, "labels"),
    ],
)
def test_what_no_certificate_may_say_is_refused(changed: dict[str, object], word: str) -> None:
    with pytest.raises(ClaimsRefused, match=word):
        claims(**changed)


@pytest.mark.parametrize("name", ["", "localhost", "Bristol", "a.b", "-a", "*", "a" * 64])
def test_a_host_has_a_name_that_fits_into_a_certificate(name: str) -> None:
    with pytest.raises(ClaimsRefused, match="name"):
        claims(name)


def test_openssl_finds_our_certificates_in_order(tmp_path: Path) -> None:
    issued = AUTHORITY.issue(claims(), NOW_S, YEAR_S)
    (tmp_path / "ca.pem").write_bytes(AUTHORITY.certificate_pem)
    (tmp_path / "node.pem").write_bytes(issued.certificate_pem)
    for purpose in ("sslserver", "sslclient"):
        argv = ["openssl", "verify", "-x509_strict", "-attime", str(int(NOW_S)), "-CAfile", "ca.pem"]
        argv += ["-purpose", purpose, "-verify_hostname", "chat-1.bristol-07.fastness.internal", "node.pem"]
        run = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, timeout=30)
        assert run.returncode == 0, run.stderr


def test_a_certificate_of_another_authority_is_refused() -> None:
    other = Authority.create(NOW_S, YEAR_S).issue(claims(), NOW_S, YEAR_S)
    with pytest.raises(NotTrusted, match=r"authority|issuer"):
        read_certificate(der(other.certificate_pem), AUTHORITY.certificate)


def forged(said: HostClaims, names: HostClaims, *, more: x509.ExtensionType | None = None, without: int = 0) -> bytes:
    """Sign, with our authority's own key, a certificate that is not as ours are."""
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.fromtimestamp(NOW_S, datetime.UTC)
    built = x509.CertificateBuilder().subject_name(subject_of(said.name)).issuer_name(AUTHORITY.certificate.subject)
    built = built.public_key(key.public_key()).serial_number(7).not_valid_before(now)
    built = built.not_valid_after(now + datetime.timedelta(days=1))
    for usage, critical in usages()[without:]:
        built = built.add_extension(usage, critical)
    built = built.add_extension(names_of(names), critical=False)
    built = built.add_extension(x509.UnrecognizedExtension(CLAIMS_OID, said.to_json()), critical=False)
    if more is not None:
        built = built.add_extension(more, critical=False)
    return built.sign(AUTHORITY._key, hashes.SHA256()).public_bytes(Encoding.DER)


def test_a_certificate_that_is_not_as_ours_are_is_refused() -> None:
    assert read_certificate(forged(claims(), claims()), AUTHORITY.certificate).claims == claims()
    odd = [
        forged(claims(), claims("other-host")),
        forged(claims(), claims(addresses=("10.9.9.9",))),
        forged(claims(), claims(), more=x509.IssuerAlternativeName([x509.DNSName("head")])),
        forged(claims(), claims(), without=1),
        AUTHORITY.certificate.public_bytes(Encoding.DER),
        b"",
        b"\x30" * 40_000,
    ]
    for one in odd:
        with pytest.raises(NotTrusted):
            read_certificate(one, AUTHORITY.certificate)


def test_a_certificate_counts_in_its_lifetime_only(tmp_path: Path) -> None:
    world = World(tmp_path)
    head, node = world.host("head", HostRole.HEAD), world.host(lifetime_s=3_600)
    assert head.check(node.certificate_der, NOW_S).claims == claims()
    assert head.check(node.certificate_der, NOW_S - 299).claims == claims()
    for now_s, word in ((NOW_S + 3_600, "ended"), (NOW_S - 301, "begins")):
        with pytest.raises(NotTrusted, match=word):
            head.check(node.certificate_der, now_s)


def test_a_certificate_ends_with_its_authority() -> None:
    short = Authority.create(NOW_S, 3_600)
    assert short.issue(claims(), NOW_S, YEAR_S).not_after_s == NOW_S + 3_600
    with pytest.raises(NotTrusted, match="ended"):
        short.issue(claims(), NOW_S + 3_600, YEAR_S)


def test_a_revoked_certificate_is_refused_and_an_older_list_does_not_bring_it_back(tmp_path: Path) -> None:
    world = World(tmp_path)
    head, node = world.host("head", HostRole.HEAD), world.host()
    before = world.revoke()
    assert head.take_revoked(before)
    after = world.revoke(node.certificate.serial)
    assert head.take_revoked(after)
    with pytest.raises(NotTrusted, match="revoked"):
        head.check(node.certificate_der, NOW_S)
    assert not head.take_revoked(before)
    files.replace_file(head.folder, files.REVOKED, before)
    assert not head.refresh()
    with pytest.raises(NotTrusted, match="revoked"):
        head.check(node.certificate_der, NOW_S)


def test_a_list_that_changes_on_the_disk_is_read_again(tmp_path: Path) -> None:
    world = World(tmp_path)
    head, node = world.host("head", HostRole.HEAD), world.host()
    assert not head.refresh()
    files.replace_file(head.folder, files.REVOKED, world.revoke(node.certificate.serial))
    assert head.refresh() and head.revoked.serials == {node.certificate.serial}
    assert Membership(head.folder).revoked == head.revoked


def test_a_list_of_somebody_else_is_refused() -> None:
    other = Authority.create(NOW_S, YEAR_S)
    with pytest.raises(NotTrusted, match="signed"):
        read_revoked(other.sign_revoked(Revoked(9), NOW_S), AUTHORITY.certificate)
    for odd in (b"", b"no list", other.certificate_pem):
        with pytest.raises(NotTrusted, match="read"):
            read_revoked(odd, AUTHORITY.certificate)


def test_a_key_never_shows_in_what_is_printed() -> None:
    issued = AUTHORITY.issue(claims(), NOW_S, YEAR_S)
    assert "PRIVATE" in issued.key_pem.decode() and "PRIVATE" not in repr(issued)


def test_contexts_speak_tls_13_only_and_ask_for_certificates(tmp_path: Path) -> None:
    host = World(tmp_path).host()
    for context in (host.server_context(), host.client_context()):
        assert context.minimum_version == context.maximum_version == ssl.TLSVersion.TLSv1_3
        assert context.verify_mode is ssl.CERT_REQUIRED
    assert host.client_context().check_hostname
