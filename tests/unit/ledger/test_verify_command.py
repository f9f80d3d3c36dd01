"""`fastness verify` says what the file says that is carried away, and ends as it does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import typer

from fastness.cli.outcome import ExitCode, Failure
from fastness.cli.verify import verify
from fastness.ledger import verify_alone
from receipt_world import ANSWER_TEXT, BODY, PROMPT_TEXT, World, made_world


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> World:
    return made_world(tmp_path_factory.mktemp("world"), answers=9)


@pytest.fixture
def files(tmp_path, world) -> dict[str, Path]:
    content = {
        "file": world.receipt(7), "trust": world.trust().encode(), "prompt": PROMPT_TEXT.encode(), "request": BODY,
        "answer": ANSWER_TEXT.encode(), "parameters": b'{"temperature": 0, "max_tokens": 9}',
    }  # fmt: skip
    for name, one in content.items():
        (tmp_path / name).write_bytes(one)
    return {name: tmp_path / name for name in content}


def ended(**asked: Any) -> int:
    try:
        verify(**asked)
    except typer.Exit as ended:
        return ended.exit_code
    return 0


def alone(files: dict[str, Path], *more: str) -> int:
    options = [word for name, path in files.items() if name != "file" for word in (f"--{name}", str(path))]
    return verify_alone.main([str(files["file"]), *options, *more])


@pytest.mark.parametrize("given", ["prompt", "answer", "request", "parameters", "trust", "all"])
def test_it_says_the_same_and_ends_alike(files, capsys, given) -> None:
    asked = files if given == "all" else {name: files[name] for name in {"file", "trust", given}}
    code = ended(**asked)
    said = capsys.readouterr().out
    assert (alone(asked), capsys.readouterr().out) == (code, said) and code == 0
    assert ended(**asked, as_json=True) == 0
    claims = json.loads(capsys.readouterr().out)["claims"]
    assert alone(asked, "--json") == 0
    assert json.loads(capsys.readouterr().out) == claims


def test_what_is_refuted_ends_with_1_and_what_is_not_proved_with_6(files, capsys) -> None:
    assert ended(file=files["file"]) == 6
    assert "   (the log's key came with the receipt" in capsys.readouterr().out
    for name in ("prompt", "answer", "request", "parameters"):
        assert ended(file=files["file"], trust=files["trust"], **{name: files["trust"]}) == 1
        lines = capsys.readouterr().out.splitlines()
        assert lines[1] == f"refuted   the {name} is not the one that you gave, or not to the letter"


def test_what_cannot_be_read_is_a_wrong_use(files, tmp_path) -> None:
    for asked, why in (
        ({"file": files["answer"]}, "It cannot be read: the receipt is not a JSON object: "),
        ({"file": tmp_path / "none"}, "It cannot be read: [Errno 2]"),
        ({"file": files["file"], "bundle": files["file"]}, "It cannot be read: the bundle lacks something"),
    ):
        with pytest.raises(Failure) as told:
            verify(**asked)
        assert told.value.exit_code == ExitCode.USAGE and str(told.value).startswith(why)
    with pytest.raises(Failure) as told:
        verify()
    assert str(told.value) == "Nothing to verify was named." and told.value.exit_code == ExitCode.USAGE
    assert told.value.hint == "fastness verify receipt.json --trust trust.txt"


def test_the_file_that_is_carried_away_is_the_one_that_verifies_here(files, tmp_path, capsys) -> None:
    copy = tmp_path / "carried.py"
    verify(file=tmp_path / "none", copy_to=copy)
    assert copy.read_bytes() == Path(verify_alone.__file__).read_bytes()
    said = f"{copy} needs Python and the package `cryptography`, and nothing else: python {copy} --help\n"
    assert capsys.readouterr() == ("", said)
    verify(copy_to=copy, quiet=True)
    assert capsys.readouterr() == ("", "")
