"""The launcher: all layers or none, and what a program finds when it starts sealed."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import IO

import pytest

from fastness.perimeter.local import LocalPerimeter
from fastness.perimeter.port import Confinement
from fastness.perimeter.seal import EXIT_STATUS, LAYERS

PYTHON = (sys.executable, "-I", "-S", "-c")
MIB = 1 << 20


def confined(tmp_path: Path, *, memory_bytes_max: int = 512 * MIB) -> Confinement:
    own = tmp_path / "own"
    own.mkdir(exist_ok=True)
    return Confinement((), (own,), memory_bytes_max, open_files_max=32)


def run(
    argv: tuple[str, ...], *, stdin: int | IO[bytes] = subprocess.DEVNULL, pass_fds: tuple[int, ...] = ()
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        argv,
        stdin=stdin,
        capture_output=True,
        text=True,
        pass_fds=pass_fds,
        timeout=30,
        check=False,
        env={"LANG": "C.UTF-8"},
    )


def sealed(code: str, confinement: Confinement, *arguments: str) -> tuple[str, ...]:
    return LocalPerimeter().sealed_argv((*PYTHON, code, *arguments), confinement)


def ask(path: Path, answers: list[bytes]) -> None:
    """Connect as soon as somebody listens at `path`, and keep the answer; give up after some seconds."""
    deadline = time.monotonic() + 60
    with socket.socket(socket.AF_UNIX) as client:
        while time.monotonic() < deadline:
            try:
                client.connect(str(path))
                answers.append(client.recv(6))
                break
            except (FileNotFoundError, ConnectionRefusedError):
                time.sleep(0.005)


def with_kernel(argv: tuple[str, ...], broken: str) -> tuple[str, ...]:
    """Have the launcher use a kernel (or a layer) that `broken` has changed."""
    bootstrap = argv[4].replace("; sys.exit(", f"\n{broken}\nsys.exit(")
    assert bootstrap != argv[4]
    return (*argv[:4], bootstrap, *argv[5:])


# --- all or none ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layer", [layer.name for layer in LAYERS])
def test_when_a_layer_cannot_be_set_nothing_runs_and_one_line_says_which(layer: str, tmp_path: Path) -> None:
    marker = tmp_path / "own" / "ran"
    argv = sealed("import sys; open(sys.argv[1], 'w')", confined(tmp_path), str(marker))
    broken = f"""
import errno, os
from fastness.perimeter import seal
def fail(*_): raise OSError(errno.EPERM, os.strerror(errno.EPERM))
[layer] = [layer for layer in seal.LAYERS if layer.name == {layer!r}]
layer.enter = fail
"""
    done = run(with_kernel(argv, broken))
    assert done.returncode == EXIT_STATUS == 113
    assert not marker.exists()
    assert len(done.stderr.splitlines()) == 1
    assert f"not sealed, nothing executed: layer `{layer}`: EPERM: Operation not permitted; " in done.stderr


@pytest.mark.parametrize(
    ("call", "number", "layer", "advice"),
    [
        ("unshare", "EPERM", "namespaces", "namespaces"),
        ("unshare", "ENOSPC", "namespaces", "user.max_user_namespaces"),
        ("setrlimit", "EPERM", "limits", "lower those asked for"),
        ("drop_capabilities", "EPERM", "capabilities", "CAP_SETPCAP"),
        ("landlock_abi", "ENOSYS", "files", "Linux 5.13"),
        ("landlock_abi", "ENOTSUP", "files", "lsm="),
        ("landlock_create", "EPERM", "files", "container runtime"),
        ("landlock_restrict", "EPERM", "files", "container runtime"),
        ("install_filter", "EINVAL", "system calls", "CONFIG_SECCOMP_FILTER"),
    ],
)
def test_when_the_kernel_refuses_a_call_the_line_says_what_to_enable(
    call: str, number: str, layer: str, advice: str, tmp_path: Path
) -> None:
    broken = f"""
import errno, os
def refuse(*_): raise OSError(errno.{number}, os.strerror(errno.{number}))
kernel.Kernel.{call} = refuse
"""
    done = run(with_kernel(sealed("print('ran')", confined(tmp_path)), broken))
    assert (done.returncode, done.stdout) == (113, "")
    assert f"layer `{layer}`: {number}: " in done.stderr
    assert advice in done.stderr.partition(number)[2]


def test_a_defect_of_the_launcher_executes_nothing_either(tmp_path: Path) -> None:
    broken = "def fail(*_): raise MemoryError\nkernel.Kernel.landlock_add = fail"
    done = run(with_kernel(sealed("print('ran')", confined(tmp_path)), broken))
    assert (done.returncode, done.stdout) == (113, "")
    assert done.stderr == "fastness: not sealed, nothing executed: MemoryError: \n"


def test_a_path_that_does_not_exist_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "model.gguf"
    done = run(sealed("print('ran')", replace(confined(tmp_path), readable=(missing,))))
    assert (done.returncode, done.stdout) == (113, "")
    assert f"layer `files`: ENOENT: No such file or directory ({missing})" in done.stderr


def test_a_script_cannot_be_sealed_and_the_line_says_why(tmp_path: Path) -> None:
    script = tmp_path / "own" / "script"
    confinement = confined(tmp_path)
    script.write_text("#!/bin/sh\necho ran\n")
    script.chmod(0o700)
    done = run(LocalPerimeter().sealed_argv((str(script),), confinement))
    assert (done.returncode, done.stdout) == (113, "")
    assert "only a 64-bit ELF program can be sealed" in done.stderr


def test_a_program_that_may_not_be_executed_ends_sealed_with_127(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_bytes(Path("/bin/sh").read_bytes())
    program.chmod(0o600)
    done = run(LocalPerimeter().sealed_argv((str(program),), confined(tmp_path)))
    assert done.returncode == 127
    assert done.stderr == f"fastness: sealed, but {program} cannot be executed: Permission denied\n"


def test_a_network_socket_as_standard_input_is_refused(tmp_path: Path) -> None:
    with socket.socket() as network:
        done = run(sealed("print('ran')", confined(tmp_path)), stdin=network.fileno())
    assert (done.returncode, done.stdout) == (113, "")
    assert "layer `descriptors`: EAFNOSUPPORT: descriptor 0 is a socket of family 2" in done.stderr


@pytest.mark.parametrize("unsealed", [False, True])
def test_it_starts_for_the_process_that_asked_for_it_and_for_no_other(unsealed: bool, tmp_path: Path) -> None:
    argv = sealed("print('ran')", replace(confined(tmp_path), unsealed=unsealed))
    done = run(("/bin/sh", "-c", '"$@"; exit $?', "sh", *argv))
    assert (done.returncode, done.stdout) == (113, "")
    assert "layer `lifeline`: ESRCH: the parent is process " in done.stderr
    assert f"not {os.getpid()}" in done.stderr


@pytest.mark.parametrize("broken", ["{}", "[]", "nonsense", '{"readable": ["/"]}'])
def test_a_confinement_that_cannot_be_read_executes_nothing(broken: str, tmp_path: Path) -> None:
    argv = list(sealed("print('ran')", confined(tmp_path)))
    argv[5] = broken
    done = run(tuple(argv))
    assert (done.returncode, done.stdout) == (113, "")
    assert "the confinement cannot be read" in done.stderr


# --- what a sealed program finds -----------------------------------------------------------------------------------


def test_a_sealed_program_has_its_arguments_environment_directory_sockets_and_threads(tmp_path: Path) -> None:
    code = """
import os, socket, sys, threading
os.chdir(sys.argv[1])
os.makedirs("a/b")
open("a/x", "w").write("made")
os.rename("a/x", "a/b/y")
listener = socket.socket(socket.AF_UNIX)
listener.bind("engine.sock")
listener.listen()
threads = [threading.Thread(target=print, args=("thread",)) for _ in range(4)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(os.environ["LANG"], open("a/b/y").read(), sorted(os.listdir(".")), oct(os.stat("a/b/y").st_mode))
connection, _ = listener.accept()
connection.sendall(b"served")
os.remove("a/b/y")
os.rmdir("a/b")
"""
    confinement = confined(tmp_path)
    own = confinement.writable[0]
    answers: list[bytes] = []
    asking = threading.Thread(target=ask, args=(own / "engine.sock", answers))
    asking.start()
    done = run(sealed(code, confinement, str(own)))
    asking.join()
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("thread") == 4
    assert "C.UTF-8 made ['a', 'engine.sock'] 0o100600" in done.stdout
    assert answers == [b"served"]


def test_what_may_be_read_may_not_be_written(tmp_path: Path) -> None:
    model = tmp_path / "model.gguf"
    model.write_bytes(b"weights")
    code = """
import sys
print(open(sys.argv[1], "rb").read())
for mode in ("r+b", "wb", "ab"):
    try:
        open(sys.argv[1], mode)
    except PermissionError:
        print("refused")
"""
    done = run(sealed(code, replace(confined(tmp_path), readable=(model,)), str(model)))
    assert done.stdout == "b'weights'\nrefused\nrefused\nrefused\n"
    assert model.read_bytes() == b"weights"


def test_descriptors_of_the_parent_are_closed(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    code = """
import os
for number in range(3, 1024):
    try:
        os.fstat(number)
    except OSError:
        continue
    print(number)
"""
    try:
        done = run(sealed(code, confined(tmp_path)), pass_fds=(reading, writing))
    finally:
        os.close(reading)
        os.close(writing)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_memory_bound_is_enforced(tmp_path: Path) -> None:
    code = "held = bytearray(int(__import__('sys').argv[1]))"
    fits = run(sealed(code, confined(tmp_path, memory_bytes_max=512 * MIB), str(200 * MIB)))
    exceeds = run(sealed(code, confined(tmp_path, memory_bytes_max=128 * MIB), str(200 * MIB)))
    assert fits.returncode == 0
    assert exceeds.returncode == 1
    assert "MemoryError" in exceeds.stderr


def test_the_bound_on_open_files_is_enforced(tmp_path: Path) -> None:
    code = "held = [open('/dev/null') for _ in range(64)]"
    done = run(sealed(code, confined(tmp_path)))
    assert "Too many open files" in done.stderr


@pytest.mark.parametrize("unsealed", [False, True])
def test_a_crash_leaves_no_core(unsealed: bool, tmp_path: Path) -> None:
    code = "import os, sys; os.chdir(sys.argv[1]); os.abort()"
    confinement = replace(confined(tmp_path), unsealed=unsealed)
    child = subprocess.Popen(sealed(code, confinement, str(confinement.writable[0])), stderr=subprocess.DEVNULL)
    _, status = os.waitpid(child.pid, 0)
    child.returncode = -os.WTERMSIG(status)
    assert os.WTERMSIG(status) == signal.SIGABRT
    assert not os.WCOREDUMP(status)
    assert os.listdir(confinement.writable[0]) == []


def test_a_32_bit_call_is_no_way_around_the_filter(tmp_path: Path) -> None:
    if os.uname().machine != "x86_64":
        pytest.skip("there is no second calling convention on this machine")
    # mov eax, 20 (getpid in the 32-bit table); int 0x80; cdqe; ret
    code = """
import ctypes, mmap
page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
page.write(bytes.fromhex("b814000000cd804898c3"))
call = ctypes.CFUNCTYPE(ctypes.c_long)(ctypes.addressof(ctypes.c_char.from_buffer(page)))
print(call(), flush=True)
"""
    outside = run((*PYTHON, code))
    inside = run(sealed(code, confined(tmp_path)))
    if outside.returncode == -signal.SIGSEGV:
        pytest.skip("this kernel has no 32-bit calls")
    assert int(outside.stdout) > 0
    assert inside.stdout == "-38\n"  # ENOSYS


def test_an_unsealed_program_is_only_limited(tmp_path: Path) -> None:
    code = """
import os, resource, socket
socket.socket().close()
os.listdir("/")
print(resource.getrlimit(resource.RLIMIT_CORE), resource.getrlimit(resource.RLIMIT_AS))
"""
    done = run(sealed(code, replace(confined(tmp_path), unsealed=True)))
    assert (done.returncode, done.stdout) == (0, f"(1, 1) ({512 * MIB}, {512 * MIB})\n")
