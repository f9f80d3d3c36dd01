"""A bundle of evidence, verified by the one file: whole, signed, and leading from the admission to each answer."""

import io
import json
import os
import random
import zipfile
from base64 import b64encode
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fastness.control.bundling.logs import add_logs
from fastness.control.bundling.members import MANIFEST, SIGNATURE, Draft
from fastness.control.deterministic_zip import written
from fastness.ledger import verify_alone
from fastness.perimeter.report_shape import Signature, canonical
from fastness.perimeter.signing import fingerprint, raw
from fastness.perimeter.signing import signing_key as installation_key
from receipt_world import ANSWER_TEXT, T0, WEIGHTS, World, made_world
from receipt_world import MANIFEST as WEIGHTS_MANIFEST

MUTATIONS = int(os.environ.get("FASTNESS_TEST_FORGERIES", "1500"))


def packed(draft: Draft, key: Ed25519PrivateKey, version: str) -> bytes:
    public = raw(key.public_key())
    manifest = draft.manifest(fingerprint(public), version)
    signature = Signature("Ed25519", b64encode(public).decode(), b64encode(key.sign(manifest)).decode())
    return written(draft.members | {MANIFEST: manifest, SIGNATURE: canonical(signature)})


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> World:
    return made_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def bundle(world) -> bytes:
    draft = Draft(T0, T0 + 10_000_000)
    add_logs(draft, world.home / "ledger")
    files = [{"path": "weights.gguf", "size_bytes": 1, "digest": WEIGHTS}]
    admission = {"artefact": {"name": "qwen3-32b", "files": files}}
    draft.add_json("admission", "models/qwen3-32b.json", {"card": {"name": "qwen3-32b"}, "admission": admission})
    draft.add_json("admission", "models/starter.json", {"card": {"name": "starter"}, "admission": None})
    assert sha256(WEIGHTS_MANIFEST.encode()).hexdigest() in (world.home / "ledger/control/00000000.jsonl").read_text()
    return packed(draft, installation_key(world.home), "0.0.0")


@pytest.fixture
def folder(tmp_path, world, bundle) -> Path:
    (tmp_path / "bundle.zip").write_bytes(bundle)
    (tmp_path / "trust.txt").write_text(world.trust())
    (tmp_path / "receipt.json").write_bytes(world.receipt(7))
    (tmp_path / "answer.txt").write_text(ANSWER_TEXT)
    return tmp_path


def ran(folder: Path, capsys, *arguments: str) -> tuple[int, list[str]]:
    code = verify_alone.main([str(folder / one) if "." in one else one for one in arguments])
    return code, capsys.readouterr().out.splitlines()


def test_a_bundle_leads_from_the_admission_to_every_answer(folder, capsys) -> None:
    code, lines = ran(folder, capsys, "bundle.zip", "--trust", "trust.txt")
    assert code == 0
    assert lines[0].startswith("asserted  its ") and "compare it with yours" in lines[0]
    assert lines[1] == "proved    entries 0 to 1 of ledger/control, none missing and none changed"
    assert "proved    entries 0 to 30 of ledger/gateway-0, none missing and none changed" in lines
    text = "\n".join(lines)
    assert "was admitted by ops-lead and security-lead" in text
    assert len([line for line in lines if line.startswith("proved") and "for 30 answers" in line]) == 4


def test_a_receipt_is_followed_further_with_a_bundle(folder, capsys) -> None:
    code, alone = ran(folder, capsys, "receipt.json", "--trust", "trust.txt", "--answer", "answer.txt")
    code, beside = ran(
        folder, capsys, "receipt.json", "--trust", "trust.txt", "--answer", "answer.txt", "--bundle", "bundle.zip"
    )
    assert code == 0
    count = [sum(line.startswith("proved") for line in lines) for lines in (alone, beside)]
    assert count == [2, 6], (alone, beside)


def test_without_keys_of_ones_own_a_bundle_proves_nothing(folder, capsys) -> None:
    code, lines = ran(folder, capsys, "bundle.zip")
    assert code == 6 and not [line for line in lines if line.startswith("proved")]


@pytest.mark.slow
def test_every_change_of_a_member_is_detected(folder, world, bundle, capsys) -> None:
    """Also where the manifest is written anew and signed by the installation's own key: the logs' are others."""
    chance, trust = random.Random(5), verify_alone.read_trust(world.trust())
    with zipfile.ZipFile(io.BytesIO(bundle)) as archive:
        honest = {name: archive.read(name) for name in archive.namelist() if not name.startswith("manifest")}
    proving = sorted(name for name in honest if name.startswith("ledger/") and not name.endswith("/vkey"))
    key = installation_key(world.home)
    undetected = []
    for _ in range(MUTATIONS):
        members, name = dict(honest), chance.choice(proving)
        content = bytearray(members[name])
        at = chance.randrange(len(content))
        how = chance.randrange(3)
        if how == 0:
            content[at] ^= 1 << chance.randrange(8)
        elif how == 1:
            del content[at : at + chance.randrange(1, 2_000)]
        else:
            lines = content.splitlines(keepends=True)
            chance.shuffle(lines)
            content = bytearray(b"".join(lines))
        members[name] = bytes(content)
        if members[name] == honest[name]:
            continue
        draft = Draft(T0, T0 + 1)
        for path, one in members.items():
            draft.add("any", path, one)
        (folder / "changed.zip").write_bytes(packed(draft, key, "0.0.0"))
        try:
            claims, _ = verify_alone.verify_bundle(folder / "changed.zip", trust)
        except verify_alone.Unreadable:
            continue
        if not any(one.verdict == "refuted" for one in claims):
            undetected.append((name, how, at, bytes(content)[max(0, at - 20) : at + 20]))
    # Of the checkpoint's lines only those of keys that are trusted are looked at, and the log's name in range.json is
    # said again in the checkpoint.
    assert [one for one in undetected if not harmless(one)] == []


def harmless(one: tuple[str, int, int, bytes]) -> bool:
    name, how, _, _ = one
    return name.endswith("/checkpoint") or (name.endswith("/range.json") and how == 0)


def test_members_that_come_go_or_change_are_refuted(folder, bundle, capsys) -> None:
    with zipfile.ZipFile(io.BytesIO(bundle)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}

    def told(changed: dict[str, bytes]) -> str:
        with zipfile.ZipFile(folder / "changed.zip", "w") as archive:
            for name, content in changed.items():
                archive.writestr(name, content)
        code, lines = ran(folder, capsys, "changed.zip", "--trust", "trust.txt")
        assert code == 1
        return lines[0]

    assert "other members than its manifest names" in told({**members, "extra": b""})
    without = {name: one for name, one in members.items() if name != "ledger/node/entries"}
    assert "other members than its manifest names" in told(without)
    name = "ledger/node/entries"
    assert f"{name} is not the one that the manifest names" in told({**members, name: members[name] + b" "})
    manifest = json.loads(members["manifest.json"]) | {"version": "9"}
    told({**members, "manifest.json": json.dumps(manifest).encode()})


def test_a_bundle_that_is_none_cannot_be_read(folder, capsys) -> None:
    with zipfile.ZipFile(folder / "none.zip", "w") as archive:
        archive.writestr("a", b"b")
    assert ran(folder, capsys, "none.zip")[0] == 2


def test_what_is_asserted_by_a_bundle_of_another_installation_is_not_proved(folder, world, tmp_path, capsys) -> None:
    other = replace(world, key=type(world.key)(bytes([3]) * 32, bytes([4]) * 32))
    (tmp_path / "other.txt").write_text(other.trust())
    code, lines = ran(folder, capsys, "bundle.zip", "--trust", "other.txt")
    assert code == 1 and "no key that is known for the log" in lines[0]
