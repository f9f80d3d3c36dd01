"""Descriptors that a sealed program keeps: files of which it can change nothing, and nothing else."""

from __future__ import annotations

import fcntl
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fastness.perimeter.local import LocalPerimeter
from fastness.perimeter.port import Confinement
from fastness.perimeter.seal import EXIT_STATUS

PYTHON = (sys.executable, "-I", "-S", "-c")
READ = "import os, sys; print(os.pread(int(sys.argv[1]), 99, 0).decode())"
WEIGHTS = b"weights that were admitted"


@pytest.fixture
def confined(tmp_path: Path) -> Confinement:
    own = tmp_path / "own"
    own.mkdir()
    return Confinement((), (own,), 512 << 20, open_files_max=32)


@pytest.fixture
def memory() -> Iterator[int]:
    descriptor = os.memfd_create("weights", os.MFD_ALLOW_SEALING | os.MFD_CLOEXEC)
    os.write(descriptor, WEIGHTS)
    yield descriptor
    os.close(descriptor)


def run(confinement: Confinement, code: str, *passed: int) -> subprocess.CompletedProcess[str]:
    argv = LocalPerimeter().sealed_argv((*PYTHON, code, *map(str, passed)), confinement)
    return subprocess.run(
        argv, pass_fds=passed, capture_output=True, text=True, timeout=30, check=False, stdin=subprocess.DEVNULL
    )


def seal_against_change(descriptor: int) -> None:
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)


def test_a_sealed_memory_file_that_is_named_can_be_read_inside(confined: Confinement, memory: int) -> None:
    seal_against_change(memory)
    done = run(replace(confined, descriptors=(memory,)), READ, memory)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(WEIGHTS.decode())


def test_a_sealed_memory_file_cannot_be_written_inside(confined: Confinement, memory: int) -> None:
    seal_against_change(memory)
    write = "import os, sys; os.pwrite(int(sys.argv[1]), b'x', 0)"
    done = run(replace(confined, descriptors=(memory,)), write, memory)
    assert "PermissionError" in done.stderr
    assert os.pread(memory, 99, 0) == WEIGHTS


def test_a_file_opened_for_reading_is_kept(confined: Confinement, tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(WEIGHTS)
    with (tmp_path / "weights").open("rb") as file:
        done = run(replace(confined, descriptors=(file.fileno(),)), READ, file.fileno())
    assert done.stdout.startswith(WEIGHTS.decode()), done.stderr


def test_what_is_not_named_is_closed_although_it_was_passed_on(confined: Confinement, memory: int) -> None:
    seal_against_change(memory)
    second = os.open("/dev/null", os.O_RDONLY)
    try:
        done = run(replace(confined, descriptors=(memory,)), READ, second, memory)
    finally:
        os.close(second)
    assert "Bad file descriptor" in done.stderr


def test_a_memory_file_that_could_be_cut_off_is_refused(confined: Confinement, memory: int) -> None:
    fcntl.fcntl(memory, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)
    assert run(replace(confined, descriptors=(memory,)), READ, memory).returncode == EXIT_STATUS


def test_a_memory_file_that_can_still_be_written_is_refused(confined: Confinement, memory: int) -> None:
    done = run(replace(confined, descriptors=(memory,)), READ, memory)
    assert done.returncode == EXIT_STATUS
    assert "layer `descriptors`: EACCES" in done.stderr
    assert "can be written" in done.stderr


def test_a_file_open_for_writing_is_refused(confined: Confinement, tmp_path: Path) -> None:
    with (tmp_path / "weights").open("wb") as file:
        done = run(replace(confined, descriptors=(file.fileno(),)), READ, file.fileno())
    assert (done.returncode, "can be written" in done.stderr) == (EXIT_STATUS, True)


@pytest.mark.parametrize("family", [socket.AF_UNIX, socket.AF_INET])
def test_a_socket_is_refused_whatever_its_family(confined: Confinement, family: int) -> None:
    with socket.socket(family) as speaker:
        done = run(replace(confined, descriptors=(speaker.fileno(),)), READ, speaker.fileno())
    assert done.returncode == EXIT_STATUS
    assert "is not a file" in done.stderr


def test_a_directory_is_refused(confined: Confinement, tmp_path: Path) -> None:
    directory = os.open(tmp_path, os.O_RDONLY)
    try:
        done = run(replace(confined, descriptors=(directory,)), READ, directory)
    finally:
        os.close(directory)
    assert (done.returncode, "is not a file" in done.stderr) == (EXIT_STATUS, True)


def test_a_descriptor_that_is_not_open_is_refused(confined: Confinement) -> None:
    done = run(replace(confined, descriptors=(77,)), READ)
    assert done.returncode == EXIT_STATUS
    assert "layer `descriptors`: EBADF" in done.stderr
