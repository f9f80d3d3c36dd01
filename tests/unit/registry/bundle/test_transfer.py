"""Bundles: what was signed arrives whole, and nothing else arrives."""

import hashlib
import os
import shutil
import sys
import tarfile
from pathlib import Path

import msgspec
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "signing"))
from oms_authority import NOW_S, new_key, root, trust_authority, trust_key

from fastness.core.admission import ArtefactKind
from fastness.registry.admission.refusal import AdmissionRefused
from fastness.registry.bundle.archive import BLOCK_BYTES, is_bundle
from fastness.registry.bundle.manifest import (
    FORMAT,
    Blob,
    Entry,
    EntryFile,
    Manifest,
    check_age,
    check_newer,
    read_manifest,
)
from fastness.registry.bundle.transfer import assemble, read_bundle, vouches_for, write_bundle
from fastness.registry.signing.keys import Signer
from fastness.registry.signing.trust import read_trust

FORMS = pytest.mark.parametrize("as_file", [True, False], ids=["file", "directory"])
WEIGHTS, README = b"weights" * 1_000, b"# read me\n"


def digest_of(content):
    return hashlib.sha256(content).hexdigest()


def sized(kind, content, *first):
    return kind(*first, digest_of(content), len(content))


def manifest(**changes):
    files = (sized(EntryFile, WEIGHTS, "model.gguf"), sized(EntryFile, README, "docs/README.md"))
    entry = Entry("town", ArtefactKind.MODEL, "1" * 64, "MIT", "a gift", files, signature=sized(Blob, b"signed"))
    values = {"format": FORMAT, "id": "a" * 32, "version": 1, "created_s": int(NOW_S), "expires_s": int(NOW_S) + 60}
    return Manifest(
        **(values | {"artefacts": (entry,), "policy": sized(Blob, b"{}"), "policy_digest": "2" * 64} | changes)
    )


SOURCES = {digest_of(one): one for one in (WEIGHTS, README, b"signed", b"{}")}


@pytest.fixture
def signer(tmp_path):
    one = Signer(new_key())
    trust_key(tmp_path / "trust", one)
    return one


@pytest.fixture
def taking(tmp_path):
    def take(source, now_s=NOW_S, accept=lambda _: None, bytes_max=1 << 30):
        taken = tmp_path / f"taken{os.urandom(4).hex()}"
        return read_bundle(source, taken, read_trust(tmp_path / "trust"), now_s, bytes_max, accept)

    return take


def made(tmp_path, signer, as_file, name="bundle", **changes):
    write_bundle(tmp_path / name, manifest(**changes), SOURCES, signer, as_file=as_file)
    return tmp_path / name


def refused(taking, source, said, rule):
    with pytest.raises(AdmissionRefused) as error:
        taking(source)
    assert error.value.rule == rule
    assert said in str(error.value)


@FORMS
def test_what_was_written_arrives_whole(tmp_path, signer, taking, as_file):
    bundle = made(tmp_path, signer, as_file)
    assert is_bundle(bundle)
    arrived = taking(bundle)
    assert arrived.manifest == manifest()
    assert arrived.signer == signer.fingerprint
    assemble(manifest().artefacts[0], arrived, tmp_path / "content")
    assert (tmp_path / "content/model.gguf").read_bytes() == WEIGHTS
    assert (tmp_path / "content/docs/README.md").read_bytes() == README
    assert arrived.file(digest_of(b"signed")).read_bytes() == b"signed"


def test_both_forms_hold_the_same_files_and_the_file_is_a_plain_tar(tmp_path, signer):
    folder, file = made(tmp_path, signer, False, "folder"), made(tmp_path, signer, True, "file")
    with tarfile.open(file, "r:") as opened:
        named = {one.name: opened.extractfile(one).read() for one in opened.getmembers()}
    on_disk = {str(one.relative_to(folder)): one.read_bytes() for one in folder.rglob("*") if one.is_file()}
    assert {name: content for name, content in named.items() if name != "bundle.sig"} == {
        name: content for name, content in on_disk.items() if name != "bundle.sig"
    }


def test_a_file_of_more_than_8_gib_has_a_header_that_is_read_back(tmp_path):
    from fastness.registry.bundle.archive import _header

    large = tarfile.TarInfo("files/" + "a" * 64)
    large.size = 1 << 40
    assert _header(large.tobuf(tarfile.GNU_FORMAT, "ascii", "strict")).size == 1 << 40


@FORMS
def test_a_bundle_of_nobody_trusted_or_of_a_key_taken_out_is_refused(tmp_path, signer, taking, as_file):
    bundle = made(tmp_path, signer, as_file)
    (tmp_path / "trust/signer.pem").unlink()
    refused(taking, bundle, "not trusted", "bundle.signature")


@FORMS
def test_an_authority_vouches_for_bundles_too(tmp_path, taking, as_file):
    top = root()
    trust_authority(tmp_path / "trust", top)
    assert taking(made(tmp_path, top.issue("bristol").signer(), as_file)).manifest.version == 1


def test_every_cut_of_the_file_is_refused(tmp_path, signer, taking):
    whole = made(tmp_path, signer, True).read_bytes()
    for size in {*range(0, len(whole), BLOCK_BYTES), len(whole) - 1, len(whole) - BLOCK_BYTES, 1}:
        (tmp_path / "cut").write_bytes(whole[:size])
        with pytest.raises(AdmissionRefused):
            taking(tmp_path / "cut")


@pytest.mark.slow
def test_a_changed_byte_is_refused_wherever_it_is(tmp_path, signer, taking):
    whole = made(tmp_path, signer, True).read_bytes()
    for at in range(0, len(whole), 37):
        changed = bytearray(whole)
        changed[at] ^= 0x55
        (tmp_path / "changed").write_bytes(changed)
        with pytest.raises(AdmissionRefused):
            taking(tmp_path / "changed")


def test_something_behind_the_end_is_refused(tmp_path, signer, taking):
    bundle = made(tmp_path, signer, True)
    bundle.write_bytes(bundle.read_bytes() + b"\0")
    refused(taking, bundle, "behind the end", "bundle.form")


def add_member(bundle, header, content=b""):
    whole = bundle.read_bytes()[: -2 * BLOCK_BYTES]
    block = header.tobuf(tarfile.GNU_FORMAT) + content + bytes(-len(content) % BLOCK_BYTES)
    bundle.write_bytes(whole + block + bytes(2 * BLOCK_BYTES))


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, b"x", b"L", b"S"]
)
def test_a_tar_with_anything_but_plain_files_is_refused(tmp_path, signer, taking, kind):
    bundle = made(tmp_path, signer, True)
    strange = tarfile.TarInfo("files/" + digest_of(README))
    strange.type, strange.linkname = kind, "/etc/passwd"
    add_member(bundle, strange)
    with pytest.raises(AdmissionRefused, match=r"not a plain file|not a tar file|named in the manifest"):
        taking(bundle)


@pytest.mark.parametrize(
    "name", ["../../etc/cron.d/x", "/etc/passwd", "files/../x", "files/" + "0" * 64, "manifest.json"]
)
def test_an_extra_file_is_refused_by_name(tmp_path, signer, taking, name):
    bundle = made(tmp_path, signer, True)
    extra = tarfile.TarInfo(name)
    extra.size = 5
    add_member(bundle, extra, b"extra")
    refused(taking, bundle, "is not named in the manifest", "bundle.form")


def test_a_file_that_is_there_twice_is_refused(tmp_path, signer, taking):
    bundle = made(tmp_path, signer, True)
    again = tarfile.TarInfo("files/" + digest_of(README))
    again.size = len(README)
    add_member(bundle, again, README)
    refused(taking, bundle, "or is there twice", "bundle.form")


@pytest.mark.parametrize(
    ("spoil", "said", "rule"),
    [
        (lambda one: (one / "extra").write_bytes(b""), "'extra'", "bundle.form"),
        (lambda one: (one / "files/extra").write_bytes(b""), "named in the manifest", "bundle.form"),
        (lambda one: (one / "files" / digest_of(README)).unlink(), "the bundle was cut", "bundle.form"),
        (lambda one: (one / "manifest.json").unlink(), "'manifest.json' is missing", "bundle.form"),
        (lambda one: (one / "bundle.sig").write_bytes(b"{}"), "not one of OpenSSF", "bundle.signature"),
        (lambda one: replace_by_link(one / "files" / digest_of(README)), "cannot be read", "bundle.form"),
        (lambda one: replace_by_pipe(one / "files" / digest_of(README)), "not a plain file", "bundle.form"),
        (
            lambda one: rewrite(one / "files" / digest_of(README), README[::-1]),
            "not the one that was signed",
            "bundle.mixed",
        ),
        (
            lambda one: rewrite(one / "files" / digest_of(README), README + b"x"),
            "not the one that was signed",
            "bundle.mixed",
        ),
        (lambda one: rewrite(one / "manifest.json", b"{}"), "not the one that was signed", "bundle.mixed"),
    ],
)
def test_a_spoilt_directory_is_refused(tmp_path, signer, taking, spoil, said, rule):
    bundle = made(tmp_path, signer, False)
    spoil(bundle)
    refused(taking, bundle, said, rule)


def rewrite(path, content):
    path.unlink()
    path.write_bytes(content)


def replace_by_link(path):
    path.rename(path.parents[2] / "elsewhere")
    path.symlink_to(path.parents[2] / "elsewhere")


def replace_by_pipe(path):
    path.unlink()
    os.mkfifo(path)


def test_files_of_two_bundles_are_not_mixed(tmp_path, signer, taking):
    first, second = made(tmp_path, signer, False, "first"), made(tmp_path, signer, False, "second", version=2)
    shutil.copy(second / "manifest.json", tmp_path / "taken.json")
    rewrite(first / "manifest.json", (tmp_path / "taken.json").read_bytes())
    refused(taking, first, "not the one that was signed", "bundle.mixed")


def test_a_signature_on_a_model_is_none_on_a_bundle(tmp_path, signer, taking):
    from fastness.core.admission import ArtefactFile
    from fastness.registry.signing import oms

    bundle = made(tmp_path, signer, False)
    rewrite(bundle / "bundle.sig", oms.sign("m", [ArtefactFile("model.gguf", 1, digest_of(WEIGHTS))], signer))
    refused(taking, bundle, "not the one that was signed", "bundle.mixed")


def test_a_path_that_leaves_the_artefact_is_refused_whoever_signed_it(tmp_path, signer, taking):
    entry = Entry("x", ArtefactKind.MODEL, "1" * 64, "MIT", "y", (sized(EntryFile, README, "../../x"),))
    arrived = taking(made(tmp_path, signer, True, artefacts=(entry,), policy=None, policy_digest=None))
    with pytest.raises(AdmissionRefused, match="leaves x"):
        assemble(entry, arrived, tmp_path / "content")


@pytest.mark.parametrize("paths", [("a", "a"), ("a", "a/b"), ("a\0b",), (".",), ("",), ("/x",), ("a/../b",)])
def test_paths_that_cannot_be_laid_out_are_refused(tmp_path, signer, taking, paths):
    if paths == ("",):
        with pytest.raises(AdmissionRefused):
            taking(made(tmp_path, signer, True, artefacts=(sole(*paths),)))
        return
    arrived = taking(made(tmp_path, signer, True, artefacts=(sole(*paths),), policy=None, policy_digest=None))
    with pytest.raises(AdmissionRefused) as refused:
        assemble(sole(*paths), arrived, tmp_path / "content")
    assert refused.value.rule == "bundle.form"


def sole(*paths):
    return Entry("x", ArtefactKind.MODEL, "1" * 64, "MIT", "y", tuple(sized(EntryFile, README, one) for one in paths))


@pytest.mark.parametrize("change", [{"format": "2"}, {"id": "short"}, {"version": 0}, {"more": 1}, {"artefacts": None}])
def test_another_manifest_is_refused(change):
    text = msgspec.json.encode(msgspec.to_builtins(manifest()) | change)
    with pytest.raises(AdmissionRefused, match=r"not that of a bundle"):
        read_manifest(text)


def test_old_expired_and_future_bundles_are_refused():
    one = manifest(expires_s=int(NOW_S) + 1_000_000)
    check_age(one, NOW_S + 100, 200)
    for now_s in (NOW_S + 201, NOW_S + 1_000_001, NOW_S - 90_000):
        with pytest.raises(AdmissionRefused) as error:
            check_age(one, now_s, 10_000_000 if now_s > NOW_S + 1_000 else 200)
        assert error.value.rule == "bundle.freeze"


def test_only_a_newer_version_is_taken():
    check_newer(manifest(version=3), 2)
    for newest in (3, 4):
        with pytest.raises(AdmissionRefused, match=r"bundle\.rollback"):
            check_newer(manifest(version=3), newest)


def test_a_refused_manifest_copies_nothing(tmp_path, signer, taking):
    def never(_):
        raise AdmissionRefused("bundle.rollback", "not wanted")

    with pytest.raises(AdmissionRefused, match="not wanted"):
        taking(made(tmp_path, signer, True), accept=never)
    assert not list(tmp_path.glob("taken*/*"))


def test_too_large_a_bundle_is_refused(tmp_path, signer, taking):
    from fastness.registry.inspection.port import ArtefactRefused

    with pytest.raises(ArtefactRefused, match="artefact_bytes_max"):
        taking(made(tmp_path, signer, True), bytes_max=100)


@FORMS
def test_a_file_that_is_not_what_it_was_is_not_exported(tmp_path, signer, as_file):
    with pytest.raises(AdmissionRefused, match="it is not exported"):
        write_bundle(tmp_path / "b", manifest(), SOURCES | {digest_of(README): b"# read mi\n"}, signer, as_file=as_file)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["trust"]


@FORMS
def test_nothing_is_overwritten(tmp_path, signer, as_file):
    made(tmp_path, signer, as_file)
    with pytest.raises(FileExistsError):
        made(tmp_path, signer, as_file)


def test_a_bundle_vouches_for_its_files_while_its_signer_is_trusted(tmp_path, signer, taking):
    from fastness.core.admission import ArtefactFile

    arrived, trust = taking(made(tmp_path, signer, True)), read_trust(tmp_path / "trust")
    files = (ArtefactFile("any name", 1, digest_of(README)),)
    assert vouches_for(arrived.signature, files, trust, NOW_S)
    assert not vouches_for(arrived.signature, (ArtefactFile("x", 1, "0" * 64),), trust, NOW_S)
    (tmp_path / "trust/signer.pem").unlink()
    assert not vouches_for(arrived.signature, files, read_trust(tmp_path / "trust"), NOW_S)
