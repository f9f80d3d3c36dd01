"""The shape of the house: small files, small functions, few dependencies, directions that hold, plain names.

A rule that only a reviewer knows is forgotten in the third month; these are the ones that a program can keep.
"""

from __future__ import annotations

import ast
import re
import statistics
import subprocess
import sys
import tomllib
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = sorted((ROOT / "src/fastness").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())

FILE_LINES_MAX = 400
ONE_FILE, ONE_FILE_LINES_MAX = "src/fastness/ledger/verify_alone.py", 499
"""What an auditor copies away is one file, so it cannot be made two."""
FILE_LINES_MEDIAN_MAX = 110
FILE_LINES_P90_MAX = 300
FUNCTION_LINES_MAX = 60
DEPENDENCIES_MAX = 15
RECIPE_LINES_MAX = 3
VAGUE = {"manager", "managers", "helper", "helpers", "util", "utils", "data", "info", "common", "misc"}
PURE_ROOMS = ("core", "traffic", "scheduling")
IMPURE_MODULES = {"time", "random", "secrets", "uuid", "os", "socket", "asyncio", "threading", "subprocess", "io"}


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


@cache
def lines_of(path: Path) -> int:
    return len(path.read_text().splitlines())


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def functions_of(path: Path) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [node for node in ast.walk(tree_of(path)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def test_no_file_is_longer_than_400_lines() -> None:
    most = {path: ONE_FILE_LINES_MAX if relative(path) == ONE_FILE else FILE_LINES_MAX for path in SOURCE + TESTS}
    too_long = {relative(path): lines_of(path) for path in SOURCE + TESTS if lines_of(path) > most[path]}
    assert not too_long, "a file this long holds two things; make it two files"


def test_most_files_are_short() -> None:
    lengths = [lines_of(path) for path in SOURCE if path.name != "__init__.py"]
    assert statistics.median(lengths) <= FILE_LINES_MEDIAN_MAX
    assert statistics.quantiles(lengths, n=10)[-1] <= FILE_LINES_P90_MAX


def test_no_function_is_longer_than_a_screen() -> None:
    too_long = {
        f"{relative(path)}:{one.name}": one.end_lineno - one.lineno + 1
        for path in SOURCE
        for one in functions_of(path)
        if one.end_lineno and one.end_lineno - one.lineno + 1 > FUNCTION_LINES_MAX
    }
    assert not too_long


def test_the_core_installs_few_packages() -> None:
    assert len(PROJECT["project"]["dependencies"]) <= DEPENDENCIES_MAX


def test_every_dependency_is_bounded_on_both_sides() -> None:
    for dependency in PROJECT["project"]["dependencies"]:
        assert re.fullmatch(r"[a-z\d-]+>=[\d.]+,<\d+", dependency), dependency


def test_imports_go_down_and_never_sideways() -> None:
    program = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(cache_dir=None))"
    run = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stdout


def test_every_package_says_what_it_is_for() -> None:
    packages = [path for path in SOURCE if path.name == "__init__.py"]
    assert [relative(path) for path in packages if not ast.get_docstring(tree_of(path))] == []
    folders = {path.parent for path in SOURCE}
    loose = {relative(folder) for folder in folders - {path.parent for path in packages}}
    assert all("migrations" in folder for folder in loose), (
        "every folder of source is a package, but for what Alembic runs"
    )


def test_no_module_has_a_name_that_could_hold_anything() -> None:
    vague = [relative(path) for path in SOURCE if VAGUE & {path.stem, path.parent.name, *path.stem.split("_")}]
    assert vague == []


def test_no_function_merely_handles() -> None:
    found = [f"{relative(p)}:{one.name}" for p in SOURCE for one in functions_of(p) if re.match("_*handle_", one.name)]
    assert found == [], "say what is done with it"


@pytest.mark.parametrize("room", PURE_ROOMS)
def test_rooms_that_decide_know_no_clock_no_chance_and_no_outside(room: str) -> None:
    for path in SOURCE:
        if path.relative_to(ROOT / "src/fastness").parts[0] != room:
            continue
        for node in ast.walk(tree_of(path)):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            used = {name.partition(".")[0] for name in names} & IMPURE_MODULES
            assert not used, f"{relative(path)} imports {used}: take it as a parameter"
            assert not (isinstance(node, ast.Call) and getattr(node.func, "id", "") == "open"), relative(path)


def test_the_environment_is_read_in_few_places() -> None:
    readers = {
        relative(path)
        for path in SOURCE
        if not relative(path).startswith("src/fastness/main/")  # the composition root
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Attribute)
        and node.attr in ("environ", "getenv")
        and getattr(node.value, "id", "") == "os"
    }
    allowed = {
        "src/fastness/cli/talk.py",  # NO_COLOR and TERM: a matter between a terminal and its user
        "src/fastness/engines/llamacpp/child.py",
        "src/fastness/fleet/ray/courier.py",  # sets what OpenMP reads, in a process of its own
    }
    assert readers <= allowed, "settings come from config, to which main hands the environment"


def test_no_two_test_files_have_the_same_name() -> None:
    counted = Counter(path.name for path in TESTS if path.name != "conftest.py")
    assert [name for name, count in counted.items() if count > 1] == [], "pytest imports them by their bare names"


def test_every_recipe_is_at_most_three_lines() -> None:
    recipes: dict[str, int] = {}
    target = ""
    for line in (ROOT / "Makefile").read_text().splitlines():
        if line.startswith("\t"):
            recipes[target] = recipes.get(target, 0) + 1
        elif re.match(r"^[^\s#].*:", line):
            target = line.partition(":")[0]
    assert recipes
    assert {name: count for name, count in recipes.items() if count > RECIPE_LINES_MAX} == {}


def test_every_target_that_people_use_is_phony() -> None:
    text = (ROOT / "Makefile").read_text()
    phony = set(re.findall(r"^\.PHONY: (.*)$", text, re.MULTILINE)[0].split())
    assert phony == set(re.findall(r"^([a-z-]+):", text, re.MULTILINE))


def test_it_is_free_under_the_mit_licence() -> None:
    text = (ROOT / "LICENSE").read_text()
    assert text.startswith("MIT License")
    assert "WITHOUT WARRANTY OF ANY KIND" in text
    assert PROJECT["project"]["license"] == "MIT"


def test_what_ci_runs_a_user_can_run() -> None:
    commands = [line for line in (ROOT / ".ci/run").read_text().splitlines() if line and not line.startswith("#")]
    assert commands[:3] == ["set -euo pipefail", 'cd "$(dirname "$0")/.."', "make test"]
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for command in commands[3:]:
        words = [word for word in command.split() if not re.fullmatch(r"FASTNESS_TEST_[A-Z_]+=\d+", word)]
        assert words[0] == "make"
        assert set(words[1:]) <= targets, command
