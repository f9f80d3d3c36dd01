"""What was shredded cannot be confirmed either: its salts go with its key, and its entry still verifies."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from fastness.core.retention import DAY_S, SealingSnapshot, Selection
from fastness.gateway.canonical import answer_bytes
from fastness.ledger.commitment import ANSWER, commit, salts_of
from fastness.ledger.receipts.receipt import RECEIPT_BYTES_MAX
from fastness.ledger.receipts.salt_secrets import SaltSecrets, load_or_begin
from fastness.ledger.verify_alone import main, read_trust, verify_receipt
from fastness.sealed.key_files import KeyFiles
from fastness.sealed.keyring import Keyring
from fastness.sealed.place import parse_place, place_of
from fastness.sealed.port import Kept
from fastness.sealed.safe import Safe
from fastness.sealed.segment import WRAPPED_BYTES
from fastness.sealed.writer import Sealer
from receipt_world import ANSWER_TEXT, BODY, PROMPT_TEXT, SECRET, T0, World, answered, made_world, parsed, request_id

TENANT, TODAY = "health", T0 // 1_000 // DAY_S
KEPT, ALSO_KEPT, NOT_KEPT = 101, 102, 7
GIVEN = {"answer": ANSWER_TEXT.encode(), "prompt": PROMPT_TEXT.encode(), "request": BODY}
KNOWN_ANSWER = answer_bytes([(ANSWER_TEXT, ())])


@dataclass
class Installation:
    world: World
    safe: Safe

    def found(self, number: int) -> Any:
        return self.safe.find(TENANT, Selection((request_id(number),)))

    def verdicts(self, number: int) -> dict[str, str]:
        receipt = self.world.receipt(number)
        assert len(receipt) <= RECEIPT_BYTES_MAX
        claims = verify_receipt(receipt, read_trust(self.world.trust()), GIVEN)
        return {one.about: one.verdict for one in claims if one.about in ("log", *GIVEN)}


@pytest.fixture
def installed(tmp_path: Path) -> Installation:
    """An installation where two answers were kept, and eight were not."""
    safe = Safe(Keyring(tmp_path / "sealed", KeyFiles(tmp_path / "secrets/tenants")))
    world = made_world(tmp_path, answers=8)
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets/receipts").write_bytes(SECRET)
    days = tmp_path / "secrets/salts"
    load_or_begin(days, TODAY, lambda size: b"d" * size)
    secrets = SaltSecrets(days, tmp_path / "secrets/receipts", 400, safe.record_key)
    world.secret = secrets.of
    keys = {number: sha256(b"key %d" % number).digest() for number in (KEPT, ALSO_KEPT)}

    async def seal() -> list[str]:
        sealer = Sealer(tmp_path / "sealed", "gateway-0", 1_000_000, 1_000_000, lambda: T0 / 1_000)
        sealer.replace(SealingSnapshot(tuple(safe.keyring.ensure(TENANT, TODAY, 30)[0])))
        about = "key_1", "OFFICIAL", "p", "chat", "m", BODY, KNOWN_ANSWER, True, KNOWN_ANSWER, {}
        kept = [Kept(TENANT, request_id(number), T0, *about, key) for number, key in keys.items()]
        places = await asyncio.gather(*map(sealer.keep, kept))
        await sealer.close()
        return places

    places = asyncio.run(seal())
    entries = zip(keys.items(), places, strict=True)
    world.record("gateway-0", [answered(one, TENANT, key, content_at=place) for (one, key), place in entries])
    world.cosign("gateway-0", "audit-office", "archive")
    return Installation(world, safe)


def confirmed(home: Path, number: int, world: World) -> bool:
    """Tell whether a thief of the whole home, who guesses the answer rightly, can show that it is the one.

    Whatever 32 bytes are in any file, as they are or in hex, are tried: as the salt, and as what it follows from.
    """
    wanted = json.loads(parsed(world.receipt(number))["entry"])["fields"]["answer_commitment"]
    tried: set[bytes] = set()
    for path in home.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            tried |= {content[at : at + 32] for at in range(len(content) - 31)}
            hexed = bytes(byte for byte in content if byte in b"0123456789abcdef")
            tried |= {bytes.fromhex(hexed[at : at + 64].decode()) for at in range(len(hexed) - 63)}
    salts = (salt for one in tried for salt in (one, salts_of(one, request_id(number)).answer))
    return any(commit(ANSWER, salt, KNOWN_ANSWER) == wanted for salt in salts)


def shred_one(installed: Installation) -> None:
    installed.safe.destroy(installed.found(KEPT))


def shred_day(installed: Installation) -> None:
    installed.safe.expire(TENANT, 30, TODAY + 31)


def shred_tenant(installed: Installation) -> None:
    installed.safe.keyring.destroy_tenant(TENANT)


def test_a_kept_answer_has_a_receipt_with_salts_of_its_own(installed):
    proved = dict.fromkeys(("log", *GIVEN), "proved")
    assert installed.verdicts(KEPT) == installed.verdicts(ALSO_KEPT) == installed.verdicts(NOT_KEPT) == proved
    mine, other = (parsed(installed.world.receipt(number))["salts"] for number in (KEPT, ALSO_KEPT))
    assert mine != other
    assert mine["answer"] != salts_of(SECRET, request_id(KEPT)).answer.hex()


@pytest.mark.parametrize("shred", [shred_one, shred_day, shred_tenant])
def test_after_shredding_the_entry_verifies_and_nothing_else_can_be_told(installed, tmp_path, shred, capsys):
    (tmp_path / "before.json").write_bytes(installed.world.receipt(KEPT))
    shred(installed)
    assert installed.verdicts(KEPT) == {"log": "proved", "answer": "unknown", "prompt": "unknown", "request": "unknown"}
    assert installed.verdicts(NOT_KEPT)["answer"] == "proved"
    receipt = installed.world.receipt(KEPT)
    assert parsed(receipt)["salts"] == {"gone": "shredded"}
    for name, content in (("receipt.json", receipt), ("answer.txt", GIVEN["answer"])):
        (tmp_path / name).write_bytes(content)
    (tmp_path / "trust.txt").write_text(installed.world.trust())
    trust_and_answer = ["--trust", str(tmp_path / "trust.txt"), "--answer", str(tmp_path / "answer.txt")]
    assert main([str(tmp_path / "receipt.json"), *trust_and_answer]) == 6
    assert "unknown   the answer   (its salt was destroyed)" in capsys.readouterr().out
    assert (
        main([str(tmp_path / "before.json"), *trust_and_answer]) == 0
    )  # who has a receipt from before keeps its salts


@pytest.mark.parametrize("shred", [shred_one, shred_day, shred_tenant])
def test_after_shredding_whoever_has_the_whole_disk_cannot_confirm_a_guess(installed, shred):
    home = installed.world.home
    assert confirmed(home, NOT_KEPT, installed.world)  # such a thief does find what is there to be found
    assert installed.safe.open(installed.found(KEPT)[0]).answer == KNOWN_ANSWER
    shred(installed)
    assert not confirmed(home, KEPT, installed.world)


def test_what_a_gateway_writes_does_not_confirm_a_guess_without_the_tenants_key(installed):
    (installed.world.home / "secrets/tenants/health.key").unlink()
    assert not confirmed(installed.world.home, KEPT, installed.world)


def test_a_shredding_that_is_killed_after_any_byte_leaves_the_salts_or_none_and_is_done_again(installed):
    (found,) = installed.found(KEPT)
    wrapped_at, whole = found.frame.at + 8, found.segment.path.read_bytes()
    wanted = TENANT, place_of(found.segment.path, found.frame.at), request_id(KEPT)
    key = installed.safe.record_key(*wanted)
    assert key is not None
    for written in range(WRAPPED_BYTES + 1):
        torn = whole[:wrapped_at] + bytes(written) + whole[wrapped_at + written :]
        found.segment.path.write_bytes(torn)
        assert installed.safe.record_key(*wanted) == (key if torn == whole else None)
        installed.safe.destroy(installed.found(KEPT))
        assert installed.safe.record_key(*wanted) is None
        assert installed.safe.opens([found]) == 0
    assert parsed(installed.world.receipt(KEPT))["salts"] == {"gone": "shredded"}
    assert installed.verdicts(ALSO_KEPT)["answer"] == "proved"


def test_the_place_in_an_entry_leads_nowhere_but_into_the_store_of_its_tenant(installed):
    place = json.loads(parsed(installed.world.receipt(KEPT))["entry"])["fields"]["content_at"]
    assert installed.safe.record_key(TENANT, place, request_id(KEPT))
    read = parse_place(place)
    assert read is not None
    elsewhere = f"../{TENANT}/{place}", place.replace("@", "/../x@"), f"{read.key}/../{read.segment}@{read.at}", "", "@"
    assert [parse_place(one) for one in elsewhere] == [None] * 5
    for at in (read.at + 1, read.at - 1, 10**9):
        assert installed.safe.record_key(TENANT, f"{read.key}/{read.segment}@{at}", request_id(KEPT)) is None
    assert installed.safe.record_key(TENANT, place, request_id(ALSO_KEPT)) is None
    assert installed.safe.record_key("tax", place, request_id(KEPT)) is None
