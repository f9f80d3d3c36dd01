"""Receipts as a developer meets them: with the official SDK, whole and streamed, and verified by the program alone."""

from __future__ import annotations

import json
import subprocess
import sys
from base64 import b64encode
from pathlib import Path
from typing import Any

import httpx
import pytest
from openai import OpenAI

from fastness.ledger.tiles import entries_of
from fastness.ledger.tree import leaf_hash
from go_program import Refused, ask, require_program
from installation import CHAT, EMBEDDING, FASTNESS, Installation

pytestmark = pytest.mark.slow
ASK = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": 'Is "caf\u00e9" French?'}]
LOG = "gateway-0"


@pytest.fixture
def trust(installation: Installation, tmp_path: Path) -> Path:
    done = installation.run("ledger", "trust")
    assert done.returncode == 0, done.stderr
    (tmp_path / "trust.txt").write_text(done.stdout)
    return tmp_path / "trust.txt"


def receipt(installation: Installation, receipt_id: str, *, chain: bool = False, key: str = "") -> httpx.Response:
    return httpx.get(
        f"{installation.base_url}/receipts/{receipt_id}{'?chain=true' if chain else ''}",
        headers={"authorization": f"Bearer {key or installation.admin_key}"},
        timeout=30,
    )


def verified(folder: Path, trust: Path, got: httpx.Response, **given: Any) -> dict[str, str]:
    """Run the file that is carried away, and return the verdict on each thing that a claim is about."""
    assert got.status_code == 200, got.text
    (folder / "receipt.json").write_bytes(got.content)
    arguments = []
    for name, value in given.items():
        (folder / name).write_text(value if isinstance(value, str) else json.dumps(value))
        arguments += [f"--{name}", str(folder / name)]
    if not (folder / "verify.py").exists():
        subprocess.run([FASTNESS, "verify", "--copy-to", folder / "verify.py"], check=True, capture_output=True)
    argv = [sys.executable, "-I", folder / "verify.py", folder / "receipt.json", "--trust", trust, "--json", *arguments]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.stderr == "", done.stderr
    return {one["about"]: one["verdict"] for one in json.loads(done.stdout)}


def test_a_whole_answer_is_proved_from_what_the_sdk_has(
    client: OpenAI, installation: Installation, trust: Path, tmp_path: Path
) -> None:
    raw = client.chat.completions.with_raw_response.create(model=CHAT, messages=ASK, max_tokens=12, temperature=0)
    got = receipt(installation, raw.headers["fastness-receipt"], chain=True)
    text = raw.parse().choices[0].message.content
    parameters = {"max_tokens": 12, "temperature": 0}
    verdicts = verified(tmp_path, trust, got, prompt=ASK, answer=text, parameters=parameters)
    proved = ["log", "prompt", "answer", "parameters", "load", "policy", "configuration"]
    assert [verdicts[name] for name in proved] == ["proved"] * 7, verdicts
    assert (verdicts["node"], verdicts["hardware"], verdicts["admission"]) == ("asserted", "unknown", "asserted")
    assert verified(tmp_path, trust, got, answer=json.loads(raw.content))["answer"] == "proved"
    assert verified(tmp_path, trust, got, answer=f"{text} Yes.")["answer"] == "refuted"


def test_an_auditor_follows_a_log_at_the_gateways_port_with_a_key_of_their_own(
    client: OpenAI, installation: Installation
) -> None:
    raw = client.chat.completions.with_raw_response.create(model=CHAT, messages=ASK, max_tokens=2)
    entry = json.loads(receipt(installation, raw.headers["fastness-receipt"]).json()["entry"])
    key = installation.run("keys", "create", "--role", "auditor", "--name", "audit-office", "--quiet").stdout.strip()
    root = f"{installation.base_url.removesuffix('/v1')}/ledger/{LOG}"
    with httpx.Client(headers={"authorization": f"Bearer {key}"}, timeout=30) as auditor:
        size = int(auditor.get(f"{root}/checkpoint").text.splitlines()[1])
        number, place = divmod(entry["index"], 256)
        width = min(256, size - 256 * number)
        name = f"{number:03d}" + (f".p/{width}" if width < 256 else "")
        lines = entries_of(auditor.get(f"{root}/tile/entries/{name}").content)
        hashes = auditor.get(f"{root}/tile/0/{name}").content
    assert json.loads(lines[place]) == entry
    assert [hashes[at : at + 32] for at in range(0, len(hashes), 32)] == [leaf_hash(line) for line in lines]
    assert httpx.get(f"{root}/checkpoint").status_code == 401


@pytest.mark.parametrize("n", [1, 2])
def test_a_stream_is_proved_from_what_its_chunks_brought(
    client: OpenAI, installation: Installation, trust: Path, tmp_path: Path, n: int
) -> None:
    texts = [""] * n
    with client.chat.completions.with_streaming_response.create(
        model=CHAT, messages=ASK, max_tokens=12, stream=True, n=n
    ) as raw:
        receipt_id = raw.headers["fastness-receipt"]
        for chunk in raw.parse():
            for choice in chunk.choices:
                texts[choice.index] += choice.delta.content or ""
    said = {"choices": [{"message": {"content": text}} for text in texts]}
    got = receipt(installation, receipt_id)
    assert len(got.content) <= 4_096
    verdicts = verified(tmp_path, trust, got, prompt=ASK, answer=said)
    assert verdicts["answer"] == verdicts["prompt"] == verdicts["log"] == "proved", verdicts


def test_another_program_checks_it_from_the_bytes_that_were_sent(installation: Installation, trust: Path) -> None:
    """Go's libraries for transparency logs and its cryptography; nothing of ours but the format of a receipt."""
    require_program()
    body = json.dumps({"model": CHAT, "messages": ASK, "max_tokens": 8}).encode()
    said = httpx.post(
        f"{installation.base_url}/chat/completions",
        headers={"authorization": f"Bearer {installation.admin_key}", "content-type": "application/json"},
        content=body,
        timeout=120,
    )
    whole = receipt(installation, said.headers["fastness-receipt"]).json()
    keys = [line.split()[1] for line in trust.read_text().splitlines() if line.startswith("log ")]
    (key,) = (one for one in keys if one.split("+")[0].endswith(f"/{LOG}") and len(one) < 400)
    answers = [{"content": one["message"]["content"]} for one in said.json()["choices"]]
    given = {"request": b64encode(body).decode(), "messages": ASK, "answers": answers}

    found = ask("receipt", receipt=whole, keys=[key], **given)

    assert (found["Bound"], found["Head"]["Signed"]) == (["request", "prompt", "answer"], [key.split("+")[0]])
    with pytest.raises(Refused, match="proof"):
        ask("receipt", receipt={**whole, "entry": whole["entry"].replace(CHAT, "another")}, keys=[key], **given)


def test_completions_and_embeddings_have_receipts_too(
    client: OpenAI, installation: Installation, trust: Path, tmp_path: Path
) -> None:
    raw = client.completions.with_raw_response.create(model=CHAT, prompt="Once upon", max_tokens=6)
    got = receipt(installation, raw.headers["fastness-receipt"])
    verdicts = verified(tmp_path, trust, got, prompt="Once upon", answer=raw.parse().choices[0].text)
    assert verdicts["answer"] == verdicts["prompt"] == "proved"
    vectors = client.embeddings.with_raw_response.create(model=EMBEDDING, input=["a", "b"])
    got = receipt(installation, vectors.headers["fastness-receipt"])
    verdicts = verified(tmp_path, trust, got, prompt=["a", "b"], answer=vectors.content.decode())
    assert verdicts["answer"] == verdicts["prompt"] == "proved"


def test_nobody_but_the_tenant_gets_it_and_nobody_learns_that_it_is_there(
    client: OpenAI, installation: Installation
) -> None:
    raw = client.chat.completions.with_raw_response.create(model=CHAT, messages=ASK, max_tokens=2)
    receipt_id = raw.headers["fastness-receipt"]
    installation.run("tenants", "create", "strangers")
    made = installation.run("keys", "create", "--tenant", "strangers", "--name", "k", "--json")
    key = json.loads(made.stdout)["key"]
    answers = [
        receipt(installation, one, key=key)
        for one in (receipt_id, f"{LOG}.{'0' * 32}", "gateway-9." + "0" * 32, "node." + "0" * 32, "nonsense", "..%2f")
    ]
    assert {one.status_code for one in answers} == {404}
    assert len({one.json()["error"]["message"].replace(one.url.path.rpartition("/")[2], "ID") for one in answers}) <= 2
    assert receipt(installation, receipt_id).status_code == 200
    wrong = httpx.get(f"{installation.base_url}/receipts/{receipt_id}", timeout=30)
    assert wrong.status_code == 401


def test_a_refusal_has_one_as_well(installation: Installation, trust: Path, tmp_path: Path) -> None:
    said = httpx.post(
        f"{installation.base_url}/chat/completions",
        headers={"authorization": f"Bearer {installation.admin_key}"},
        json={"model": "no-such-model", "messages": ASK},
        timeout=30,
    )
    assert said.status_code == 404
    verdicts = verified(tmp_path, trust, receipt(installation, said.headers["fastness-receipt"]))
    assert verdicts["log"] == verdicts["outcome"] == "proved"
