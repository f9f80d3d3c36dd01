"""Every verb explains itself: examples first, options told, and the reference page in step."""

import subprocess
import sys
from pathlib import Path

import pytest
import typer

from fastness.cli.app import ORDER, build_app
from fastness.cli.reference import cli_reference

PAGE = Path(__file__).parents[3] / "docs/reference/cli.md"
HEAVY = {"httpx", "rich", "asyncio", "msgspec", "sqlalchemy", "starlette", "uvicorn", "uvloop", "fastness.control"}


def verbs(command=None, path=()):
    command = command or typer.main.get_command(build_app(None))
    for name, verb in command.commands.items():
        if hasattr(verb, "commands"):
            yield from verbs(verb, (*path, name))
        elif not verb.hidden:
            yield (*path, name)


@pytest.mark.parametrize("flag", ["-h", "--help"])
@pytest.mark.parametrize("path", sorted(verbs()), ids=" ".join)
def test_help_leads_with_two_examples_of_that_verb(fastness, path, flag):
    lines = fastness.ok(*path, flag).splitlines()
    assert lines[0] == "Examples:"
    noun, act = path[0], path[-1]
    assert all(f"fastness {noun}" in line for line in lines[1:3])
    assert any(f"fastness {noun} {act}" in line or noun == act for line in lines[1:3])
    assert lines[3] == ""
    assert lines[4].startswith("Usage: ")


@pytest.mark.parametrize("path", sorted(verbs()), ids=" ".join)
def test_every_verb_has_json_and_quiet(fastness, path):
    said = fastness.ok(*path, "--help")
    assert "--json" in said
    assert "--quiet" in said


def test_help_of_all_lists_the_verbs_in_the_order_one_meets_them_each_on_one_whole_line(fastness):
    listed = fastness.ok("--help").partition("Commands:\n")[2].splitlines()
    assert [line.split()[0] for line in listed] == list(ORDER)
    assert all(line.endswith(".") and not line.endswith("...") for line in listed)


def test_the_processes_below_up_are_hidden_but_run(fastness):
    assert fastness("gateway").exit_code == 0
    assert fastness("control").exit_code == 0
    assert fastness.started == ["gateway", "control"]


@pytest.mark.parametrize(("typo", "meant"), [("modles", "models"), ("tenant", "tenants"), ("pss", "ps")])
def test_a_mistyped_verb_is_told_what_was_meant(fastness, typo, meant):
    result = fastness(typo)
    assert result.exit_code == 2
    assert f"Did you mean '{meant}'?" in result.stderr


def test_a_mistyped_act_is_told_what_was_meant(fastness):
    result = fastness("keys", "creat")
    assert result.exit_code == 2
    assert "Did you mean 'create'?" in result.stderr


def test_the_version_is_told(fastness):
    assert fastness.ok("--version").startswith("fastness 0.")


def test_the_reference_page_is_what_the_verbs_say(fastness):
    assert PAGE.read_text() == cli_reference(fastness.app), "write docs/reference/cli.md anew: make docs"


def test_help_loads_nothing_heavy():
    code = "import sys; from fastness.cli.app import build_app; build_app(None); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout.split()
    assert not HEAVY & set(loaded)
