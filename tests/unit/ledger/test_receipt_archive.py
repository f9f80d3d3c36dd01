"""A receipt is made of the entry, its proof, its salts and its keys: which of each, and in which form."""

from __future__ import annotations

import hmac
import json
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from fastness.core.event import Event, EventType
from fastness.ledger.checkpoint import parse_checkpoint
from fastness.ledger.commitment import ANSWER, PARAMETERS, PROMPT, REQUEST, Salting, commit, salts_of
from fastness.ledger.note import Note, Signature, parse_note
from fastness.ledger.receipts.receipt import Archive, NotSigned, ReceiptId, digest_of, parse_id, short
from fastness.ledger.tlog_proof import parse_proof
from fastness.ledger.verify_alone import Claim, read_trust, verify_receipt
from receipt_world import (
    CONFIGURATION,
    MANIFEST,
    POLICY,
    SECRET,
    T0,
    WEIGHTS,
    World,
    answered,
    before_answers,
    made_world,
    parsed,
    request_id,
)

DIGITS = "0123456789abcdef" * 2


@pytest.fixture
def world(tmp_path) -> World:
    return made_world(tmp_path, answers=5)


def note_of(one: dict[str, str]) -> Note:
    return parse_proof(one["proof"].encode()).checkpoint


def names(note: Note) -> list[str]:
    return [line.name for line in note.signatures]


def test_the_id_of_a_receipt_is_a_log_and_the_digits_of_a_request() -> None:
    assert parse_id(f"gateway-0.{DIGITS}") == ReceiptId("gateway-0", f"req_{DIGITS}")
    for none in (
        "", DIGITS, f".{DIGITS}", f"gateway-0.{DIGITS[1:]}", f"gateway-0.{DIGITS}0", f"gateway-0.{DIGITS.upper()}",
        f"gateway-0.{DIGITS[1:]}g", f"gateway-0.{DIGITS[1:]}X",
        f"Gateway 0.{DIGITS}", f"../x.{DIGITS}", f"gateway-0 {DIGITS}", f"a.b.{DIGITS}.",
    ):  # fmt: skip
        assert parse_id(none) is None, none


def test_a_receipt_is_canonical_json_of_six_fields_and_the_chain_is_a_seventh(world) -> None:
    fields = {"v", "id", "entry", "proof", "salts", "keys"}
    for chain in (False, True):
        content = world.receipt(3, chain=chain)
        read = json.loads(content)
        assert set(read) == fields | ({"chain"} if chain else set())
        assert content == json.dumps(read, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()
        assert (read["v"], read["id"]) == (1, f"gateway-0.{request_id(3)[4:]}")
        salts = salts_of(SECRET, request_id(3))
        assert read["salts"] == {"request": salts.request.hex(), "answer": salts.answer.hex()}
    assert json.loads(content)["entry"].encode() + b"\n" == _lines(world, "gateway-0")[4]


def test_texts_in_an_entry_are_not_written_otherwise(tmp_path) -> None:
    world = made_world(tmp_path, answers=0)
    world.record("gateway-0", [answered(1, operator="caf\u00e9")])
    assert "caf\u00e9".encode() in world.receipt(1)


def test_a_chain_has_what_the_answer_names_and_the_manifest_with_the_admission(world) -> None:
    read = parsed(world.receipt(3, chain=True))
    entries = [json.loads(one["entry"]) for one in read["chain"]]
    assert [(one["type"], one["index"]) for one in entries] == [
        ("model.loaded", 0), ("policy.applied", 1), ("configuration.loaded", 0), ("model.admitted", 0)
    ]  # fmt: skip
    assert [one.get("manifest") for one in read["chain"]] == [None, None, None, MANIFEST]
    origins = [parse_checkpoint(note_of(one).text).origin.rpartition("/")[2] for one in read["chain"]]
    assert origins == ["node", "control", "gateway-0", "control"]
    assert [key.partition("+")[0] for key in read["keys"]] == [
        f"fastness.example/{log}" for log in ("control", "gateway-0", "node")
    ]
    alone = parsed(world.receipt(3))
    assert [key.partition("+")[0] for key in alone["keys"]] == ["fastness.example/gateway-0"]


@pytest.mark.parametrize("field", ["replica", "epoch", "model_digest", "policy", "configuration"])
def test_a_chain_lacks_what_was_never_recorded(world, field) -> None:
    kept = {"replica": "qwen-1", "epoch": 3, "model_digest": WEIGHTS, "policy": POLICY, "configuration": CONFIGURATION}
    lacking = {"policy": "policy.applied", "configuration": "configuration.loaded"}.get(field, "model.loaded")
    world.record("gateway-0", [answered(50, **{field: "ff" * 32 if kept[field] != 3 else 4})])
    read = parsed(world.receipt(50, chain=True))
    assert any(key.startswith("fastness.example/gateway-0+") for key in read["keys"])
    types = [json.loads(one["entry"])["type"] for one in read["chain"]]
    assert lacking not in types and len(types) == (2 if field == "model_digest" else 3)


def test_only_signatures_that_fit_are_in_a_receipt(world) -> None:
    note = parse_note((world.home / "cosigned/gateway-0").read_bytes())
    long = [line for line in note.signatures if len(line.content) >= 1_024]
    assert long and names(short(note)) == [line.name for line in note.signatures if line not in long]
    lines = [Signature("a", bytes(4), bytes(length)) for length in (1_023, 1_024, 64)]
    assert short(Note("text\n", tuple(lines))) == Note("text\n", (lines[0], lines[2]))
    keys = (world.home / "ledger/gateway-0/keys").read_text().split()
    assert len(keys) == 2 and parsed(world.receipt(3))["keys"] == keys[:1]


def test_the_checkpoint_is_the_one_that_most_witnesses_cosigned_among_those_that_cover_the_entry(world) -> None:
    cosigned = world.home / "cosigned"
    whole = (cosigned / "gateway-0").read_text()
    partial = parse_note(whole.encode())
    partial = type(partial)(partial.text, partial.signatures[:-1])
    (cosigned / "gateway-0.partial").write_text(str(partial))
    of_both = names(note_of(parsed(world.receipt(4))))
    assert of_both == ["fastness.example/gateway-0", "audit-office.example/w", "health-department.example/w"]
    (cosigned / "gateway-0").unlink()
    assert names(note_of(parsed(world.receipt(4)))) == of_both[:2]
    (cosigned / "gateway-0.partial").unlink()
    assert names(note_of(parsed(world.receipt(4)))) == of_both[:1]
    (cosigned / "gateway-0").write_text(whole)
    world.record("gateway-0", [answered(5), answered(6)])
    late = note_of(parsed(world.receipt(5)))
    assert (names(late), parse_checkpoint(late.text).size) == (of_both[:1], 8)
    early = note_of(parsed(world.receipt(4)))
    assert (names(early), parse_checkpoint(early.text).size) == (of_both, 6)


def test_what_no_checkpoint_covers_is_not_signed_yet(world) -> None:
    checkpoint = (world.home / "ledger/gateway-0/checkpoint").read_bytes()
    world.record("gateway-0", [answered(5)])
    (world.home / "ledger/gateway-0/checkpoint").write_bytes(checkpoint)
    archive = world.archive()
    with pytest.raises(NotSigned) as told:
        archive.receipt(ReceiptId("gateway-0", request_id(5)), "health", chain=False)
    assert str(told.value) == "gateway-0"
    (world.home / "ledger/gateway-0/checkpoint").unlink()
    (world.home / "cosigned/gateway-0").unlink()
    with pytest.raises(NotSigned):
        archive.receipt(ReceiptId("gateway-0", request_id(1)), "health", chain=False)


def test_only_the_request_and_the_tenant_that_were_asked_for_are_given(world) -> None:
    """Ids that begin alike are looked at together, and told apart by the entry."""
    like = request_id(2)[:-1] + ("0" if request_id(2)[-1] != "0" else "1")
    world.record("gateway-0", [answered(60, request_id=like, tenant="justice")])
    archive = world.archive()

    def given(wanted: str, tenant: str, log: str = "gateway-0") -> str | None:
        found = archive.receipt(ReceiptId(log, wanted), tenant, chain=False)
        return None if found is None else json.loads(json.loads(found)["entry"])["fields"]["request_id"]

    assert (given(like, "justice"), given(like, "health")) == (like, None)
    assert (given(request_id(2), "health"), given(request_id(2), "justice")) == (request_id(2), None)
    assert given(request_id(2), "health", "control") is None
    assert given(request_id(2), "health", "nowhere") is None


def test_logs_that_come_later_are_taken_in_and_what_is_no_log_is_not(world) -> None:
    archive = world.archive()
    (world.home / "ledger/Not A Log").mkdir()
    (world.home / "ledger/file").write_text("x")
    world.record("gateway-1", [answered(number) for number in range(80, 90)])
    assert archive.receipt(ReceiptId("gateway-1", request_id(80)), "health", chain=False) is None
    assert archive.catch_up() is False
    assert archive.receipt(ReceiptId("gateway-1", request_id(80)), "health", chain=False) is not None
    kept = sorted(path.name for path in (world.home / "receipts").iterdir())
    assert kept == ["control", "gateway-0", "gateway-1", "node"]


def test_all_logs_are_caught_up_with_even_where_the_first_has_more(world, monkeypatch) -> None:
    monkeypatch.setattr("fastness.ledger.receipts.index.STEP_ENTRIES", 1)
    home = world.home
    archive = Archive(home / "ledger", home / "receipts", home / "cosigned", lambda _: SECRET, {WEIGHTS: MANIFEST}.get)
    assert [archive.catch_up() for _ in range(8)] == [True] * 6 + [False] * 2
    assert archive.receipt(ReceiptId("gateway-0", request_id(4)), "health", chain=True) is not None


def test_salts_and_commitments_are_those_of_the_page() -> None:
    both = hmac.new(SECRET, b"fastness salts v1\nreq_1", "sha512").digest()
    assert Salting(SECRET).of("req_1") == salts_of(SECRET, "req_1") == (both[:32], both[32:])
    made = Salting(SECRET)
    assert made.of("req_2") != made.of("req_1") == (both[:32], both[32:])
    for label, name in ((REQUEST, "request"), (PROMPT, "prompt"), (PARAMETERS, "parameters"), (ANSWER, "answer")):
        assert commit(label, b"salt", b"x") == sha256(f"fastness {name} v1\nsaltx".encode()).hexdigest()
    assert digest_of(MANIFEST) == sha256(MANIFEST.encode()).hexdigest()


def test_a_model_without_a_manifest_has_no_admission_in_the_chain(world) -> None:
    home = world.home
    archive = Archive(home / "ledger", home / "receipts", home / "cosigned", lambda _: SECRET, lambda _: None)
    while archive.catch_up():
        pass
    found = archive.receipt(ReceiptId("gateway-0", request_id(1)), "health", chain=True)
    assert found is not None and len(json.loads(found)["chain"]) == 3


def test_of_entries_that_say_the_same_the_last_before_the_answer_is_in_the_chain(world) -> None:
    applied = {"policy": POLICY, "before": None, "version": 2, "by": "ops"}
    world.record("control", [Event(EventType.POLICY_APPLIED, T0 + after, applied) for after in (9, 900_000)])
    assert json.loads(parsed(world.receipt(1, chain=True))["chain"][1]["entry"])["index"] == 2


def test_a_chain_holds_also_once_everything_was_begun_anew(world) -> None:
    for log, events in before_answers().items():
        world.record(log, [replace(one, time_ms=T0 + 900_000) for one in events])
    shipped = {"model": "qwen3-32b", "model_digest": WEIGHTS, "licence": "MIT", "version": "0.1.0"}
    world.record("control", [Event(EventType.MODEL_SHIPPED, T0 + 900_000, shipped)])
    types = [json.loads(one["entry"])["type"] for one in parsed(world.receipt(3, chain=True))["chain"]]
    assert types == ["model.loaded", "policy.applied", "configuration.loaded", "model.admitted"]
    claims = verify_receipt(world.receipt(3, chain=True), read_trust(world.trust()), {})
    verdicts = {one.about: one.verdict for one in claims}
    assert [verdicts[one] for one in ("load", "admission", "policy", "configuration")] == ["proved"] * 4


def test_salts_that_went_with_their_day_are_told_as_expired(world) -> None:
    world.secret = lambda _: None
    assert parsed(world.receipt(3))["salts"] == {"gone": "expired"}


def test_a_revocation_comes_along_when_it_was_before_the_answer(world) -> None:
    digest = sha256(MANIFEST.encode()).hexdigest()
    revoked = {"model": "qwen3-32b", "kind": "model", "digest": digest, "by": "ops"}
    again = replace(before_answers()["control"][0], time_ms=T0 + 2_000)
    world.record("control", [Event(EventType.MODEL_REVOKED, T0 + 1_510, revoked), again])
    numbers = (509, 510, 999, 1_000)
    world.record("gateway-0", [answered(number) for number in numbers])
    trust = read_trust(world.trust())

    def admission(number: int) -> Claim:
        claims = verify_receipt(world.receipt(number, chain=True), trust, {})
        return next(one for one in claims if one.about == "admission")

    assert [admission(number).verdict for number in numbers] == ["proved", "refuted", "refuted", "proved"]
    assert "was revoked before it answered" in admission(510).text


def test_what_a_host_reported_as_loaded_is_told_as_its_word(world) -> None:
    loaded = before_answers()["node"][0]
    world.record("node", [replace(loaded, fields=loaded.fields | {"epoch": 4, "reported_by": "leeds-01"})])
    world.record("gateway-0", [answered(60, epoch=4)])
    claims = verify_receipt(world.receipt(60, chain=True), read_trust(world.trust()), {})
    (load,) = [one for one in claims if one.about == "load"]
    assert load.verdict == "proved" and load.text.endswith(", as its node leeds-01 reported")


def _lines(world: World, log: str) -> list[bytes]:
    directory: Path = world.home / "ledger" / log
    return [line for path in sorted(directory.glob("*.jsonl")) for line in path.read_bytes().splitlines(keepends=True)]
