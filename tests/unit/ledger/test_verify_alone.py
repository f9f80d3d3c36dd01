"""One file verifies what we give, alone: its words, its exit codes, and what it needs."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from fastness.ledger import verify_alone
from fastness.ledger.note import SignatureType
from fastness.ledger.signing import signing_key
from receipt_world import ANSWER_TEXT, BODY, PROMPT_TEXT, World, answered, before_answers, made_world, parsed

K_OF_N = "group all-three 2 audit-office health-department archive\nquorum all-three"
FILE = Path(verify_alone.__file__)


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> World:
    return made_world(tmp_path_factory.mktemp("world"))


@pytest.fixture
def given(tmp_path, world) -> Path:
    """A folder with a receipt, what was asked and answered, and the keys that are trusted."""
    (tmp_path / "receipt.json").write_bytes(world.receipt(7))
    (tmp_path / "chain.json").write_bytes(world.receipt(7, chain=True))
    (tmp_path / "answer.txt").write_text(ANSWER_TEXT + "\n")
    (tmp_path / "prompt.txt").write_text(PROMPT_TEXT)
    (tmp_path / "body.json").write_bytes(BODY)
    (tmp_path / "parameters.json").write_text('{"temperature": 0, "max_tokens": 9}')
    (tmp_path / "trust.txt").write_text(world.trust(K_OF_N))
    return tmp_path


def ran(folder: Path, capsys, *arguments: str) -> tuple[int, list[str]]:
    paths = [str(folder / one) if "." in one else one for one in arguments]
    code = verify_alone.main(paths)
    return code, capsys.readouterr().out.splitlines()


def test_it_is_one_file_of_less_than_500_lines() -> None:
    text = FILE.read_text()
    assert len(text.splitlines()) < 500
    assert "fastness." not in "".join(line for line in text.splitlines() if "import" in line)


def test_a_receipt_with_its_chain_is_followed_from_the_admission_to_the_answer(given, capsys) -> None:
    asked = ("--prompt", "prompt.txt", "--answer", "answer.txt", "--request", "body.json")
    code, lines = ran(given, capsys, "chain.json", "--trust", "trust.txt", *asked, "--parameters", "parameters.json")
    assert code == 0
    assert [line.split()[0] for line in lines] == ["proved"] * 9 + ["asserted"] * 2 + ["unknown"], lines
    assert lines[0] == (
        "proved    this answer is entry 8 of fastness.example/gateway-0, cosigned by audit-office, health-department"
    )
    assert any("was admitted by ops-lead and security-lead" in line for line in lines)
    assert any("it allowed this for tenant health under rule ceilings/2" in line for line in lines)
    assert "node bristol-03, jurisdiction GB, operator crown" in lines[9]
    assert lines[-1] == "unknown   hardware attestation   (nothing here judges it: no evidence came)"


def test_a_receipt_alone_says_what_is_only_asserted(given, capsys) -> None:
    code, lines = ran(given, capsys, "receipt.json", "--trust", "trust.txt", "--answer", "answer.txt")
    assert code == 0
    assert [line.split()[0] for line in lines][:4] == ["proved", "proved", "asserted", "unknown"], lines


def test_a_receipt_has_at_most_4_kib(given, world) -> None:
    assert len((given / "receipt.json").read_bytes()) <= 4_096
    assert len((given / "chain.json").read_bytes()) <= 16_384


def test_without_keys_of_ones_own_nothing_is_proved(given, capsys) -> None:
    code, lines = ran(given, capsys, "chain.json", "--answer", "answer.txt")
    assert code == 6
    assert not [line for line in lines if line.startswith("proved")]
    assert "the log's key came with the receipt" in lines[0]


@pytest.mark.parametrize(
    ("quorum", "expected"),
    [
        ("quorum none", 0),
        ("quorum audit-office", 0),
        ("quorum archive", 6),
        ("group some any archive audit-office\nquorum some", 0),
        ("group every all archive audit-office health-department\nquorum every", 6),
        ("group two 2 archive audit-office\ngroup both all two health-department\nquorum both", 6),
    ],
)
def test_the_quorum_is_the_readers(given, world, capsys, quorum, expected) -> None:
    (given / "mine.txt").write_text(world.trust(quorum))
    assert ran(given, capsys, "receipt.json", "--trust", "mine.txt")[0] == expected


def test_a_key_that_is_trusted_beats_the_one_that_came_along(given, world, capsys) -> None:
    other = signing_key("fastness.example/gateway-0", SignatureType.ED25519, bytes([9]) * 32)
    (given / "mine.txt").write_text(f"log {other.verifier}\nquorum none\n")
    code, lines = ran(given, capsys, "receipt.json", "--trust", "mine.txt")
    assert code == 1
    assert lines == ["refuted   no key that is known for the log fastness.example/gateway-0 signed its checkpoint"]


@pytest.mark.parametrize("name", ["prompt", "answer", "request", "parameters"])
def test_another_word_than_the_one_that_was_said_is_refuted(given, capsys, name) -> None:
    (given / "mine.txt").write_text("something else")
    code, lines = ran(given, capsys, "receipt.json", "--trust", "trust.txt", f"--{name}", "mine.txt")
    assert code == 1
    assert lines[1] == f"refuted   the {name} is not the one that you gave, or not to the letter"


def test_what_the_api_gave_is_read_as_it_came(given, capsys) -> None:
    whole = {"choices": [{"index": 0, "message": {"role": "assistant", "content": ANSWER_TEXT}}]}
    (given / "answer.json").write_text(json.dumps(whole))
    asked = ("--prompt", "body.json", "--answer", "answer.json")
    assert ran(given, capsys, "receipt.json", "--trust", "trust.txt", *asked)[0] == 0


def test_the_claims_can_be_had_as_json(given, capsys) -> None:
    code, lines = ran(given, capsys, "receipt.json", "--trust", "trust.txt", "--json")
    claims = json.loads("\n".join(lines))
    assert code == 0 and claims[0]["verdict"] == "proved" and claims[-1]["about"] == "hardware"


def test_a_refusal_has_a_receipt_that_says_so(world, given, capsys) -> None:
    refused = answered(90)
    kept = {key: refused.fields[key] for key in ("request_id", "tenant", "key", "operation", "model")}
    from fastness.core.event import Event, EventType

    world.record("gateway-1", [Event(EventType.INFERENCE_REFUSED, 9, kept | {"code": "queue_full", "status": 429})])
    (given / "refused.json").write_bytes(world.receipt(90, log="gateway-1"))
    code, lines = ran(given, capsys, "refused.json")
    assert code == 6 and "it got no whole answer: queue_full" in lines[1]
    code, lines = ran(given, capsys, "refused.json", "--answer", "answer.txt")
    assert code == 6 and lines[1] == "unknown   the answer   (the entry does not bind it)"
    _, lines = ran(given, capsys, "refused.json", "--answer", "answer.txt", "--json")
    assert json.loads(lines[0])[1] == {
        "verdict": "unknown", "about": "answer", "text": "the answer", "by": "the entry does not bind it"
    }  # fmt: skip


def test_each_thing_that_was_given_is_named_with_its_verdict(given, capsys) -> None:
    names = {"answer": "answer.txt", "prompt": "prompt.txt", "request": "body.json", "parameters": "parameters.json"}
    options = [word for name, file in names.items() for word in (f"--{name}", file)]
    _, lines = ran(given, capsys, "receipt.json", "--trust", "trust.txt", "--json", *options)
    claims = json.loads(lines[0])
    assert [(one["about"], one["verdict"], one["text"]) for one in claims[1:5]] == [
        (name, "proved", f"the {name} is the one that you gave")
        for name in ("request", "prompt", "parameters", "answer")
    ]
    (given / "bytes").write_bytes(b"\xff\xfe\x00")
    code, lines = ran(given, capsys, "receipt.json", "--trust", "trust.txt", "--answer", str(given / "bytes"))
    assert code == 1 and lines[1].startswith("refuted   the answer is not the one")


def test_a_receipt_that_cannot_be_read_is_no_verdict(given, capsys) -> None:
    (given / "mine.json").write_text("{}")
    assert ran(given, capsys, "mine.json")[0] == 2
    (given / "mine.txt").write_text("log nonsense\nquorum none")
    assert ran(given, capsys, "receipt.json", "--trust", "mine.txt")[0] == 2
    assert ran(given, capsys, "missing.json")[0] == 2


def test_an_auditor_runs_the_file_with_nothing_of_ours(given, tmp_path) -> None:
    """In an empty folder, isolated, where of all packages only `cryptography` and what it needs can be imported."""
    shutil.copy(FILE, given / "verify.py")
    import cryptography

    places = {Path(cryptography.__file__).parents[1]}
    code = (
        "import sys, runpy\n"
        f"sys.path += {[str(one) for one in places]!r}\n"
        "class Only:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        first = name.partition('.')[0]\n"
        "        if first in sys.stdlib_module_names or first in ('cryptography', 'cffi', '_cffi_backend'):\n"
        "            return None\n"
        "        raise ImportError(f'{name} is not there')\n"
        "sys.meta_path.insert(0, Only())\n"
        "sys.argv = ['verify.py', 'chain.json', '--trust', 'trust.txt', '--answer', 'answer.txt']\n"
        "runpy.run_path('verify.py', run_name='__main__')\n"
    )
    ran = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], cwd=given, capture_output=True, text=True, check=False
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.startswith("proved    this answer is entry 8 of")


def test_nothing_of_the_prompt_is_in_a_receipt(given) -> None:
    for name in ("receipt.json", "chain.json"):
        text = (given / name).read_text()
        assert PROMPT_TEXT not in text and "at any time" not in text


def test_only_the_tenant_gets_it(world) -> None:
    from fastness.ledger.receipts.receipt import ReceiptId
    from receipt_world import request_id

    archive = world.archive()
    assert archive.receipt(ReceiptId("gateway-0", request_id(7)), "justice", chain=False) is None
    assert archive.receipt(ReceiptId("gateway-0", request_id(9_999)), "health", chain=False) is None
    assert archive.receipt(ReceiptId("gateway-9", request_id(7)), "health", chain=False) is None
    assert parsed(world.receipt(7))["id"] == f"gateway-0.{request_id(7).removeprefix('req_')}"


ADAPTER = "cd" * 32


@pytest.fixture(scope="module")
def adapted(tmp_path_factory) -> World:
    """A world in which an adapter answered once it was loaded beside the model, and another that nobody loaded."""
    world = made_world(tmp_path_factory.mktemp("adapted"), answers=2)
    manifest = f"{ADAPTER}  plans.gguf\n"
    loaded, admitted = before_answers()["node"][0], before_answers()["control"][0]
    both = {"epoch": 4, "adapters": f"{'ef' * 32} {ADAPTER}"}
    world.record("node", [replace(loaded, fields={**loaded.fields, **both})])
    named = {"model": "plans", "kind": "adapter", "digest": sha256(manifest.encode()).hexdigest()}
    world.record("control", [replace(admitted, fields={**admitted.fields, **named})])
    world.manifests[ADAPTER] = manifest
    said = {"epoch": 4, "adapter": "plans", "adapter_digest": ADAPTER}
    world.record("gateway-0", [answered(70, **said), answered(71, **said | {"adapter_digest": "12" * 32})])
    for log in ("gateway-0", "node", "control"):
        world.cosign(log, "audit-office", "health-department")
    return world


def test_an_adapter_is_followed_from_its_admission_to_the_answer_as_its_model_is(adapted, tmp_path, capsys) -> None:
    (tmp_path / "chain.json").write_bytes(adapted.receipt(70, chain=True))
    (tmp_path / "trust.txt").write_text(adapted.trust(K_OF_N))
    code, lines = ran(tmp_path, capsys, "chain.json", "--trust", "trust.txt")
    about = [line for line in lines if "adapter plans" in line]
    assert code == 0
    assert [line.split()[0] for line in about] == ["proved", "proved"], lines
    assert f"adapter plans sha256:{ADAPTER} is what qwen-1 had loaded" in about[0]
    assert "was admitted by ops-lead and security-lead" in about[1]
    assert any(f"model qwen3-32b sha256:{'ab' * 32} is what qwen-1 had loaded" in line for line in lines)


def test_an_adapter_that_no_entry_of_loading_names_is_asserted_only(adapted, tmp_path, capsys) -> None:
    (tmp_path / "chain.json").write_bytes(adapted.receipt(71, chain=True))
    (tmp_path / "trust.txt").write_text(adapted.trust(K_OF_N))
    _, lines = ran(tmp_path, capsys, "chain.json", "--trust", "trust.txt")
    about = [line for line in lines if "adapter plans" in line]
    assert [line.split()[0] for line in about] == ["asserted", "unknown"], lines
    assert not [line for line in lines if "adapter" in line and "model qwen3" in line]
