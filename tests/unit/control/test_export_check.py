"""An export is checked without an installation: what was changed is seen, and each entry is proved or says why not."""

import asyncio
import hashlib
import json

import pytest

from fastness.config import LedgerSettings
from fastness.control.deterministic_zip import written
from fastness.control.export_check import FORMAT, ExportRefused, check_export
from fastness.core.event import Event, EventType
from fastness.ledger.commitment import ANSWER, commit
from fastness.ledger.file import FileLedger
from fastness.ledger.log_key import LogKey
from fastness.ledger.notary import Signing
from fastness.ledger.stored_log import StoredLog
from fastness.ledger.vouching import read_keys

SIGNED = Signing(LogKey(b"e" * 32, b"m" * 32), "example.org/ledger", 0.01)
OTHER = LogKey(b"x" * 32, b"y" * 32)
BODY, SALT = b'{"model":"m"}', b"s" * 32
COMMITTED = hashlib.sha256(b"fastness request v1\n" + SALT + BODY).hexdigest()


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    """A signed log with three entries; those of req_1 and req_2 commit to what was asked."""
    directory = tmp_path_factory.mktemp("ledger") / "gateway-0"

    async def write():
        ledger = FileLedger.open(directory, "gateway-0", LedgerSettings(), lambda: 5, signing=SIGNED)
        for number in range(3):
            await ledger.commit(Event(EventType.INFERENCE_COMPLETED, 5, {"request_id": f"req_{number}"}))
        await ledger.checkpoint()
        await ledger.close()

    asyncio.run(write())
    return directory


def exported(log, **changes):
    """The members of an export of req_1."""
    stored, at = StoredLog(log), "requests/req_1"
    members = {
        f"{at}/request.json": BODY,
        f"{at}/answer": b"{}",
        f"{at}/said.json": b"[]",
        f"{at}/sealed.json": json.dumps({"salts": {"request": SALT.hex(), "answer": SALT.hex()}}).encode(),
        f"{at}/entry.json": stored.entry(1),
        f"{at}/entry.tlog-proof": str(stored.prove(1)).encode(),
    }
    members |= {f"{at}/{name.replace('_', '.').replace('-proof', '.tlog-proof')}": one for name, one in changes.items()}
    return {name: one for name, one in members.items() if one is not None}


def zipped(members, **manifest):
    files = {name: hashlib.sha256(one).hexdigest() for name, one in members.items()}
    about = {"format": FORMAT, "files": files} | manifest
    return written({**members, "manifest.json": json.dumps(about).encode()})


def test_each_entry_of_a_whole_export_is_proved(log):
    (one,) = check_export(zipped(exported(log)), read_keys(log / "keys"))
    assert (one.request_id, one.index, one.entry) == ("req_1", 1, "proved")
    assert one.log == "example.org/ledger/gateway-0"
    assert one.request == "its entry has no commitment to it"


def test_what_was_asked_and_answered_is_compared_with_its_commitments(log):
    wrong = "it is not what its entry commits to"
    entry = json.loads(StoredLog(log).entry(1))
    entry["fields"] |= {"request_commitment": COMMITTED, "answer_commitment": commit(ANSWER, SALT, b"[]")}
    line = json.dumps(entry).encode()
    for body, said, request, answer in (
        (BODY, b"[]", "proved", "proved"),
        (BODY + b" ", b"[]", wrong, "proved"),
        (BODY, b"[ ]", "proved", wrong),
    ):
        members = exported(log, entry_json=line, request_json=body, said_json=said)
        (one,) = check_export(zipped(members), read_keys(log / "keys"))
        assert (one.request, one.answer) == (request, answer)


def test_a_member_that_was_changed_added_or_taken_away_is_named(log):
    members = exported(log)
    files = {name: hashlib.sha256(one).hexdigest() for name, one in members.items()}
    for name in members:
        changed = {**members, name: members[name] + b" "}
        with pytest.raises(ExportRefused, match=name.rpartition("/")[2]):
            check_export(zipped(changed, files=files), [])
        with pytest.raises(ExportRefused, match=name.rpartition("/")[2]):
            check_export(zipped({at: one for at, one in members.items() if at != name}, files=files), [])
    with pytest.raises(ExportRefused, match="more is not as"):
        check_export(zipped({**members, "more": b""}, files=files), [])


def test_an_entry_that_is_not_proved_says_why(log):
    keys = read_keys(log / "keys")
    forged = json.loads(StoredLog(log).entry(1)) | {"time_ms": 6}
    line = json.dumps(forged, sort_keys=True, separators=(",", ":")).encode()
    cases = [
        (exported(log, entry_json=line), keys, "leaf 1 is not in the tree"),
        (
            exported(log),
            [one.verifier for one in OTHER.signers("example.org/ledger/gateway-0")],
            "no key that is known",
        ),
        (exported(log), [], "no key that is known"),
        (exported(log, entry_json=StoredLog(log).entry(2)), keys, "about another request"),
        ({name: one for name, one in exported(log).items() if "proof" not in name}, keys, "no proof is with it"),
        ({name: one for name, one in exported(log).items() if "entry" not in name}, keys, "no entry of the ledger"),
    ]
    for members, known, said in cases:
        (one,) = check_export(zipped(members), known)
        assert said in one.entry


def test_what_is_no_export_is_refused(log):
    members = exported(log)
    for content in (b"", b"PK", written(members), zipped(members, format="other"), zipped(members)[:-40]):
        with pytest.raises(ExportRefused):
            check_export(content, [])
