"""docs/how-to/answer-a-subject-access-request.md, line by line on a real installation, by two people, and timed."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from openai import OpenAI

from fastness.ledger.stored_log import StoredLog
from installation import CHAT, FASTNESS, Installation, eventually, start, stop
from killing import forget

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

PAGE = Path(__file__).parents[2] / "docs/how-to/answer-a-subject-access-request.md"
CITIZEN = "case-7781"
QUESTION = "Which documents do I need for a new passport?"
_CHANGING = re.compile(r"disc_[0-9a-f]{20}|req_[0-9a-f]{32}|key_\w{16}|[0-9a-f]{64}")


def steps() -> list[tuple[str, str, list[str]]]:
    """Who gives which command, and what it prints, as the page has it."""
    block = "\n".join(re.findall(r"^```console\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE))
    found: list[tuple[str, str, list[str]]] = []
    for line in block.splitlines():
        if given := re.match(r"(ann|bob|ops)\$ (.*)", line):
            found.append((given[1], given[2], []))
        elif line.strip():
            found[-1][2].append(line)
    return found


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Installation]:
    home = tmp_path / "fastness"
    home.mkdir()
    running = start(home, environ={"FASTNESS__ENGINE__EMBEDDING_MODEL": ""})
    try:
        yield running
    finally:
        assert stop(running) == 0
        forget(home)


def test_a_citizen_is_answered_and_erased_by_two_people_as_the_page_says(running: Installation, tmp_path: Path) -> None:
    keys: dict[str, str] = {}
    asked: list[tuple[str, str]] = []
    real: dict[str, str] = {}
    printed = ""
    assert len(steps()) > 12
    for who, command, expected in steps():
        for shown, meant in real.items():
            command = command.replace(shown, meant)
        words = shlex.split(command)
        assert words[0] == "fastness"
        words, into = (words[:-2], tmp_path / words[-1]) if words[-2] == ">" else (words, None)
        environ = os.environ | {"FASTNESS_HOME": str(running.home)}
        environ |= {} if who == "ops" else {"FASTNESS_KEY": keys[who]}
        more = ["--json"] if words[1:3] == ["keys", "create"] else []
        began = time.monotonic()
        done = subprocess.run(
            [FASTNESS, *words[1:], *more],
            capture_output=True,
            text=True,
            env=environ,
            cwd=tmp_path,
            timeout=120,
            check=False,
        )
        took_s = time.monotonic() - began
        printed += f"{who}$ {command}\n{done.stdout}{done.stderr}[{took_s:.1f} s]\n"
        assert done.returncode == 0, printed
        if into:
            into.write_text(done.stdout)
        if more:
            keys[words[words.index("--name") + 1]] = json.loads(done.stdout)["key"]
            continue
        heard = done.stdout + done.stderr
        real |= dict(zip(_named(expected), _named(heard.splitlines()), strict=False))
        for line in expected:
            missing = [word for word in re.findall(r"[A-Za-z]{4,}", _CHANGING.sub("", line)) if word not in heard]
            assert not missing, (line, missing, heard)
        if words[1:3] == ["retention", "set"]:
            asked = ask_as_a_service(running)
    print(printed)
    assert QUESTION in printed
    shredded = json.loads((tmp_path / "certificate.json").read_text())["body"]
    assert (shredded["requests_total"], shredded["opened_after"]) == (2, 0)
    gone = [salts(running, *one).get("gone") for one in asked]
    assert gone == ["shredded", "shredded", None]  # nobody can even confirm a guess of what the citizen was answered


def salts(running: Installation, key: str, receipt: str) -> dict[str, str]:
    found = httpx.get(f"{running.base_url}/receipts/{receipt}", headers={"authorization": f"Bearer {key}"}, timeout=30)
    return dict(found.raise_for_status().json()["salts"])


def ask_as_a_service(running: Installation) -> list[tuple[str, str]]:
    """A service of the department asks twice about the citizen, and once about somebody else.

    Returns its key with the id of each receipt.
    """
    made = running.run("keys", "create", "--tenant", "health", "--name", "service", "--json")
    key, receipts = json.loads(made.stdout)["key"], []
    client = OpenAI(base_url=running.base_url, api_key=key, max_retries=0, timeout=120)
    for citizen, stream in ((CITIZEN, False), (CITIZEN, True), ("case-1", False)):
        raw = client.chat.completions.with_raw_response.create(
            model=CHAT,
            messages=[{"role": "user", "content": QUESTION}],
            max_tokens=8,
            stream=stream,
            safety_identifier=citizen,
        )
        receipts.append((key, raw.headers["fastness-receipt"]))
        if stream:
            assert list(raw.parse())
    client.close()
    log = StoredLog(running.home / "ledger/gateway-0")
    eventually(lambda: log.checkpoint()[1].size >= 3, "the entries are under a checkpoint")
    return receipts


def _named(lines: list[str]) -> list[str]:
    """The ids in what was printed, each once, in their order."""
    return list(dict.fromkeys(found for line in lines for found in _CHANGING.findall(line)))
