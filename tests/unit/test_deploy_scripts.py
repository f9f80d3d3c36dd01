"""Scripts that are shipped: shellcheck has nothing to say, and they name verbs, options and routes that there are."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from fastness.cli.app import build_app

DEPLOY = Path(__file__).parents[2] / "deploy"
SCRIPTS = sorted([*DEPLOY.rglob("*.sh"), *DEPLOY.rglob("*.sbatch")])
SHELLCHECK = Path(sys.executable).with_name("shellcheck")
CALLED = re.compile(r"(?:bin/fastness\"?|^\s*fastness|[;&|(] ?fastness) ([^\n;&|>)]*)", re.MULTILINE)


def relative(path: Path) -> str:
    return str(path.relative_to(DEPLOY))


def verbs() -> Any:
    return typer.main.get_command(build_app(None))  # type: ignore[arg-type]  # no verb is run


@pytest.mark.parametrize("script", SCRIPTS, ids=relative)
def test_a_script_is_one_and_shellcheck_agrees(script: Path) -> None:
    assert subprocess.run(["bash", "-n", script], check=False, timeout=30).returncode == 0
    done = subprocess.run(
        [SHELLCHECK, "--external-sources", script],
        cwd=DEPLOY.parent,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("script", SCRIPTS, ids=relative)
def test_a_script_stops_at_the_first_thing_that_fails_and_can_be_run(script: Path) -> None:
    text = script.read_text()
    if not text.startswith("#!"):
        assert "source" in text.splitlines()[0], "what is only sourced says so"
        return
    assert text.startswith("#!/usr/bin/env bash\n# ")
    assert "\nset -euo pipefail\n" in text
    assert os.access(script, os.X_OK)


@pytest.mark.parametrize("script", SCRIPTS, ids=relative)
def test_every_verb_that_a_script_calls_is_one_with_these_options(script: Path) -> None:
    code = "\n".join(line for line in script.read_text().splitlines() if not re.match(r"\s*(#|export |say )", line))
    for text in CALLED.findall(code):
        command, words = verbs(), text.replace("$what", "keys").split()
        while hasattr(command, "commands") and words and not words[0].startswith("-"):
            assert words[0] in command.commands, f"{relative(script)}: fastness {text}"
            command = command.commands[words.pop(0)]
        if hasattr(command, "commands"):  # a noun alone means its first act
            command = next(iter(command.commands.values()))
        known = {option for param in command.params for option in (*param.opts, *param.secondary_opts)}
        assert {word for word in words if re.match(r"--\w", word)} <= known | {"--version"}, f"fastness {text}"


def test_there_are_scripts() -> None:
    assert {"drills/upgrade.sh", "drills/black-start.sh", "drills/steps.sh"} <= {relative(one) for one in SCRIPTS}
