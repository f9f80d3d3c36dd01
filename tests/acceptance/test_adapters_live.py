"""An adapter as a user has it: admitted, named in a file, asked, followed by its receipt, and taken back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest

from installation import Installation, eventually, start, stop
from killing import forget
from lora_files import gguf_lora
from ordering import SMALL

pytestmark = pytest.mark.slow
DEPLOYMENT = """
[[deployment]]
name = "chat"
model = "smollm2-135m-instruct"
adapters = ["letters"]

[deployment.parameters]
slots = 1
slot_context_tokens = 512
threads = 1
"""
ASKED = {"messages": [{"role": "user", "content": "What is a harbour?"}], "temperature": 0, "max_tokens": 8}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    installation = start(tmp_path_factory.mktemp("adapters"), environ=SMALL | {"FASTNESS__ENGINE__EMBEDDING_MODEL": ""})
    try:
        yield installation
        assert stop(installation) == 0
    finally:
        forget(installation.home)


def told(installation: Installation, *arguments: str) -> str:
    done = installation.run(*arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def receipt(installation: Installation, name: str) -> bytes:
    answer = httpx.get(
        f"{installation.root}/v1/receipts/{name}",
        params={"chain": "true"},
        headers={"authorization": f"Bearer {installation.admin_key}"},
    )
    return answer.content if answer.status_code == 200 else b""


def test_an_adapter_is_deployed_asked_proved_and_revoked(running: Installation, tmp_path: Path) -> None:
    of = ("--kind", "adapter", "--base", "smollm2-135m-instruct", "--licence", "MIT")
    told(running, "models", "import", str(gguf_lora(tmp_path / "letters.gguf")), *of)
    told(running, "models", "admit", "letters", "--ceiling", "OFFICIAL")
    (tmp_path / "chat.toml").write_text(DEPLOYMENT)
    told(running, "apply", str(tmp_path / "chat.toml"), "--yes")
    assert "With adapters: chat:letters." in running.run("models").stderr

    with running.client() as client:

        def said(model: str) -> str:
            return client.chat.completions.create(model=model, **ASKED).choices[0].message.content or ""

        alone, adapted, again = said("chat"), said("chat:letters"), said("chat")
        assert alone == again != adapted
        raw = client.chat.completions.with_raw_response.create(model="chat:letters", **ASKED)
        name = raw.headers["fastness-receipt"]
        eventually(lambda: receipt(running, name), "the receipt is there")
        (tmp_path / "receipt.json").write_bytes(receipt(running, name))
        claims = [one["text"] for one in json.loads(told_anyhow(running, tmp_path))["claims"]]
        assert any("adapter letters sha256:" in one and "had loaded" in one for one in claims), claims
        assert any("adapter letters sha256:" in one and "was admitted by local" in one for one in claims), claims

        told(running, "models", "revoke", "letters", "--yes")
        eventually(lambda: _is_gone(client), "nobody gets it any more")
        eventually(
            lambda: (
                [one["adapters"] for one in running.replicas() if one["deployment"] == "chat"] == [[]]
                and said("chat") == alone
            ),
            "the model goes on without it",
            60,
        )


def told_anyhow(installation: Installation, folder: Path) -> str:
    """Verify without a key of one's own: then nothing is proved, and the exit code says so."""
    done = installation.run("verify", str(folder / "receipt.json"), "--json")
    assert done.returncode == 6, done.stderr
    claims: str = done.stdout
    return claims


def _is_gone(client: openai.OpenAI) -> bool:
    try:
        client.chat.completions.create(model="chat:letters", **ASKED)
    except openai.NotFoundError:
        return True
    except openai.APIStatusError:
        pass
    return False
