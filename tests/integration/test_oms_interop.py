"""Signatures of OpenSSF Model Signing's own program are read here, and ours there: plain keys and certificates."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

sys.path.insert(0, str(Path(__file__).parents[1] / "unit/registry/signing"))
from oms_authority import new_key, pem, root, trust_authority, trust_key, write

from fastness.core.admission import ArtefactFile
from fastness.registry.signing import oms
from fastness.registry.signing.keys import Signer
from fastness.registry.signing.oms import SignatureRefused
from fastness.registry.signing.trust import read_trust

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning"),
]
CURVES = pytest.mark.parametrize("curve", [ec.SECP256R1, ec.SECP384R1, ec.SECP521R1])
NOW_S = 1_795_348_800.0


@pytest.fixture(scope="module")
def theirs():
    """Their package, imported once: it brings warnings of its own."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from model_signing import hashing, signing, verifying

        return signing, verifying, hashing


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "model"
    for name, content in {"model.gguf": b"weights", "tokenizer/a b.json": b"{}", "README.md": b"# read\n"}.items():
        write(folder / name, content)
    return folder


def files_of(folder):
    return [
        ArtefactFile(str(one.relative_to(folder)), one.stat().st_size, hashlib.sha256(one.read_bytes()).hexdigest())
        for one in sorted(folder.rglob("*"))
        if one.is_file()
    ]


def write_chain(tmp_path, leaf, top):
    return write(tmp_path / "key.pem", pem(leaf.key)), write(tmp_path / "leaf.pem", leaf.pem), trust_authority(
        tmp_path / "trust", top
    )  # fmt: skip


@CURVES
def test_what_they_sign_with_a_key_is_verified_here(theirs, tmp_path, model, curve):
    signer = Signer(new_key(curve))
    trust_key(tmp_path / "trust", signer)
    key = write(tmp_path / "key.pem", pem(signer.key))
    theirs[0].Config().use_elliptic_key_signer(private_key=key).sign(model, tmp_path / "model.sig")
    signed = oms.verify((tmp_path / "model.sig").read_bytes(), read_trust(tmp_path / "trust"), NOW_S)
    oms.check(signed, files_of(model))
    assert signed.name == "model"


@CURVES
def test_what_is_signed_here_with_a_key_is_verified_there(theirs, tmp_path, model, curve):
    signer = Signer(new_key(curve))
    public = trust_key(tmp_path, signer)
    signature = write(tmp_path / "model.sig", oms.sign("model", files_of(model), signer))
    verifier = theirs[1].Config().use_elliptic_key_verifier(public_key=public)
    verifier.verify(model, signature)
    write(model / "model.gguf", b"changed")
    with pytest.raises(ValueError, match=r"model\.gguf"):
        theirs[1].Config().use_elliptic_key_verifier(public_key=public).verify(model, signature)


@CURVES
def test_what_they_sign_with_a_certificate_is_verified_here(theirs, tmp_path, model, curve):
    top = root()
    middle = top.issue("Unit", ca=True)
    leaf = middle.issue("signer", curve=curve)
    key, certificate, _ = write_chain(tmp_path, leaf, top)
    theirs[0].Config().use_certificate_signer(
        private_key=key, signing_certificate=certificate, certificate_chain=[write(tmp_path / "mid.pem", middle.pem)]
    ).sign(model, tmp_path / "model.sig")
    signed = oms.verify((tmp_path / "model.sig").read_bytes(), read_trust(tmp_path / "trust"), NOW_S)
    oms.check(signed, files_of(model))


@CURVES
def test_what_is_signed_here_with_a_certificate_is_verified_there(theirs, tmp_path, model, curve):
    top = root()
    middle = top.issue("Unit", ca=True)
    leaf = middle.issue("signer", curve=curve)
    authority = trust_authority(tmp_path, top)
    signature = write(tmp_path / "model.sig", oms.sign("model", files_of(model), leaf.signer(middle)))
    theirs[1].Config().use_certificate_verifier(certificate_chain=[authority]).verify(model, signature)
    other = trust_authority(tmp_path, root("Other"), "other")
    with pytest.raises(Exception, match=r"verif|certificate"):
        theirs[1].Config().use_certificate_verifier(certificate_chain=[other]).verify(model, signature)


def test_a_single_file_is_signed_and_verified_both_ways(theirs, tmp_path):
    signer = Signer(new_key())
    public, weights = trust_key(tmp_path / "trust", signer), write(tmp_path / "model.gguf", b"weights")
    key = write(tmp_path / "key.pem", pem(signer.key))
    theirs[0].Config().use_elliptic_key_signer(private_key=key).sign(weights, tmp_path / "model.sig")
    signed = oms.verify((tmp_path / "model.sig").read_bytes(), read_trust(tmp_path / "trust"), NOW_S)
    (file,) = files_of(tmp_path / "model.gguf") or [
        ArtefactFile("model.gguf", 7, hashlib.sha256(b"weights").hexdigest())
    ]
    oms.check(signed, [file])
    ours = oms.sign("model.gguf", [ArtefactFile(oms.WHOLE, 7, file.digest)], signer)
    theirs[1].Config().use_elliptic_key_verifier(public_key=public).verify(weights, write(tmp_path / "own.sig", ours))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda model: write(model / "model.gguf", b"changed"),
        lambda model: write(model / "extra.txt", b"more"),
        lambda model: (model / "README.md").unlink(),
        lambda model: (model / "README.md").rename(model / "READ.md"),
        lambda model: write(model / ".gitattributes", b"not covered by their signature"),
    ],
)
def test_a_spoilt_model_is_refused_though_their_signature_is_good(theirs, tmp_path, model, spoil):
    signer = Signer(new_key())
    trust_key(tmp_path / "trust", signer)
    key = write(tmp_path / "key.pem", pem(signer.key))
    theirs[0].Config().use_elliptic_key_signer(private_key=key).sign(model, tmp_path / "model.sig")
    spoil(model)
    signed = oms.verify((tmp_path / "model.sig").read_bytes(), read_trust(tmp_path / "trust"), NOW_S)
    with pytest.raises(SignatureRefused):
        oms.check(signed, files_of(model))


def test_an_expired_certificate_is_refused_here_though_they_take_it(theirs, tmp_path, model):
    top = root()
    leaf = top.issue("signer")
    key, certificate, authority = write_chain(tmp_path, leaf, top)
    theirs[0].Config().use_certificate_signer(
        private_key=key, signing_certificate=certificate, certificate_chain=[authority]
    ).sign(model, tmp_path / "model.sig")
    theirs[1].Config().use_certificate_verifier(certificate_chain=[authority]).verify(model, tmp_path / "model.sig")
    with pytest.raises(SignatureRefused, match="is valid from"):
        oms.verify((tmp_path / "model.sig").read_bytes(), read_trust(tmp_path / "trust"), NOW_S + 30 * 86_400)
