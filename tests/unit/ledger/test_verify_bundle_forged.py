"""Bundles that an attacker made around real logs, whole and signed: entries where none are, one log as another."""

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fastness.control.bundling.logs import add_logs
from fastness.control.bundling.members import Draft
from fastness.core.event import Event, EventType
from fastness.ledger import verify_alone as alone
from receipt_world import MANIFEST, POLICY, T0, WEIGHTS, World, answered, made_world
from test_verify_bundle import packed

KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
FORGED = b'{"fields":{"by":"nobody","policy":"00"},"time_ms":1763800000000,"type":"policy.applied"}\n'
Change = Callable[[dict[str, Any], list[bytes]], None]


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> World:
    return made_world(tmp_path_factory.mktemp("world"), answers=5)


@pytest.fixture
def members(world) -> dict[str, bytes]:
    return drafted(world).members


def drafted(world: World, from_ms: int = T0, to_ms: int = T0 + 10_000_000) -> Draft:
    draft = Draft(from_ms, to_ms)
    add_logs(draft, world.home / "ledger")
    admission = {"artefact": {"files": [{"path": "weights.gguf", "size_bytes": 1, "digest": WEIGHTS}]}}
    draft.add_json("admission", "models/qwen3-32b.json", {"admission": admission})
    return draft


def told(home: Path, world: World, members: dict[str, bytes]) -> list[alone.Claim]:
    """Sign these members, and return what the verifier says of them."""
    draft = Draft(T0, T0 + 1)
    for name, content in members.items():
        draft.add("any", name, content)
    (home / "bundle.zip").write_bytes(packed(draft, KEY, "0.0.0"))
    return alone.verify_bundle(home / "bundle.zip", alone.read_trust(world.trust()))[0]


def changed(members: dict[str, bytes], change: Change, log: str = "ledger/control") -> dict[str, bytes]:
    """Change what range.json says of a log and the lines that came with it."""
    said, lines = json.loads(members[f"{log}/range.json"]), members[f"{log}/entries"].splitlines(keepends=True)
    change(said, lines)
    return members | {f"{log}/range.json": json.dumps(said).encode(), f"{log}/entries": b"".join(lines)}


def behind(said: dict[str, Any], lines: list[bytes]) -> None:
    said["end"] += 1
    lines.append(FORGED)


def before(said: dict[str, Any], lines: list[bytes]) -> None:
    said["start"] -= 1
    lines.insert(0, FORGED)


def behind_in_a_larger_log(said: dict[str, Any], lines: list[bytes]) -> None:
    behind(said, lines)
    said["size"] += 1


def unsaid(said: dict[str, Any], lines: list[bytes]) -> None:
    lines.append(FORGED)


def sized_otherwise(said: dict[str, Any], lines: list[bytes]) -> None:
    said["size"] += 1


def ended_otherwise(said: dict[str, Any], lines: list[bytes]) -> None:
    said["end"] -= 1


def with_a_hash_too_many(said: dict[str, Any], lines: list[bytes]) -> None:
    said["hashes"].append(base64.b64encode(bytes(32)).decode())


def of_less_than_nothing(said: dict[str, Any], lines: list[bytes]) -> None:
    root = alone._sha(b"\x01", *(alone._sha(b"\x00", line[:-1]) for line in lines))
    lines.clear()
    said |= {"start": 5, "end": 5, "hashes": [base64.b64encode(root).decode()]}


@pytest.mark.parametrize(
    "change",
    [
        behind,
        before,
        behind_in_a_larger_log,
        unsaid,
        sized_otherwise,
        ended_otherwise,
        with_a_hash_too_many,
        of_less_than_nothing,
    ],
)
def test_an_entry_that_the_log_has_not_is_refuted_wherever_it_is_put(world, members, tmp_path, change) -> None:
    (claim,) = told(tmp_path, world, changed(members, change))
    assert claim == alone.Claim(
        "refuted", "bundle", "the entries of ledger/control are not those of the log fastness.example/control"
    )


def test_a_proof_that_ends_too_early_is_refuted(world, tmp_path) -> None:
    members = drafted(world, T0 + 1_002, T0 + 1_003).members
    said = json.loads(members["ledger/gateway-0/range.json"])
    assert (said["start"], said["end"]) == (3, 4)
    fewer = members | {"ledger/gateway-0/range.json": json.dumps(said | {"hashes": said["hashes"][:-1]}).encode()}
    (claim,) = told(tmp_path, world, fewer)
    assert claim[:3] == ("refuted", "bundle", "a proof or a signature in the bundle is not valid")


def test_one_log_does_not_pass_as_another(world, members, tmp_path) -> None:
    for name in ("vkey", "checkpoint", "entries", "range.json"):
        members[f"ledger/node/{name}"] = members[f"ledger/control/{name}"]
    (claim,) = told(tmp_path, world, members)
    assert claim[:3] == (
        "refuted", "bundle", "the entries of ledger/node are not those of the log fastness.example/control"
    )  # fmt: skip


def test_a_log_of_no_entries_refutes_nothing(world, members, tmp_path) -> None:
    empty = made_world(tmp_path / "other", answers=1)
    empty.record("gateway-9", [])
    draft = Draft(T0, T0 + 1)
    add_logs(draft, empty.home / "ledger")
    members |= {name: one for name, one in draft.members.items() if name.startswith("ledger/gateway-9/")}
    claims = told(tmp_path, world, members)
    assert "refuted" not in {one.verdict for one in claims}
    assert ("unknown", "log", "none of the entries of ledger/gateway-9, none missing and none changed", "") in claims


def test_a_period_without_entries_is_no_verdict_on_any(world, tmp_path) -> None:
    claims = told(tmp_path, world, drafted(world, T0 + 9_000, T0 + 9_001).members)
    lines = [one[::2] for one in claims if one.about == "log"]
    assert lines == [
        ("proved", "entries 0 to 1 of ledger/control, none missing and none changed"),
        ("unknown", "none of the entries of ledger/gateway-0, none missing and none changed"),
        ("proved", "entries 0 to 0 of ledger/node, none missing and none changed"),
    ]


def test_answers_after_their_model_was_revoked_are_told_from_those_before(tmp_path) -> None:
    world = made_world(tmp_path / "world", answers=5)
    digest = alone._sha(MANIFEST.encode()).hex()
    fields = {"model": "qwen3-32b", "kind": "model", "digest": digest, "by": "ops"}
    world.record("control", [Event(EventType.MODEL_REVOKED, T0 + 1_005, fields)])
    world.record("gateway-0", [answered(number) for number in range(5, 12)])
    claims = told(tmp_path, world, drafted(world).members)
    verdicts = [(one.verdict, one.text.rpartition(", ")[2]) for one in claims if one.about == "admission"]
    assert verdicts == [("proved", "for 5 answers"), ("refuted", "for 7 answers")]
    policies = [one.text for one in claims if one.about == "policy"]
    assert [f"policy sha256:{POLICY}" in one for one in policies] == [True, True]
