"""Files and batches through the official SDK, on a real installation with real models."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest
from openai import OpenAI
from openai.types import Batch

from installation import CHAT, EMBEDDING, Installation, eventually, start, stop

pytestmark = pytest.mark.slow

ENDED = {"completed", "failed", "expired", "cancelled"}
SECRET = "the ferry to Applecross sank on a Tuesday"


def chat_line(name: str, text: str, **more: object) -> dict[str, object]:
    body = {"model": CHAT, "messages": [{"role": "user", "content": text}], "max_tokens": 4, "temperature": 0, **more}
    return {"custom_id": name, "method": "POST", "url": "/v1/chat/completions", "body": body}


def embedding_line(name: str, text: str) -> dict[str, object]:
    return {"custom_id": name, "method": "POST", "url": "/v1/embeddings", "body": {"model": EMBEDDING, "input": text}}


def upload(client: OpenAI, lines: list[dict[str, object]], name: str = "lines.jsonl", **more):
    content = "\n".join(json.dumps(line) for line in lines).encode()
    return client.files.create(file=(name, content), purpose="batch", **more)


def submit(client: OpenAI, lines: list[dict[str, object]], **more) -> Batch:
    endpoint = lines[0]["url"]
    made = upload(client, lines)
    return client.batches.create(input_file_id=made.id, endpoint=endpoint, completion_window="24h", **more)


def ended(client: OpenAI, batch: Batch, limit_s: float = 40.0) -> Batch:
    def over() -> Batch | None:
        found = client.batches.retrieve(batch.id)
        return found if found.status in ENDED else None

    return eventually(over, f"{batch.id} ends", limit_s, 0.2)


def results(client: OpenAI, file: str | None) -> dict[str, dict]:
    assert file is not None
    lines = [json.loads(line) for line in client.files.content(file).read().splitlines()]
    found = {line["custom_id"]: line for line in lines}
    assert len(found) == len(lines), "a line was answered twice"
    return found


def test_a_batch_of_chats_is_answered_line_by_line(client):
    lines = [chat_line(f"chat-{number}", f"Say the number {number}.") for number in range(9)]
    lines.append(chat_line("refused", "Hello", n=10_000))
    made = upload(client, lines, expires_after={"anchor": "created_at", "seconds": 3_600})
    assert (made.object, made.purpose, made.filename) == ("file", "batch", "lines.jsonl")
    assert made.expires_at == made.created_at + 3_600
    batch = client.batches.create(
        input_file_id=made.id, endpoint="/v1/chat/completions", completion_window="24h", metadata={"for": "a test"}
    )
    assert (batch.object, batch.status, batch.metadata) == ("batch", "validating", {"for": "a test"})

    done = ended(client, batch)

    assert done.status == "completed", done
    assert done.request_counts is not None
    assert (done.request_counts.total, done.request_counts.completed, done.request_counts.failed) == (10, 9, 1)
    assert done.created_at <= done.in_progress_at <= done.finalizing_at <= done.completed_at <= done.expires_at
    answers = results(client, done.output_file_id)
    assert answers.keys() == {f"chat-{number}" for number in range(9)}
    for line in lines[:9]:
        direct = client.chat.completions.create(**line["body"])
        response = answers[line["custom_id"]]["response"]
        assert response["status_code"] == 200
        assert response["request_id"].startswith("req_")
        assert response["body"]["choices"][0]["message"]["content"] == direct.choices[0].message.content
        assert answers[line["custom_id"]]["error"] is None
    refused = results(client, done.error_file_id)["refused"]["response"]
    assert (refused["status_code"], refused["body"]["error"]["code"]) == (400, "limit_exceeded")


def test_a_batch_of_embeddings_gives_the_vectors_that_were_asked_for(client):
    lines = [embedding_line(f"text-{number}", f"a sentence about {number} ferries") for number in range(10)]
    done = ended(client, submit(client, lines))
    assert (done.status, done.error_file_id) == ("completed", None)
    answers = results(client, done.output_file_id)
    for line in lines:
        vector = answers[line["custom_id"]]["response"]["body"]["data"][0]["embedding"]
        direct = client.embeddings.create(**line["body"], encoding_format="float").data[0].embedding
        assert sum((one - other) ** 2 for one, other in zip(vector, direct, strict=True)) < 1e-6


def test_a_file_with_lines_that_are_no_requests_fails_and_says_which(client):
    lines = [chat_line("one", "Hello"), chat_line("one", "Hello"), embedding_line("two", "Hello")]
    done = ended(client, submit(client, lines))
    assert done.status == "failed"
    assert [(error.line, error.code) for error in done.errors.data] == [
        (2, "duplicate_custom_id"),
        (3, "mismatched_url"),
    ]
    assert (done.output_file_id, done.error_file_id) == (None, None)


def test_files_are_listed_page_by_page_read_back_and_deleted(client):
    made = [upload(client, [chat_line("one", "Hello")], f"page-{number}.jsonl") for number in range(3)]
    assert client.files.retrieve(made[0].id).filename == "page-0.jsonl"
    assert json.loads(client.files.content(made[1].id).read())["custom_id"] == "one"
    page = client.files.list(limit=2, purpose="batch", order="desc")
    assert page.has_more
    assert {one.id for one in client.files.list(limit=2)} >= {one.id for one in made}, "the SDK follows all pages"
    assert client.files.delete(made[0].id).deleted
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(made[0].id)
    with pytest.raises(openai.BadRequestError, match="Send purpose='batch'"):
        client.files.create(file=("a.txt", b"text"), purpose="user_data")


def test_a_batch_can_be_cancelled_and_its_lines_are_all_accounted_for(installation, client):
    lines = [chat_line(f"long-{number}", "Tell me a story.", max_tokens=400) for number in range(40)]
    batch = submit(client, lines)
    eventually(lambda: client.batches.retrieve(batch.id).status == "in_progress", "it begins")
    with pytest.raises(openai.ConflictError, match="cancel it"):
        client.files.delete(batch.input_file_id)
    listed = json.loads(installation.run("batches", "--tenant", "default", "--json").stdout)["batches"]
    assert batch.id in {one["id"] for one in listed}
    other = client.batches.create(
        input_file_id=batch.input_file_id, endpoint="/v1/chat/completions", completion_window="24h"
    )
    assert client.batches.cancel(batch.id).status == "cancelling"
    assert installation.run("batches", "cancel", other.id, "--yes").returncode == 0
    assert ended(client, other).status == "cancelled"
    done = ended(client, batch)
    assert done.status == "cancelled"
    left = results(client, done.error_file_id)
    answered = results(client, done.output_file_id) if done.output_file_id else {}
    assert left.keys() | answered.keys() == {line["custom_id"] for line in lines}
    assert not left.keys() & answered.keys()
    assert {one["error"]["code"] for one in left.values()} == {"batch_cancelled"}
    with pytest.raises(openai.ConflictError):
        client.batches.cancel(batch.id)
    assert "cancelled" in installation.run("batches", "show", batch.id).stdout
    files = installation.run("files", "--json").stdout
    assert batch.input_file_id in files
    assert "lines.jsonl" not in files, "what a file is called is its tenant's"


def test_what_is_another_tenants_is_not_there(installation, client):
    assert installation.run("tenants", "create", "elsewhere").returncode == 0
    issued = installation.run("keys", "create", "--tenant", "elsewhere", "--name", "batch", "--json")
    other_key = json.loads(issued.stdout)["key"]
    batch = submit(client, [chat_line("one", "Hello")])
    with installation.client(other_key) as other:
        for ask in (
            lambda: other.files.retrieve(batch.input_file_id),
            lambda: other.files.content(batch.input_file_id),
            lambda: other.files.delete(batch.input_file_id),
            lambda: other.batches.retrieve(batch.id),
            lambda: other.batches.cancel(batch.id),
            lambda: other.batches.create(
                input_file_id=batch.input_file_id, endpoint="/v1/chat/completions", completion_window="24h"
            ),
        ):
            with pytest.raises(openai.NotFoundError):
                ask()
        assert [one.id for one in other.files.list()] == []
        assert [one.id for one in other.batches.list()] == []
    assert ended(client, batch).status == "completed"


def test_a_revoked_key_answers_no_line(installation, client):
    issued = json.loads(installation.run("keys", "create", "--tenant", "default", "--name", "short", "--json").stdout)
    lines = [chat_line(f"line-{number}", "Tell me a story.", max_tokens=12) for number in range(120)]
    with installation.client(issued["key"]) as other:
        batch = submit(other, lines)
        eventually(lambda: other.batches.retrieve(batch.id).request_counts.completed >= 1, "it begins")
    assert installation.run("keys", "revoke", issued["id"], "--yes").returncode == 0
    done = ended(client, batch)
    assert done.status == "completed"
    failed = results(client, done.error_file_id)
    assert {one["response"]["body"]["error"]["code"] for one in failed.values()} == {"revoked_api_key"}
    assert failed.keys() | results(client, done.output_file_id).keys() == {line["custom_id"] for line in lines}


# ---- crashes


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def mortal(home: Path) -> Iterator[Installation]:
    running = start(home)
    yield running
    stop(running)


def test_a_batch_survives_kill_9_of_control_and_of_everything(home, mortal):
    lines = [chat_line(f"line-{number}", f"{SECRET}. Count to {number}.", max_tokens=12) for number in range(40)]
    with mortal.client() as client:
        batch = submit(client, lines)
        eventually(lambda: client.batches.retrieve(batch.id).request_counts.completed >= 3, "some answers")
        os.kill(child_pid(mortal, "control"), signal.SIGKILL)

        def going_on() -> bool:
            try:
                return client.batches.retrieve(batch.id).request_counts.completed >= 6
            except openai.InternalServerError:  # 503 while control is started again; answers are served all the same
                return False

        eventually(going_on, "control is back and goes on", 60, 0.1)
        os.kill(child_pid(mortal, "gateway"), signal.SIGKILL)
    key = mortal.admin_key
    mortal.process.kill()
    mortal.process.wait()
    mortal.process.stdout.close()
    again = start(home)
    try:
        with again.client(key) as client:
            done = ended(client, batch, 60)
            assert done.status == "completed"
            answers = results(client, done.output_file_id)
            assert answers.keys() == {line["custom_id"] for line in lines}
            assert done.error_file_id is None
            assert found_on_disk(home, SECRET) == [], "files are there, and nothing of them is in clear"
            client.files.delete(done.output_file_id)
            client.files.delete(done.input_file_id)
        assert not list((home / "batches").rglob("file-*"))
        assert found_on_disk(home, SECRET) == []
    finally:
        mortal.process = again.process


def child_pid(running: Installation, verb: str) -> int:
    """The child of the supervisor that runs this verb."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == running.process.pid and verb.encode() in (folder / "cmdline").read_bytes().split(b"\0"):
                return int(folder.name)
        except (OSError, ValueError):
            continue
    raise AssertionError(f"no {verb} runs")


def found_on_disk(home: Path, text: str) -> list[str]:
    return [str(path) for path in home.rglob("*") if path.is_file() and text.encode() in path.read_bytes()]
