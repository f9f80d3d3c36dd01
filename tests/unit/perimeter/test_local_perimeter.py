"""What the launcher is told, and what every sealed process may read."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from fastness.perimeter.bounds import Bounds, read_bounds, write_bounds
from fastness.perimeter.local import LocalPerimeter
from fastness.perimeter.port import Confinement, Perimeter, ProbeReport, ProbeResult
from fastness.perimeter.system import system_readable

CONFINEMENT = Confinement((Path("/models/a.gguf"),), (Path("/run/a"),), 1 << 30, 128, processes_max=99)


def told(argv: tuple[str, ...]) -> Bounds:
    at = argv.index("--")
    return read_bounds(argv[at - 1], argv[at + 1])


def test_the_local_perimeter_is_a_perimeter() -> None:
    perimeter: Perimeter = LocalPerimeter()
    assert perimeter.sealed_argv(("/bin/true",), CONFINEMENT)[0] == sys.executable


def test_the_program_and_its_arguments_follow_the_dashes() -> None:
    argv = LocalPerimeter().sealed_argv(("/bin/echo", "--", "two words"), CONFINEMENT)
    assert argv[argv.index("--") + 1 :] == ("/bin/echo", "--", "two words")


def test_the_launcher_runs_isolated_and_without_site_packages() -> None:
    assert LocalPerimeter("/usr/bin/python3").sealed_argv(("/bin/true",), CONFINEMENT)[:4] == (
        "/usr/bin/python3",
        "-I",
        "-S",
        "-c",
    )


def test_bounds_are_what_was_asked_with_the_system_s_files_and_the_null_device() -> None:
    bounds = told(LocalPerimeter().sealed_argv(("/bin/true",), CONFINEMENT))
    assert bounds.readable == ("/models/a.gguf", *map(str, system_readable()))
    assert bounds.writable == ("/run/a", "/dev/null")
    assert (bounds.memory_bytes_max, bounds.open_files_max, bounds.processes_max) == (1 << 30, 128, 99)
    assert (bounds.program, bounds.parent_pid, bounds.unsealed) == ("/bin/true", os.getpid(), False)


def test_a_relative_path_is_refused() -> None:
    with pytest.raises(ValueError, match="came true"):
        LocalPerimeter().sealed_argv(("true",), CONFINEMENT)
    with pytest.raises(ValueError, match="came models"):
        LocalPerimeter().sealed_argv(("/bin/true",), Confinement((Path("models"),), (), 1, 1))


def test_nobodys_secrets_are_readable_for_every_sealed_process() -> None:
    paths = system_readable()
    private = ("/etc", "/proc", "/proc/self", "/tmp", "/var", "/run", "/home", "/root", "/", "/usr", "/sys", "/dev")
    assert not {Path(path) for path in private} & set(paths)
    assert not any(Path("/etc/passwd").is_relative_to(path) for path in paths)
    assert not any(Path.home().is_relative_to(path) for path in paths)
    assert all(path.is_absolute() and path.exists() for path in paths)


def test_no_readable_path_lies_within_another() -> None:
    paths = system_readable()
    assert not [(one, two) for one in paths for two in paths if one in two.parents]


def test_what_python_is_made_of_is_readable() -> None:
    for module in ("json", "fastness.perimeter.launch", "msgspec"):
        origin = __import__("importlib.util").util.find_spec(module).origin
        assert any(Path(origin).is_relative_to(path) for path in system_readable()), module


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("readable", ["relative"], "absolute paths"),
        ("readable", "text", "absolute paths"),
        ("writable", [1], "absolute paths"),
        ("memory_bytes_max", 0, "positive whole number"),
        ("open_files_max", True, "positive whole number"),
        ("processes_max", 1.5, "positive whole number"),
        ("parent_pid", "1", "positive whole number"),
        ("unsealed", 1, "true or false"),
        ("descriptors", 5, "numbers above 2"),
        ("descriptors", [2], "numbers above 2"),
        ("descriptors", [True], "numbers above 2"),
        ("surprise", 1, "surprise"),
    ],
)
def test_a_confinement_that_is_not_exact_is_refused(field: str, value: object, said: str) -> None:
    tree = json.loads(write_bounds(CONFINEMENT, 7)) | {field: value}
    with pytest.raises(ValueError, match=said):
        read_bounds(json.dumps(tree), "/bin/true")


@pytest.mark.parametrize("text", ["", "[]", "null", "{}", "{"])
def test_what_is_not_a_confinement_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the JSON reader's message or ours
        read_bounds(text, "/bin/true")


def test_a_report_counts_what_got_through() -> None:
    held = ProbeResult("a", "files", "read a", refused=True, answer="EACCES")
    leaked = ProbeResult("b", "files", "read b", refused=False, answer="allowed")
    report = ProbeReport((held, leaked), 0.1)
    assert report.passed == (leaked,)
    assert report.summary() == "2 probes, 1 passed"
