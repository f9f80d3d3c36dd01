"""Signatures: what somebody trusted has signed is accepted, and nothing else."""

import base64
import json
import stat
from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID
from oms_authority import DAY, NOW, NOW_S, Holder, certificate, new_key, root, trust_authority, trust_key, write

from fastness.core.admission import ArtefactFile
from fastness.registry.signing import oms
from fastness.registry.signing.keys import KeyRefused, Signer, installation_signer
from fastness.registry.signing.oms import SignatureRefused
from fastness.registry.signing.trust import Trust, read_trust

FILES = (ArtefactFile("model.gguf", 3, "a" * 64), ArtefactFile("sub/README.md", 2, "b" * 64))
NOBODY = Trust({}, ())


def changed(signature, change):
    document = json.loads(signature)
    change(document)
    return json.dumps(document).encode()


def repacked(signature, change):
    """Change the statement, and leave the signature on the old one."""

    def within(document):
        statement = json.loads(base64.b64decode(document["dsseEnvelope"]["payload"]))
        change(statement)
        document["dsseEnvelope"]["payload"] = base64.b64encode(json.dumps(statement).encode()).decode()

    return changed(signature, within)


@pytest.fixture
def plain(tmp_path):
    signer = Signer(new_key())
    trust_key(tmp_path / "trust", signer)
    return oms.sign("m", FILES, signer), read_trust(tmp_path / "trust")


@pytest.mark.parametrize("curve", [ec.SECP256R1, ec.SECP384R1, ec.SECP521R1])
def test_a_plain_key_that_is_trusted_is_believed(tmp_path, curve):
    signer = Signer(new_key(curve))
    trust_key(tmp_path, signer)
    signed = oms.verify(oms.sign("m", FILES, signer), read_trust(tmp_path), NOW_S)
    assert dict(signed.files) == {file.path: file.digest for file in FILES}
    assert (signed.name, signed.signer) == ("m", signer.fingerprint)
    oms.check(signed, FILES)


@pytest.mark.parametrize("curve", [ec.SECP256R1, ec.SECP384R1, ec.SECP521R1])
def test_a_certificate_of_a_trusted_authority_is_believed_also_through_an_intermediate(tmp_path, curve):
    top = root()
    middle = top.issue("Unit CA", ca=True, path_length=0)
    leaf = middle.issue("signer", curve=curve)
    trust_authority(tmp_path, top)
    signed = oms.verify(oms.sign("m", FILES, leaf.signer(middle)), read_trust(tmp_path), NOW_S)
    assert signed.signer == leaf.signer().fingerprint


def test_nobody_is_trusted_by_default(plain, tmp_path):
    with pytest.raises(SignatureRefused, match="a key that is not trusted here"):
        oms.verify(plain[0], NOBODY, NOW_S)
    assert read_trust(tmp_path / "no such directory") == NOBODY


def test_a_key_taken_out_of_trust_is_believed_no_more(plain, tmp_path):
    (tmp_path / "trust/signer.pem").unlink()
    with pytest.raises(SignatureRefused, match="not trusted"):
        oms.verify(plain[0], read_trust(tmp_path / "trust"), NOW_S)


def test_naming_a_trusted_key_does_not_make_it_the_signer(plain):
    signature, trust = plain
    forged = oms.sign("m", FILES, Signer(new_key()))
    hint = json.loads(signature)["verificationMaterial"]

    def pretend(document):
        document["verificationMaterial"] = hint

    with pytest.raises(SignatureRefused, match="either was changed"):
        oms.verify(changed(forged, pretend), trust, NOW_S)


def test_a_changed_statement_is_refused(plain):
    signature, trust = plain
    with pytest.raises(SignatureRefused, match="either was changed"):
        oms.verify(
            repacked(signature, lambda one: one["predicate"]["resources"][0].update(digest="c" * 64)), trust, NOW_S
        )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda one: one.update(mediaType="application/json"), "media type"),
        (lambda one: one["dsseEnvelope"].update(payloadType="text/plain"), "payload is of type"),
        (lambda one: one["dsseEnvelope"].update(signatures=[]), "0 signatures"),
        (lambda one: one["dsseEnvelope"].update(signatures=one["dsseEnvelope"]["signatures"] * 2), "2 signatures"),
        (lambda one: one["dsseEnvelope"]["signatures"][0].update(sig="%%"), "not base64"),
        (lambda one: one["dsseEnvelope"]["signatures"][0].update(sig=""), "either was changed"),
        (lambda one: one["verificationMaterial"].pop("publicKey"), "neither a plain key nor certificates"),
        (
            lambda one: one["verificationMaterial"].update(x509CertificateChain={"certificates": [{"rawBytes": ""}]}),
            "or both",
        ),
        (lambda one: one.pop("dsseEnvelope"), "not one of OpenSSF"),
    ],
)
def test_another_envelope_is_refused(plain, change, said):
    signature, trust = plain
    with pytest.raises(SignatureRefused, match=said):
        oms.verify(changed(signature, change), trust, NOW_S)


@pytest.mark.parametrize("text", [b"", b"{}", b"[" * 100_000, b"\xff\xfe", b"null", b'{"mediaType": 1}'])
def test_nonsense_is_refused_by_name(text):
    with pytest.raises(SignatureRefused, match="not one of OpenSSF Model Signing"):
        oms.verify(text, NOBODY, NOW_S)


def test_a_huge_signature_is_not_read():
    with pytest.raises(SignatureRefused, match="are read"):
        oms.verify(b" " * (oms.SIGNATURE_BYTES_MAX + 1), NOBODY, NOW_S)


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ((replace(FILES[0], digest="c" * 64), FILES[1]), "'model.gguf' has SHA-256 c"),
        ((*FILES, ArtefactFile("extra", 1, "d" * 64)), "'extra' is not among the signed files"),
        (FILES[:1], "'sub/README.md' was signed and is missing"),
        ((replace(FILES[0], path="other.gguf"), FILES[1]), "'other.gguf' is not among"),
    ],
)
def test_a_changed_added_removed_or_renamed_file_is_refused(plain, files, said):
    signed = oms.verify(plain[0], plain[1], NOW_S)
    with pytest.raises(SignatureRefused, match=said):
        oms.check(signed, files)


def test_a_signature_on_a_single_file_does_not_care_for_its_name(tmp_path):
    signer = Signer(new_key())
    trust_key(tmp_path, signer)
    signed = oms.verify(oms.sign("m", [replace(FILES[0], path=oms.WHOLE)], signer), read_trust(tmp_path), NOW_S)
    oms.check(signed, [replace(FILES[0], path="renamed.gguf")])
    with pytest.raises(SignatureRefused):
        oms.check(signed, FILES)


def signed_by(key, statement):
    """What a trusted signer says, though it be nonsense."""
    payload = json.dumps(statement).encode()
    made = json.loads(oms.sign("m", FILES, key))
    made["dsseEnvelope"]["payload"] = base64.b64encode(payload).decode()
    made["dsseEnvelope"]["signatures"][0]["sig"] = base64.b64encode(
        key.sign(oms._encoded(oms.PAYLOAD_TYPE, payload))
    ).decode()
    return json.dumps(made).encode()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda one: one.update(predicateType="https://slsa.dev/provenance/v1"), "not a https://model_signing"),
        (lambda one: one.update(_type="https://in-toto.io/Statement/v0.1"), "the statement is a"),
        (lambda one: one["subject"].append(one["subject"][0]), "2 subjects"),
        (lambda one: one["subject"][0]["digest"].update(sha256="0" * 64), "not that of the files"),
        (lambda one: one["predicate"]["resources"].append(one["predicate"]["resources"][0]), "twice"),
        (lambda one: one["predicate"]["resources"][0].update(name="../x"), "not a plain path"),
        (lambda one: one["predicate"]["resources"][0].update(name="/x"), "not a plain path"),
        (lambda one: one["predicate"]["resources"][0].update(name="a//b"), "not a plain path"),
        (lambda one: one["predicate"]["resources"][0].update(digest="A" * 64), "not a plain path"),
        (lambda one: one["predicate"]["resources"][0].update(algorithm="md5"), "not one of OpenSSF"),
        (lambda one: one["predicate"]["serialization"].update(method="shards"), "not one of OpenSSF"),
        (lambda one: one["predicate"].update(resources=[]), "not one of OpenSSF"),
    ],
)
def test_a_statement_of_another_kind_is_refused_whoever_signed_it(tmp_path, change, said):
    signer = Signer(new_key())
    trust_key(tmp_path, signer)
    statement = json.loads(base64.b64decode(json.loads(oms.sign("m", FILES, signer))["dsseEnvelope"]["payload"]))
    change(statement)
    with pytest.raises(SignatureRefused, match=said):
        oms.verify(signed_by(signer, statement), read_trust(tmp_path), NOW_S)


def refused_chain(tmp_path, *, trusted: Holder, signer: Signer, now_s=NOW_S):
    trust_authority(tmp_path, trusted)
    with pytest.raises(SignatureRefused) as refused:
        oms.verify(oms.sign("m", FILES, signer), read_trust(tmp_path), now_s)
    return str(refused.value)


def test_an_expired_or_future_certificate_is_refused(tmp_path):
    top = root(until=NOW + 900 * DAY, since=NOW - 900 * DAY)
    leaf = top.issue("signer")
    assert "is valid from" in refused_chain(tmp_path, trusted=top, signer=leaf.signer(), now_s=NOW_S + 2 * 86_400)
    assert "is valid from" in refused_chain(tmp_path, trusted=top, signer=leaf.signer(), now_s=NOW_S - 2 * 86_400)


def test_an_expired_authority_is_refused(tmp_path):
    top = root(until=NOW - DAY / 2)
    assert "Department CA" in refused_chain(tmp_path, trusted=top, signer=top.issue("signer").signer())


def test_another_authority_of_the_same_name_is_refused(tmp_path):
    said = refused_chain(tmp_path, trusted=root(), signer=root().issue("signer").signer())
    assert "no authority that is trusted here has issued" in said


def test_a_certificate_that_may_not_issue_does_not(tmp_path):
    top = root()
    false = top.issue("no authority")
    leaf = Holder(new_key(), None)
    leaf.certificate = certificate("leaf", leaf.key.public_key(), false, ca=False)
    assert "may not issue" in refused_chain(tmp_path, trusted=top, signer=leaf.signer(false))


def test_the_length_of_a_path_is_kept(tmp_path):
    top = root()
    first = top.issue("first", ca=True, path_length=0)
    second = first.issue("second", ca=True)
    said = refused_chain(tmp_path, trusted=top, signer=second.issue("leaf").signer(second, first))
    assert "may not issue through 1" in said


@pytest.mark.parametrize("options", [{"signs": False}, {"purposes": (ExtendedKeyUsageOID.SERVER_AUTH,)}])
def test_a_certificate_for_something_else_is_refused(tmp_path, options):
    top = root()
    assert "is not for signing" in refused_chain(tmp_path, trusted=top, signer=top.issue("web", **options).signer())


def test_a_critical_extension_that_is_not_understood_is_refused(tmp_path):
    top = root()
    strange = x509.NameConstraints([x509.DNSName("example.org")], None)
    assert "critical extension" in refused_chain(tmp_path, trusted=top, signer=top.issue("x", extra=strange).signer())


def test_a_certificate_for_another_key_cannot_be_used_to_sign():
    top = root()
    with pytest.raises(KeyRefused, match="for another key"):
        Signer(new_key(), (top.certificate,))


@pytest.mark.parametrize("content", [b"", b"nonsense", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"])
def test_a_damaged_file_of_trust_is_an_error_that_names_it(tmp_path, content):
    trust_key(tmp_path, Signer(new_key()))
    write(tmp_path / "broken.pem", content)
    with pytest.raises(KeyRefused, match=r"broken\.pem"):
        read_trust(tmp_path)


def test_a_key_that_signatures_cannot_have_is_an_error(tmp_path):
    key = rsa.generate_private_key(65_537, 2_048).public_key()
    write(tmp_path / "rsa.pem", key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    with pytest.raises(KeyRefused, match="secp256r1"):
        read_trust(tmp_path)


def test_a_signers_own_certificate_is_no_authority(tmp_path):
    trust_authority(tmp_path, root().issue("signer"))
    with pytest.raises(KeyRefused, match="put its public key there"):
        read_trust(tmp_path)


def test_the_installations_key_is_made_once_and_private(tmp_path):
    signer = installation_signer(tmp_path)
    assert installation_signer(tmp_path).fingerprint == signer.fingerprint
    assert stat.S_IMODE((tmp_path / "export-key.pem").stat().st_mode) == 0o600
    trust = tmp_path / "trust"
    write(trust / "a.pem", (tmp_path / "export-key.pub.pem").read_bytes())
    assert read_trust(trust).fingerprints == {signer.fingerprint}
    assert {file.name for file in tmp_path.iterdir()} == {"export-key.pem", "export-key.pub.pem", "trust"}


def test_the_installations_key_may_be_vouched_for_by_an_authority(tmp_path):
    plain, top = installation_signer(tmp_path), root()
    own = certificate("bristol", plain.key.public_key(), top, ca=False)
    write(tmp_path / "export-chain.pem", own.public_bytes(Encoding.PEM))
    trust_authority(tmp_path / "trust", top)
    signature = oms.sign("m", FILES, installation_signer(tmp_path))
    assert oms.verify(signature, read_trust(tmp_path / "trust"), NOW_S).name == "m"
