"""Whoever changes anything in a receipt is found out: every forgery that we know of, and thousands that we do not."""

import base64
import json
import os
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastness.ledger.note import SignatureType, parse_note
from fastness.ledger.signing import sign_note, signing_key
from fastness.ledger.verify_alone import PROVED, REFUTED, Claim, Unreadable, read_trust, verify_receipt
from receipt_world import ANSWER_TEXT, BODY, PROMPT_TEXT, World, answered, made_world, parsed

QUORUM = "group two 2 audit-office health-department archive\nquorum two"
GIVEN = {"answer": ANSWER_TEXT.encode(), "prompt": PROMPT_TEXT.encode(), "request": BODY}
MUTATIONS = int(os.environ.get("FASTNESS_TEST_FORGERIES", "6000"))


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> World:
    made = made_world(tmp_path_factory.mktemp("world"))
    made.record("gateway-1", [answered(number) for number in range(100, 112)])
    made.cosign("gateway-1", "audit-office", "health-department")
    return made


@pytest.fixture(scope="module")
def honest(world) -> dict[str, Any]:
    return parsed(world.receipt(7))


def verdicts(world: World, receipt: dict[str, Any] | bytes, logs: tuple[str, ...] = ("gateway-0",)) -> list[Claim]:
    content = receipt if isinstance(receipt, bytes) else json.dumps(receipt, ensure_ascii=False).encode()
    try:
        return verify_receipt(content, read_trust(world.trust(QUORUM, logs=logs)), GIVEN)
    except Unreadable as error:
        return [Claim(REFUTED, "log", f"unreadable: {error}")]


def passes(claims: list[Claim]) -> bool:
    return {one.verdict for one in claims if one.about in ("log", *GIVEN)} == {PROVED} and len(claims) > 1


def why(claims: list[Claim]) -> str:
    return next(one.text for one in claims if one.verdict == REFUTED)


def changed(receipt: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return json.loads(json.dumps(receipt)) | fields


def test_the_honest_one_passes(world, honest) -> None:
    assert passes(verdicts(world, honest))


@pytest.mark.slow
def test_every_change_of_a_byte_is_detected(world, honest) -> None:
    content = json.dumps(honest, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()
    chance, salts = random.Random(7), str(honest["salts"])
    assert passes(verdicts(world, content))
    undetected = []
    for _ in range(MUTATIONS):
        mutated, at = bytearray(content), chance.randrange(len(content))
        how = chance.randrange(4)
        if how == 0:
            mutated[at] = chance.randrange(256)
        elif how == 1:
            mutated[at] ^= 1 << chance.randrange(8)
        elif how == 2:
            del mutated[at : at + chance.randrange(1, 40)]
        else:
            other = chance.randrange(len(content))
            mutated[at:at] = content[other : other + chance.randrange(1, 40)]
        if bytes(mutated) != content and passes(verdicts(world, bytes(mutated))):
            undetected.append((how, at, json.loads(mutated)))
    # The same salt in capitals, and white space outside of texts, are no changes of what it says.
    assert [one for one in undetected if str(one[2]["salts"]).lower() != salts or one[2] | honest != honest] == []


def test_what_is_cut_off_anywhere_is_detected(world, honest) -> None:
    content = json.dumps(honest, ensure_ascii=False).encode()
    assert not any(passes(verdicts(world, content[:length])) for length in range(0, len(content), 3))
    note = honest["proof"]
    cut = [changed(honest, proof=note[:length]) for length in range(0, len(note), 2)]
    assert not any(passes(verdicts(world, one)) for one in cut)


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(field=st.sampled_from(sorted(answered(7).fields)), value=st.one_of(st.integers(), st.text(), st.none()))
def test_another_value_in_the_entry_is_detected(world, honest, field, value) -> None:
    entry = json.loads(honest["entry"])
    if entry["fields"][field] == value and type(entry["fields"][field]) is type(value):
        return
    entry["fields"][field] = value
    line = json.dumps(entry, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    line = line.encode("utf-8", "replace").decode()
    claims = verdicts(world, changed(honest, entry=line))
    assert "the proof leads to another root" in why(claims) or "unreadable" in why(claims)


def test_the_proof_of_another_log_or_of_another_entry_is_refuted(world, honest) -> None:
    other = parsed(world.receipt(105, log="gateway-1"))
    logs = ("gateway-0", "gateway-1")
    assert "the proof leads to another root" in why(verdicts(world, changed(honest, proof=other["proof"]), logs))
    sibling = parsed(world.receipt(8))
    assert "the proof leads to another root" in why(verdicts(world, changed(honest, proof=sibling["proof"])))
    whole = changed(honest, proof=sibling["proof"], entry=sibling["entry"])
    assert "came with the entry of another answer" in why(verdicts(world, whole))


def test_salts_of_another_answer_or_exchanged_are_refuted(world, honest) -> None:
    sibling = parsed(world.receipt(8))
    exchanged = {"request": honest["salts"]["answer"], "answer": honest["salts"]["request"]}
    for salts in (sibling["salts"], exchanged):
        claims = verdicts(world, changed(honest, salts=salts))
        assert [one.about for one in claims if one.verdict == REFUTED] == ["answer", "prompt", "request"]


def test_a_salt_that_swallows_the_beginning_of_a_text_does_not_prove_its_end(world, honest) -> None:
    longer = honest["salts"] | {"request": honest["salts"]["request"] + BODY[:20].hex()}
    content = json.dumps(changed(honest, salts=longer)).encode()
    claims = verify_receipt(content, read_trust(world.trust(QUORUM)), {"request": BODY[20:]})
    assert [one.verdict for one in claims if one.about == "request"] == [REFUTED]


def test_a_checkpoint_signed_by_another_key_is_refuted_whatever_key_came_along(world, honest) -> None:
    above, _, note = honest["proof"].partition("\n\n")
    mine = signing_key("fastness.example/gateway-0", SignatureType.ED25519, bytes([99]) * 32)
    forged = str(sign_note(parse_note(note.encode()).text, [mine]))
    forgery = changed(honest, proof=f"{above}\n\n{forged}", keys=[str(mine.verifier)])
    assert "no key that is known for the log" in why(verdicts(world, forgery))
    untrusting = verify_receipt(json.dumps(forgery).encode(), read_trust("quorum none"), GIVEN)
    assert PROVED not in {one.verdict for one in untrusting}


def test_a_whole_log_made_up_with_keys_of_its_own_is_not_proved(world, tmp_path) -> None:
    false = made_world(tmp_path)
    false.key = type(false.key)(bytes([5]) * 32, bytes([6]) * 32)
    for path in sorted((tmp_path / "ledger/gateway-0").rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    (tmp_path / "cosigned/gateway-0").unlink()
    for path in sorted((tmp_path / "receipts").rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    false.record("gateway-0", [answered(number) for number in range(9)])
    false.cosign("gateway-0", "audit-office")
    assert "no key that is known for the log" in why(verdicts(world, false.receipt(7)))


def test_an_older_checkpoint_cannot_carry_a_newer_entry(world, honest, tmp_path) -> None:
    older = parsed(made_world(tmp_path, answers=9).receipt(7))
    _, _, old_note = older["proof"].partition("\n\n")
    above, _, _ = honest["proof"].partition("\n\n")
    assert why(verdicts(world, changed(honest, proof=f"{above}\n\n{old_note}")))


def test_cosignatures_of_another_checkpoint_or_of_nobody_do_not_count(world, honest, tmp_path) -> None:
    older = made_world(tmp_path, answers=9)
    stale = parse_note((older.home / "cosigned/gateway-0").read_bytes()).signatures[-2:]
    above, _, text = honest["proof"].partition("\n\n")
    note = parse_note(text.encode())
    own = [line for line in note.signatures if line.name.startswith("fastness.example")]
    with_stale = str(type(note)(note.text, (*own, *stale)))
    assert "is not valid" in why(verdicts(world, changed(honest, proof=f"{above}\n\n{with_stale}")))
    without = str(type(note)(note.text, tuple(own)))
    claims = verdicts(world, changed(honest, proof=f"{above}\n\n{without}"))
    assert not passes(claims) and claims[0].by == "too few"


def test_one_witness_twice_is_one_witness(world, honest) -> None:
    above, _, text = honest["proof"].partition("\n\n")
    note = parse_note(text.encode())
    key = world.witnesses["audit-office"]
    twice = [key.sign(note.text, 1_763_800_000), key.sign(note.text, 1_763_800_001)]
    own = [line for line in note.signatures if line.name.startswith("fastness.example")]
    claims = verdicts(world, changed(honest, proof=f"{above}\n\n{type(note)(note.text, (*own, *twice))}"))
    assert not passes(claims) and claims[0].by == "too few"


def test_a_model_that_was_revoked_before_it_answered_is_told(world, tmp_path) -> None:
    from hashlib import sha256

    from fastness.core.event import Event, EventType
    from receipt_world import MANIFEST, T0

    other = made_world(tmp_path)
    fields = {"model": "qwen3-32b", "kind": "model", "digest": sha256(MANIFEST.encode()).hexdigest(), "by": "ops"}
    other.record("control", [Event(EventType.MODEL_REVOKED, T0 + 5, fields)])
    receipt = parsed(other.receipt(7, chain=True))
    revoked = other.archive()._proved("control", 2, _line(other.home / "ledger/control", 2))
    receipt["chain"].append(revoked | {"manifest": MANIFEST})
    trust = read_trust(other.trust())
    claims = verify_receipt(json.dumps(receipt).encode(), trust, {})
    assert "was revoked before it answered" in why(claims)


def test_base64_that_is_written_in_another_way_is_refuted(world, honest) -> None:
    above, _, note = honest["proof"].partition("\n\n")
    root = note.split("\n")[2]
    assert base64.b64decode(root[:-2] + chr(ord(root[-2]) + 1) + "=") == base64.b64decode(root)
    spelled = note.replace(root, root[:-2] + chr(ord(root[-2]) + 1) + "=")
    assert why(verdicts(world, changed(honest, proof=f"{above}\n\n{spelled}")))


def _line(directory: Path, at: int) -> bytes:
    return [line for path in sorted(directory.glob("*.jsonl")) for line in path.read_bytes().splitlines()][at]
