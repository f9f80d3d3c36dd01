"""Our witness, asked by other people's code; and a witness that is not ours, asked by us."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from fastness.ledger.checkpoint import Checkpoint, parse_checkpoint
from fastness.ledger.note import Note, SignatureType, VerifierKey
from fastness.ledger.signing import sign_note, signing_key
from fastness.ledger.stored_log import StoredLog
from fastness.ledger.verify_alone import check_checkpoint, read_trust
from fastness.ledger.witness.policy import Witness
from fastness.ledger.witness.submission import Submission
from fastness.ledger.witness.submitting import NotCosigned, Submitter
from go_program import PLACE, Refused, ask, encoded, require_program
from interop_logs import KEYS, ORIGIN, SIGNING, crashed_log
from oidc_server import free_port

pytestmark = pytest.mark.slow
FASTNESS = Path(sys.executable).with_name("fastness")
SEED = bytes(range(32))
SIZES = (200, 258, 702, 708)


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Note]]:
    require_program()
    directory = tmp_path_factory.mktemp("log") / "gateway-0"
    return directory, crashed_log(directory)


@contextmanager
def running(*argv: str | Path, **environment: str) -> Iterator[subprocess.Popen[str]]:
    env = {**os.environ, **environment}
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env)
    try:
        yield process
    finally:
        process.terminate()
        assert process.stdout
        process.stdout.close()
        process.wait(timeout=30)


@pytest.fixture
def ours(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """`fastness witness serve`: its key, and where it takes checkpoints."""
    (tmp_path / "logs.txt").write_text(f"log {KEYS[0]}\nquorum none\n")
    init = [FASTNESS, "witness", "init", tmp_path / "w", "--name", "audit.example/w", "--logs", tmp_path / "logs.txt"]
    made = subprocess.run([*init, "--json"], capture_output=True, text=True, check=True)
    with running(FASTNESS, "witness", "serve", tmp_path / "w", "--listen", "127.0.0.1:0") as process:
        assert process.stdout
        place = process.stdout.readline().split("http://")[1].split()[0]
        yield json.loads(made.stdout)["key"], f"http://{place}/add-checkpoint"


@pytest.fixture
def theirs(log: tuple[Path, list[Note]], tmp_path: Path) -> Iterator[tuple[Witness, list[Note]]]:
    """`sigsum-witness`; and our checkpoints under the one name that it knows, which is made of the log's key."""
    log_key, key = (Ed25519PrivateKey.from_private_bytes(seed) for seed in (SEED, SEED[::-1]))
    origin, name = (
        f"sigsum.org/v1/{what}/{sha256(one.public_key().public_bytes_raw()).hexdigest()}"
        for what, one in (("tree", log_key), ("witness", key))
    )
    (tmp_path / "log.pub").write_bytes(log_key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH))
    (tmp_path / "key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    files = ["--log-key", tmp_path / "log.pub", "--signing-key", tmp_path / "key", "--state-file", tmp_path / "state"]
    own, port = VerifierKey(name, SignatureType.COSIGNATURE, key.public_key().public_bytes_raw()), free_port()
    routes = "httpmuxgo121=0"  # Debian's build has Go's older routes, to which `POST /add-checkpoint` is all a path
    with running(PLACE / "sigsum-witness", *files, f"127.0.0.1:{port}", GODEBUG=routes) as process:
        until_it_listens(port, process)
        heads = [parse_checkpoint(note.text) for note in log[1]]
        yield Witness("theirs", own, f"http://127.0.0.1:{port}"), [shared(replace(one, origin=origin)) for one in heads]


def until_it_listens(port: int, process: subprocess.Popen[str]) -> None:
    for _ in range(600):
        try:
            with socket.create_connection(("127.0.0.1", port)):
                return
        except OSError:
            assert process.poll() is None, process.stdout and process.stdout.read()
            time.sleep(0.05)
    pytest.fail("it did not listen within 30 s")


def submitted(url: str, key: str, note: Note, old: int, proof: list[bytes]) -> Any:
    return ask("submit", url=url, keys=[KEYS[0], key], note=str(note), old=old, hashes=encoded(proof))


def signed(head: Checkpoint) -> Note:
    return sign_note(str(head), SIGNING.key.signers(head.origin))


def shared(head: Checkpoint) -> Note:
    """Signed by the key itself: a name that is made of a key cannot be what the key is derived from."""
    return sign_note(str(head), SIGNING.key.shared_signers(head.origin))


def test_our_witness_cosigns_what_sigsums_code_asks_of_it_and_gos_notes_see_that(
    log: tuple[Path, list[Note]], ours: tuple[str, str]
) -> None:
    directory, kept = log
    (key, url), old = ours, 0
    for note, size in zip(kept, SIZES, strict=True):
        found = submitted(url, key, note, old, StoredLog(directory).prove_growth(old, size))
        assert (found["Status"], found["Head"]["Signed"]) == (200, [ORIGIN, "audit.example/w"])
        assert found["Time"] > 1_700_000_000
        old = size


def test_our_witness_refuses_as_the_standard_says(log: tuple[Path, list[Note]], ours: tuple[str, str]) -> None:
    directory, kept = log
    key, url = ours
    assert submitted(url, key, kept[2], 0, [])["Status"] == 200
    growth = StoredLog(directory).prove_growth(702, 708)
    other = signing_key(ORIGIN, SignatureType.ED25519, SEED[::-1])
    stranger = sign_note("other.example/log\n1\n" + b64encode(SEED).decode() + "\n", [other])
    answers = {
        "another size than it saw": submitted(url, key, kept[3], 258, []),
        "a shorter log": submitted(url, key, kept[0], 0, []),
        "a fork of that size": submitted(url, key, signed(Checkpoint(ORIGIN, 702, bytes(32))), 702, []),
        "a fork that grew": submitted(url, key, signed(Checkpoint(ORIGIN, 708, bytes(32))), 702, growth),
        "a proof that is cut": submitted(url, key, kept[3], 702, growth[:-1]),
        "growth backwards": submitted(url, key, kept[0], 702, []),
        "another key": submitted(url, key, sign_note(kept[3].text, [other]), 702, growth),
    }
    conflict = (409, "text/x.tlog.size", "702\n")
    assert {name: one["Status"] for name, one in answers.items()} == {
        "another size than it saw": 409,
        "a shorter log": 409,
        "a fork of that size": 422,
        "a fork that grew": 422,
        "a proof that is cut": 422,
        "growth backwards": 400,
        "another key": 403,
    }
    for name in ("another size than it saw", "a shorter log"):
        assert tuple(answers[name][part] for part in ("Status", "Type", "Body")) == conflict
    with pytest.raises(Refused, match="no log signature"):
        submitted(url, key, stranger, 0, [])  # sigsum's code itself sends nothing that its log did not sign
    assert submitted(url, key, kept[3], 702, growth)["Status"] == 200


async def post(url: str, body: bytes) -> tuple[int, bytes]:
    def send() -> tuple[int, bytes]:
        try:
            with urllib.request.urlopen(urllib.request.Request(url, data=body), timeout=30) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()

    return await asyncio.to_thread(send)


def test_a_witness_that_is_not_ours_cosigns_our_log_and_our_verifier_counts_it(
    log: tuple[Path, list[Note]], theirs: tuple[Witness, list[Note]]
) -> None:
    (directory, _), (witness, kept) = log, theirs
    origin = parse_checkpoint(kept[0].text).origin
    log_key = str(SIGNING.key.shared_signers(origin)[0].verifier)
    trust = read_trust(f"log {log_key}\nwitness theirs {witness.key}\nquorum theirs\n")
    submitter = Submitter(directory, witness, post, (OSError,))
    for note, size in zip(kept, SIZES, strict=True):
        whole = note.signed_also([asyncio.run(submitter.submit(note))])
        head = check_checkpoint(str(whole), trust, ())
        assert (head.verdict, head.witnesses, head.size) == ("proved", ("theirs",), size)
        assert ask("open", note=str(whole), keys=[log_key, str(witness.key)])["Signed"] == [origin, witness.key.name]
        assert check_checkpoint(str(note), trust, ()).verdict == "asserted"


def test_a_witness_that_is_not_ours_tells_what_it_saw_and_refuses_a_fork(
    log: tuple[Path, list[Note]], theirs: tuple[Witness, list[Note]]
) -> None:
    (directory, _), (witness, kept) = log, theirs
    first, second = (Submitter(directory, witness, post, (OSError,)) for _ in range(2))
    asyncio.run(first.submit(kept[1]))
    asyncio.run(second.submit(kept[2]))  # it is told that 258 were seen, and proves growth from there
    assert second.seen == 702
    with pytest.raises(NotCosigned, match="it has seen 702 entries, and the log has 258"):
        asyncio.run(first.submit(kept[1]))
    for note in kept[2:]:
        with pytest.raises(NotCosigned, match="it answered 422"):
            asyncio.run(second.submit(shared(replace(parse_checkpoint(note.text), root=bytes(32)))))
    proof = StoredLog(directory).prove_growth(702, 708)
    changed = Submission(702, (proof[0][::-1], *proof[1:]), kept[3])
    assert asyncio.run(post(f"{witness.url}/add-checkpoint", bytes(changed)))[0] == 422
