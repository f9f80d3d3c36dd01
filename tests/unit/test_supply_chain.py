"""What is installed: by hash, within our bounds, and nothing that runs by itself when Python starts."""

from __future__ import annotations

import re
import sysconfig
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))
# setuptools' own, inert since Python 3.12, and our own editable install.
PATH_FILES = re.compile(r"distutils-precedence\.pth|__editable__\.fastness-[\d.]+\.pth|fastness\.egg-link")


def locked(name: str) -> dict[str, Requirement]:
    text = (ROOT / "requirements" / name).read_text()
    lines = re.findall(r"^([A-Za-z0-9][^\\\n]*?) \\$", text, re.MULTILINE)
    return {canonicalize_name(one.name): one for one in map(Requirement, lines)}


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_everything_is_locked_to_one_version_and_its_hashes(lock: Path) -> None:
    blocks = re.split(r"\n(?=\S)", lock.read_text().strip())
    assert blocks[0]
    for block in blocks:
        assert re.match(r"[A-Za-z0-9._-]+==\S+", block), block.splitlines()[0]
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", block), block.splitlines()[0]
    assert "://" not in lock.read_text(), "a lock names versions and hashes, not places"


@pytest.mark.parametrize(
    ("lock", "wanted"),
    [
        (
            "runtime.txt",
            [*PROJECT["project"]["dependencies"], *PROJECT["project"]["optional-dependencies"]["embedded"]],
        ),
        ("postgresql.txt", PROJECT["project"]["optional-dependencies"]["postgresql"]),
        ("pkcs11.txt", PROJECT["project"]["optional-dependencies"]["pkcs11"]),
        ("development.txt", [*PROJECT["project"]["dependencies"], *PROJECT["dependency-groups"]["dev"]]),
    ],
)
def test_the_lock_has_what_the_project_asks_for_within_its_bounds(lock: str, wanted: list[str]) -> None:
    known = locked(lock)
    for text in wanted:
        asked = Requirement(text)
        chosen = known[canonicalize_name(asked.name)]
        (version,) = (one.version for one in chosen.specifier)
        assert asked.specifier.contains(version, prereleases=True), f"{text} but {version} is locked: make lock"


@pytest.mark.parametrize("extra", ["postgresql", "pkcs11"])
def test_an_extra_of_its_own_changes_nothing_that_is_locked_for_all(extra: str) -> None:
    text = (ROOT / f"requirements/{extra}.in").read_text()
    asked = [line for line in text.splitlines() if not line.startswith("#")]
    assert asked == PROJECT["project"]["optional-dependencies"][extra]
    runtime = locked("runtime.txt")
    for name, one in locked(f"{extra}.txt").items():
        assert name not in runtime or runtime[name].specifier == one.specifier


def test_tests_run_with_the_versions_that_users_get() -> None:
    runtime, development = locked("runtime.txt"), locked("development.txt")
    assert {name: str(one.specifier) for name, one in runtime.items()} == {
        name: str(development[name].specifier) for name in runtime
    }


def test_no_installed_distribution_runs_code_when_python_starts() -> None:
    """How LiteLLM 1.82.7 stole secrets: a .pth file whose lines Python executes at every start."""
    found = {file.name for file in Path(sysconfig.get_path("purelib")).glob("*.pth")}
    assert [name for name in found if not PATH_FILES.fullmatch(name)] == []
    assert not list(Path(sysconfig.get_path("purelib")).glob("sitecustomize*"))
    assert not list(Path(sysconfig.get_path("purelib")).glob("usercustomize*"))
