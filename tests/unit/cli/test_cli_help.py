"""Every verb explains itself: examples first, options told, and the reference page in step."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from fastness.cli.app import ORDER, build_app
from fastness.cli.reference import cli_reference

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs/reference/cli.md"
HEAVY = {"httpx", "rich", "asyncio", "msgspec", "sqlalchemy", "starlette", "uvicorn", "uvloop", "fastness.control"}


def verbs(command=None, path=()):
    command = command or typer.main.get_command(build_app(None))
    for name, verb in command.commands.items():
        if hasattr(verb, "commands"):
            yield from verbs(verb, (*path, name))
        elif not verb.hidden:
            yield (*path, name)


@pytest.mark.parametrize("path", sorted(verbs()), ids=" ".join)
def test_help_leads_with_two_examples_and_every_verb_has_json_and_quiet(fastness, path):
    said = fastness.ok(*path, "--help")
    assert fastness.ok(*path, "-h") == said
    lines = said.splitlines()
    assert lines[0] == "Examples:"
    noun, act = path[0], path[-1]
    assert all(f"fastness {noun}" in line for line in lines[1:3])
    assert any(f"fastness {noun} {act}" in line or noun == act for line in lines[1:3])
    assert lines[3] == ""
    assert lines[4].startswith("Usage: ")
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


@pytest.mark.parametrize(("typo", "meant"), [("modelz", "models"), ("tenant", "tenants"), ("pss", "ps")])
def test_a_mistyped_verb_is_told_what_was_meant(fastness, typo, meant):
    result = fastness(typo)
    assert result.exit_code == 2
    assert f"Did you mean '{meant}'" in result.stderr


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


SHOWN = re.compile(r"""(?:^|[$( ]) ?fastness( (?:'[^']*'|"[^"]*"|[^'"|<>&)#])*)""")


def shown_commands():
    """Every `fastness …` in a code block of the documentation, with the page it is on."""
    for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]:
        for block in re.findall(r"```(?:console|bash|sh)\n(.*?)```", page.read_text(), re.DOTALL):
            for line in block.splitlines():
                for text in SHOWN.findall(line):
                    yield page.name, text


def can_be_given(command, text):
    words = shlex.split(text)
    while hasattr(command, "commands") and words:
        name = words.pop(0)
        if name not in command.commands:
            return f"there is no {name!r}"
        command = command.commands[name]
    try:
        if not hasattr(command, "commands"):
            command.make_context("fastness", words).close()
    except Exception as error:
        return str(error)
    return None


def test_every_command_that_documentation_shows_can_be_given(fastness):
    shown, command = set(shown_commands()), typer.main.get_command(fastness.app)
    assert len(shown) > 30
    wrong = [f"{page}: fastness{text}: {why}" for page, text in shown if (why := can_be_given(command, text))]
    assert not wrong
