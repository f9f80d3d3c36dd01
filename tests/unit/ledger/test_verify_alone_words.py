"""What whoever verifies reads: every line, every refusal to read, and the help, as they are."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from typing import Any

import pytest

from fastness.ledger import verify_alone as alone
from fastness.ledger.verify_alone import Claim, Unreadable
from receipt_world import ANSWER_TEXT, World, made_world, parsed, request_id

MODEL = f"model qwen3-32b sha256:{'ab' * 32}"
WHERE = "this answer is entry 8 of fastness.example/gateway-0, cosigned by"
BROUGHT = "the log's key came with the receipt: give one of your own with --trust"
JUDGED = Claim("unknown", "hardware", "hardware attestation", "nothing here judges it: no evidence came")


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> World:
    return made_world(tmp_path_factory.mktemp("world"), answers=9)


@pytest.fixture(scope="module")
def honest(world) -> dict[str, Any]:
    return parsed(world.receipt(7))


@pytest.fixture
def ran(tmp_path, capsys) -> Callable[..., tuple[int, str, str]]:
    def run(*arguments: str, **files: bytes | str) -> tuple[int, str, str]:
        for name, content in files.items():
            (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        code = alone.main([str(tmp_path / one) if one in files else one for one in arguments])
        return code, *capsys.readouterr()

    return run


def shown(receipt: dict[str, Any], world: World, quorum: str = "quorum none", **given: bytes) -> list[Claim]:
    return alone.verify_receipt(json.dumps(receipt).encode(), alone.read_trust(world.trust(quorum)), given)


def test_a_receipt_says_where_it_is_and_who_cosigned_it(world, honest) -> None:
    by = "audit-office, health-department"
    assert shown(honest, world)[0] == Claim("proved", "log", f"{WHERE} {by}")
    assert shown(honest, world, "quorum archive")[0] == Claim("asserted", "log", f"{WHERE} {by}", "too few")
    untrusting = alone.verify_receipt(json.dumps(honest).encode(), alone.Trust(), {})
    assert untrusting[0] == Claim("asserted", "log", f"{WHERE} no witness", BROUGHT)
    assert shown(honest, world)[-1] == JUDGED
    attested = shown(honest | {"attestation": [{"kind": "tpm"}, {"kind": "sev-snp"}]}, world)[-1]
    assert attested == JUDGED._replace(by="nothing here judges tpm sev-snp")


def test_claims_come_in_lines_with_who_says_so_or_as_json(world, honest, ran) -> None:
    files = {"r.json": world.receipt(7), "t.txt": world.trust(), "a.txt": ANSWER_TEXT}
    code, out, err = ran("r.json", "--trust", "t.txt", "--answer", "a.txt", **files)
    lines = out.split("\n")
    assert (code, err, lines[-1]) == (0, "", "")
    assert lines[0] == f"proved    {WHERE} audit-office, health-department"
    assert lines[1] == "proved    the answer is the one that you gave"
    assert lines[-2] == "unknown   hardware attestation   (nothing here judges it: no evidence came)"
    code, out, err = ran("r.json", "--trust", "t.txt", "--answer", "a.txt", "--json", **files)
    claims = [Claim(**one) for one in json.loads(out)]
    assert claims == shown(honest, world, answer=ANSWER_TEXT.encode()) and (code, err) == (0, "")


def test_the_help_says_what_each_word_of_the_command_line_is(capsys) -> None:
    with pytest.raises(SystemExit):
        alone.main(["--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert " file Verify a receipt or an evidence bundle of Fastness, offline. positional arguments: " in text
    assert " file a receipt (JSON), or a bundle (ZIP) options: " in text
    options = ("trust", "bundle", "request", "prompt", "parameters", "answer")
    assert text.endswith(" ".join(f"--{name} FILE" for name in options) + " --json write the claims as JSON")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"id": f"gateway-1.{request_id(7)[4:]}"}, "came with the entry of another answer"),
        ({"id": f"gateway-0.{request_id(8)[4:]}"}, "came with the entry of another answer"),
        ({"id": request_id(7)[4:]}, "came with the entry of another answer"),
        ({"v": 2}, "came with the entry of another answer"),
        ({"keys": ["nonsense"]}, "'' is not base64, or of another length"),
        ({"chain": [{"entry": "{}", "proof": "none"}]}, "a proof is no c2sp.org/tlog-proof@v1"),
    ],
)
def test_what_is_false_in_a_receipt_is_refuted_and_nothing_else_is_said_of_it(world, honest, change, why) -> None:
    (claim,) = shown(honest | change, world)
    said = f"the receipt {change.get('id', honest['id'])} {why}" if why.startswith("came") else why
    assert claim == Claim("refuted", "log", said)


def test_a_receipt_without_its_version_is_refuted(world, honest) -> None:
    assert shown({name: one for name, one in honest.items() if name != "v"}, world)[0].verdict == "refuted"


@pytest.mark.parametrize("name", ["keys", "entry", "proof", "id", "salts"])
@pytest.mark.parametrize("value", [None, 7, "lacking"])
def test_a_receipt_that_lacks_something_cannot_be_read(world, honest, name, value) -> None:
    changed = honest | {name: value}
    if value == "lacking":
        del changed[name]
    with pytest.raises(Unreadable, match=r"^the receipt lacks something, or has it in another form: .+"):
        shown(changed, world)


def test_a_receipt_is_a_json_object_of_64_kib_at_most(honest) -> None:
    for content in (b"[]", b"nonsense", b"\xff", b"[" * 60_000):
        with pytest.raises(Unreadable, match=r"^the receipt is not a JSON object: .+"):
            alone.verify_receipt(content, alone.Trust(), {})
    short, bound = json.dumps(honest).encode(), alone.RECEIPT_BYTES_MAX
    for whole in (short.ljust(bound + 1), short[:-1].ljust(bound - 1) + b"}"):
        assert alone.verify_receipt(whole, alone.Trust(), {})[0].verdict == "asserted"
    with pytest.raises(Unreadable, match="not a JSON object"):
        alone.verify_receipt(short[:-1].ljust(bound) + b"}", alone.Trust(), {})


def test_a_file_that_is_not_there_is_said(ran, tmp_path) -> None:
    code, out, err = ran(str(tmp_path / "none.json"))
    assert (code, out) == (2, "") and err.startswith("cannot be read: [Errno 2]") and "none.json" in err


def test_an_entry_that_has_another_form_is_said() -> None:
    head = alone.Head("town/log", 1, b"", True, "proved", ())
    odd = (b"{}", b'{"type":"t"}', b'{"fields":{},"type":1}', b'{"fields":1,"type":"t"}')
    times = [
        b'{"fields":{},"type":"t","time_ms":%s}' % time for time in (b"-1", b"253402300800000", b"Infinity", b"NaN")
    ]
    for line in [*odd, *times]:
        with pytest.raises(Unreadable) as told:
            alone.read_entry(line, 0, head)
        assert str(told.value) == "an entry has another form than those of Fastness"
    last = alone.read_entry(b'{"fields":{},"type":"t","time_ms":253402300799999}', 0, head)
    assert last.manifest == ""
    assert last.place == "9999-12-31 23:59:59 UTC, entry 0 of town/log"
    assert alone.read_entry(b'{"fields":{},"type":"t","time_ms":0}', 0, head).place.startswith("1970-01-01 00:00:00")
    with pytest.raises(Unreadable, match=r"^an entry is not a JSON object: "):
        alone.read_entry(b"1", 0, head)


def test_a_file_is_what_it_holds_whatever_it_is_called(ran) -> None:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("a", b"b")
    code, out, err = ran("r.json", **{"r.json": made.getvalue()})
    assert (code, out) == (2, "")
    assert err.startswith("cannot be read: the bundle lacks something, or has it in another form: ")
    assert "manifest.json" in err
