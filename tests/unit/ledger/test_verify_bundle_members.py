"""What a bundle is made of: its manifest, the signature below it, and what is said where either is false."""

from __future__ import annotations

import json
import zipfile
from base64 import b64encode
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fastness.ledger import verify_alone as alone
from fastness.ledger.checkpoint import Checkpoint
from fastness.ledger.note import SignatureType
from fastness.ledger.signing import sign_note, signing_key
from fastness.ledger.tree import leaf_hash
from fastness.ledger.verify_alone import Claim, Refuted, Unreadable
from receipt_world import World, made_world
from test_verify_bundle_forged import drafted, told

KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
PUBLIC = KEY.public_key().public_bytes_raw()
MEMBERS = {"a/one": b"1", "two": b""}


def manifest(members: dict[str, bytes] = MEMBERS, **more: Any) -> bytes:
    files = [{"path": name, "sha256": sha256(content).hexdigest()} for name, content in members.items()]
    return json.dumps({"files": files} | more).encode()


def signed(said: bytes, **fields: object) -> bytes:
    value = {"public_key": b64encode(PUBLIC).decode(), "value": b64encode(KEY.sign(said)).decode()}
    return json.dumps(value | fields).encode()


def shown(home: Path, members: dict[str, bytes]) -> tuple[list[Claim], list[alone.Found]]:
    with zipfile.ZipFile(home / "bundle.zip", "w") as made:
        for name, content in members.items():
            made.writestr(name, content)
    return alone.verify_bundle(home / "bundle.zip", alone.Trust())


def whole(**changed: bytes) -> dict[str, bytes]:
    return {**MEMBERS, "manifest.json": manifest(), "manifest.sig": signed(manifest())} | changed


def without(name: str) -> dict[str, bytes]:
    members = whole()
    del members[name]
    return members


def test_a_bundle_is_asserted_by_the_installation_that_signed_it(tmp_path) -> None:
    said = f"its 2 members are those that installation sha256:{sha256(PUBLIC).hexdigest()} signed"
    by = "by the key in the bundle: compare it with yours"
    assert shown(tmp_path, whole()) == ([Claim("asserted", "bundle", said, by)], [])


@pytest.mark.parametrize(
    ("members", "why"),
    [
        (whole(three=b""), "the bundle has other members than its manifest names"),
        (without("manifest.sig"), "the bundle has other members than its manifest names"),
        (without("two"), "the bundle has other members than its manifest names"),
        (whole(two=b"x"), "two is not the one that the manifest names"),
        (whole(**{"a/one": b"2"}), "a/one is not the one that the manifest names"),
        (whole(**{"manifest.json": manifest(version=1)}), "a proof or a signature in the bundle is not valid"),
        (whole(**{"manifest.sig": signed(b"other")}), "a proof or a signature in the bundle is not valid"),
        (whole(**{"manifest.sig": signed(manifest(), value="x")}), "'x' is not base64, or of another length"),
        (
            whole(**{"manifest.sig": signed(manifest(), public_key=b64encode(bytes(33)).decode())}),
            f"{b64encode(bytes(33)).decode()[:40]!r} is not base64, or of another length",
        ),
    ],
)
def test_what_is_false_in_a_bundle_is_refuted(tmp_path, members, why) -> None:
    ((claim,), found) = shown(tmp_path, members)
    assert (claim.verdict, claim.about, found) == ("refuted", "bundle", [])
    assert claim.text == why


@pytest.mark.parametrize(
    ("members", "why"),
    [
        (whole(**{"manifest.json": b"[]"}), "the manifest is not a JSON object: "),
        (whole(**{"manifest.json": b"{}"}), "'files'"),
        (whole(**{"manifest.sig": b"no"}), "the manifest's signature is not a JSON object: "),
        (whole(**{"manifest.sig": b"{}"}), "'public_key'"),
        ({"two": b""}, "\"There is no item named 'manifest.json' in the archive\""),
    ],
)
def test_what_lacks_something_is_no_bundle(tmp_path, members, why) -> None:
    with pytest.raises(Unreadable) as said:
        shown(tmp_path, members)
    assert str(said.value).startswith(f"the bundle lacks something, or has it in another form: {why}")


def test_a_bundle_has_at_most_so_many_members(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(alone, "MEMBERS_MAX", 4)
    assert shown(tmp_path, whole())[0][0].verdict == "asserted"
    monkeypatch.setattr(alone, "MEMBERS_MAX", 3)
    assert shown(tmp_path, whole())[0][0].text == "the bundle has other members than its manifest names"


def test_one_member_twice_is_one_too_many(tmp_path) -> None:
    with zipfile.ZipFile(tmp_path / "bundle.zip", "w") as made:
        for name, content in whole().items():
            made.writestr(name, content)
        with pytest.warns(UserWarning, match="Duplicate"):
            made.writestr("two", b"x")
    ((claim,), _) = alone.verify_bundle(tmp_path / "bundle.zip", alone.Trust())
    assert claim == Claim("refuted", "bundle", "the bundle has other members than its manifest names")


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> World:
    return made_world(tmp_path_factory.mktemp("world"), answers=5)


def test_entries_of_a_bundle_have_their_places_and_manifests(world, tmp_path) -> None:
    draft = drafted(world, 1_763_800_001_002, 1_763_800_001_004)
    told(tmp_path, world, draft.members)
    claims, found = alone.verify_bundle(tmp_path / "bundle.zip", alone.read_trust(world.trust()))
    of_gateway = [one for one in found if one.head.log == "fastness.example/gateway-0"]
    assert [(one.at, one.fields["request_id"]) for one in of_gateway] == [
        (at, json.loads(line)["fields"]["request_id"]) for at, line in enumerate(_lines(world), 0) if at in (3, 4)
    ]
    assert [one.text for one in claims if "gateway-0, none missing" in one.text] == [
        "entries 3 to 4 of ledger/gateway-0, none missing and none changed"
    ]
    assert [(one.kind, bool(one.manifest)) for one in found if one.head.log.endswith("/control")] == [
        ("model.admitted", True),
        ("policy.applied", False),
    ]
    assert {one.manifest for one in of_gateway} == {""}


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("range.json", b"[]", "ledger/node/range.json is not a JSON object: "),
        ("range.json", b'{"start":0,"end":1,"size":1,"hashes":[7]}', ""),
        ("range.json", b'{"start":"0","end":1,"size":1,"hashes":[]}', ""),
        ("range.json", b"{}", "'hashes'"),
    ],
)
def test_a_range_of_another_form_cannot_be_read(world, tmp_path, name, content, why) -> None:
    with pytest.raises(Unreadable) as said:
        told(tmp_path, world, drafted(world).members | {f"ledger/node/{name}": content})
    assert str(said.value).startswith(f"the bundle lacks something, or has it in another form: {why}") or not why


def test_a_range_with_hashes_of_another_length_is_refuted(world, tmp_path) -> None:
    short = b64encode(bytes(31)).decode()
    content = json.dumps({"start": 0, "end": 1, "size": 1, "hashes": [short]}).encode()
    (claim,) = told(tmp_path, world, drafted(world).members | {"ledger/node/range.json": content})
    assert claim.text == f"{short[:40]!r} is not base64, or of another length"


def test_a_log_has_the_last_part_of_its_name_in_a_bundle(tmp_path) -> None:
    signer = signing_key("town.example/site/node", SignatureType.ED25519, bytes(32))
    line = b'{"fields":{},"time_ms":0,"type":"boot"}'
    note = sign_note(str(Checkpoint("town.example/site/node", 1, leaf_hash(line))), [signer])
    log = {
        "ledger/node/checkpoint": str(note).encode(),
        "ledger/node/vkey": str(signer.verifier).encode(),
        "ledger/node/entries": line + b"\n",
        "ledger/node/range.json": b'{"start":0,"end":1,"size":1,"hashes":[]}',
    }
    claims, found = shown(tmp_path, log | {"manifest.json": manifest(log), "manifest.sig": signed(manifest(log))})
    assert [(one.verdict, one.about) for one in claims] == [("asserted", "bundle"), ("asserted", "log")]
    assert found[0].head.log == "town.example/site/node"


def test_base64_that_is_none_is_quoted_up_to_40_characters() -> None:
    with pytest.raises(Refuted) as said:
        alone._base64("!" * 41)
    assert str(said.value) == f"{'!' * 40!r} is not base64, or of another length"
    with pytest.raises(Refuted) as said:
        alone._number("x" * 41)
    assert str(said.value) == f"{'x' * 40!r} is not a number"


def _lines(world: World) -> list[bytes]:
    return (world.home / "ledger/gateway-0/00000000.jsonl").read_bytes().splitlines()
