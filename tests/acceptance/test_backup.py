"""Backup and restore as docs/how-to/install-as-a-service.md has them, line by line, on a real installation."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from openai import AuthenticationError, OpenAI

from installation import CHAT, Installation, start, stop
from killing import forget

pytestmark = pytest.mark.slow

PAGE = Path(__file__).parents[2] / "docs/how-to/install-as-a-service.md"
OF_THE_SERVICE = ("systemctl", "install", "chown")
"""What these lines do needs root and a running systemd: the test starts, stops and makes the directory itself."""


def lines_of(section: str) -> list[list[str]]:
    """Return the commands of the first console block of a section, as words."""
    text = PAGE.read_text().partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    block = re.findall(r"^```console\n(.*?)^```", text, re.DOTALL | re.MULTILINE)[0]
    return [shlex.split(line[2:]) for line in block.splitlines()]


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    home = tmp_path / "fastness"
    home.mkdir(mode=0o700)
    yield home
    forget(home)


def follow(section: str, running: Installation) -> dict[str, str]:
    """Do what a section says, up to starting it again; return what each verb printed that was not kept in a file."""
    printed, beside = {}, running.home.parent
    for words in lines_of(section):
        here = [word.replace("/var/lib/fastness", str(running.home)) for word in words]
        if words[0] == "fastness":
            verb, _, target = " ".join(words[1:]).partition(" > ")
            done = running.run(*(str(beside / word) if word.endswith(".txt") else word for word in verb.split()))
            if verb != "ps":  # it is not started by this test
                assert done.returncode == 0, done.stderr
            if target:
                (beside / target).write_text(done.stdout)
            else:
                printed[" ".join(verb.split()[:2])] = done.stdout
        elif words[:2] == ["install", "-d"]:
            running.home.mkdir(mode=0o700)
        elif words[0] not in OF_THE_SERVICE:
            subprocess.run(here, check=True, cwd=beside, timeout=60)
    return printed


def ask(client: OpenAI) -> str | None:
    with client:
        messages = [{"role": "user", "content": "Name three colours."}]
        answer = client.chat.completions.create(model=CHAT, messages=messages, temperature=0, max_completion_tokens=8)  # type: ignore[call-overload]
        return str(answer.choices[0].message.content)


def make_key(running: Installation, name: str) -> str:
    done = running.run("keys", "create", "--tenant", "default", "--name", name, "--quiet")
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_what_was_backed_up_is_restored_and_what_came_later_is_not(home: Path) -> None:
    first = start(home)
    before = make_key(first, "before")
    scaled = first.run("scale", CHAT, "2", "--max", "2")
    assert scaled.returncode == 0, scaled.stderr
    said = ask(first.client(before))
    assert stop(first) == 0
    follow("Back up", first)
    kept = first.run("ledger", "verify", "--json").stdout

    second = start(home)
    later = make_key(second, "later")
    assert stop(second) == 0

    verified = follow("Restore", second)
    assert "Every entry is in its place and unchanged." in verified["ledger verify"]
    assert second.run("ledger", "verify", "--json").stdout == kept
    assert (home.parent / "fastness.before/ledger").exists(), "the record of what was lost"
    assert not (home / "orders.json").exists()

    third = start(home)
    try:
        assert third.admin_key is None, "the keys are those of before, so none is made"
        assert len([one for one in third.replicas() if one["model"] == CHAT]) == 2, "the fleet is the fold of its log"
        assert ask(third.client(before)) == said
        with pytest.raises(AuthenticationError):
            ask(third.client(later))
    finally:
        assert stop(third) == 0
    assert third.run("ledger", "verify").returncode == 0
