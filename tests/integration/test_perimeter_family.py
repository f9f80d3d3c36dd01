"""The seal of families: what it opens beside the seal of one process, each thing named, and how a family ends."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

import fastness
from fastness.perimeter.local import LocalPerimeter
from fastness.perimeter.port import Confinement, Profile
from fastness.perimeter.probe import PROBES
from fastness.perimeter.proof import prepared_ground, run_probes
from fastness.perimeter.witness import witness

ROOT = str(Path(fastness.__file__).resolve().parents[1])
# Those that would leave are tried first: elsewhere they are not tried once something was allowed.
TRY = (
    f"import sys; sys.path.append({ROOT!r}); from fastness.perimeter import probe; "
    "sys.exit(probe.main(tuple(sorted(probe.PROBES, key=lambda one: not one.leaves))))"
)
PYTHON = (str(Path(sys.executable).resolve()), "-I", "-S", "-c")
GIB = 1 << 30

OPENED = {
    "udp4-loopback": "it may send to its own loopback, where nobody else is",
    "udp6-loopback": "the same",
    "netlink": "it may ask which interfaces there are: one, its own loopback",
    "any-other-family": "that is netlink, once more",
    "start-process": "it has processes",
    "leave-session": "they end with the first, wherever they go",
    "seen-session": "it shares the guard's, which has nothing else in it",
}
"""What a family may and one process may not. docs/explanation/perimeter.md has the same list."""
NOT_THERE = frozenset({"ENOENT", "ESRCH", "ECONNREFUSED"})
"""How it is answered where a single process is refused: what it tries to reach does not exist in its view."""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    own = tmp_path / "own"
    own.mkdir()
    return own


@pytest.fixture
def neighbours(tmp_path: Path) -> Iterator[Path]:
    """A socket of somebody else's in the file system, and one on this machine's loopback, whose port is in a file."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(str(tmp_path / "other.sock"))
        listener.listen()
        tcp = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        (tmp_path / "port").write_text(str(tcp.getsockname()[1]))
        yield tmp_path


def confined(own: Path, **more: object) -> Confinement:
    return replace(Confinement((), (own,), 64 * GIB, 256, profile=Profile.FAMILY), **more)


def started(code: str, confinement: Confinement, *arguments: object) -> subprocess.Popen[str]:
    argv = LocalPerimeter().sealed_argv((*PYTHON, code, *map(str, arguments)), confinement)
    pipe = subprocess.PIPE
    return subprocess.Popen(
        argv, stdout=pipe, stderr=pipe, text=True, pass_fds=confinement.descriptors, start_new_session=True
    )


def said(code: str, confinement: Confinement, *arguments: object) -> str:
    with started(code, confinement, *arguments) as process:
        output, errors = process.communicate(timeout=30)
    assert process.returncode == 0, errors
    return output.strip()


def child_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


def test_it_opens_what_is_listed_and_nothing_else() -> None:
    with prepared_ground() as (ground, confinement):
        family = replace(confinement, profile=Profile.FAMILY)
        argv = LocalPerimeter().sealed_argv((*PYTHON, TRY), family)
        results = run_probes(argv, ground, PROBES, lambda guard: witness(child_of(guard)))
    passed = {one.id: one.answer for one in results if not one.refused and one.answer not in NOT_THERE}
    assert passed.keys() == OPENED.keys(), passed


def test_its_processes_speak_over_a_loopback_that_is_theirs_alone(own: Path, neighbours: Path) -> None:
    code = (
        "import os, socket, sys\n"
        "with socket.create_server(('127.0.0.1', 0)) as mine, socket.create_connection(mine.getsockname()): pass\n"
        "try: socket.create_connection(('127.0.0.1', int(sys.argv[1])), timeout=2)\n"
        "except ConnectionRefusedError: print('nobody there')\n"
        "try: socket.create_connection(('192.0.2.1', 443), timeout=2)\n"
        "except OSError as error: print(error.strerror)\n"
    )
    assert said(code, confined(own), (neighbours / "port").read_text()).splitlines() == [
        "nobody there",
        "Network is unreachable",
    ]


def test_a_socket_of_somebody_else_does_not_exist(own: Path, neighbours: Path) -> None:
    code = (
        "import socket, sys\n"
        "try: socket.socket(socket.AF_UNIX).connect(sys.argv[1])\n"
        "except OSError as error: print(error.errno)\n"
    )
    assert said(code, confined(own), neighbours / "other.sock") == "2", "no such file"


def test_it_sees_its_own_processes_and_no_others(own: Path) -> None:
    code = "import os; print(os.getpid(), sorted(int(n) for n in os.listdir('/proc') if n.isdigit()))"
    assert said(code, confined(own)) == "1 [1]"


def test_the_links_lead_to_descriptors_for_all_of_the_family(own: Path) -> None:
    weights = os.memfd_create("weights", os.MFD_ALLOW_SEALING)
    try:
        os.write(weights, b"verified")
        fcntl.fcntl(weights, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
        os.set_inheritable(weights, True)
        link = own / "model/w"
        links = ((link, Path(f"/proc/self/fd/{weights}")),)
        code = (
            "import os, subprocess, sys\n"
            f"subprocess.run([*{PYTHON!r}, 'import sys; print(open(sys.argv[1]).read())', sys.argv[1]], check=True)\n"
            "try: open(sys.argv[1], 'r+b', 0).write(b'x')\n"
            "except OSError as error: print(error.errno)\n"
            "try: os.symlink('/etc', sys.argv[1] + '2')\n"
            "except OSError as error: print(error.errno)\n"
        )
        confinement = confined(own, links=links, descriptors=(weights,))
        assert said(code, confinement, link).split() == ["verified", str(errno.EPERM), str(errno.ENOSYS)]
    finally:
        os.close(weights)


# The grandchild leaves the session and the group, and its parent is gone: nothing but the namespace holds it.
SCATTERED = (
    "import os, time\n"
    "if os.fork() == 0:\n"
    "    os.setsid()\n"
    "    if os.fork() == 0: time.sleep(60)\n"
    "    os._exit(0)\n"
    "os.wait(); print('up', flush=True); time.sleep(60)\n"
)
MIDDLE = (
    "import subprocess, sys; from pathlib import Path; from fastness.perimeter.local import LocalPerimeter; "
    "from fastness.perimeter.port import Confinement, Profile; own, code, *python = sys.argv[1:]; "
    "argv = LocalPerimeter().sealed_argv((*python, code), "
    "Confinement((), (Path(own),), 1 << 36, 256, profile=Profile.FAMILY)); "
    "started = subprocess.Popen(argv); print(started.pid, flush=True); started.wait()"
)


@pytest.mark.parametrize("who", ["guard", "first", "whoever started them"])
def test_all_end_with_the_guard_the_first_or_whoever_started_them(own: Path, who: str) -> None:
    argv = (sys.executable, "-c", MIDDLE, str(own), SCATTERED, *PYTHON)
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as middle:
        assert middle.stdout is not None
        guard = int(middle.stdout.readline())
        assert middle.stdout.readline() == "up\n"
        first = child_of(guard)
        members = [guard, first, *map(int, Path(f"/proc/{first}/task/{first}/children").read_text().split())]
        assert len(members) == 3
        os.kill({"guard": guard, "first": first}.get(who, middle.pid), signal.SIGKILL)
        deadline = time.monotonic() + 60
        while any(Path(f"/proc/{pid}").exists() for pid in members):
            assert time.monotonic() < deadline, "somebody is left"
            time.sleep(0.01)


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/full"])
def test_a_device_file_opens_when_it_is_held_and_does_not_exist_otherwise(own: Path, device: str) -> None:
    code = (
        "import sys\ntry: print(len(open(sys.argv[1], 'r+b', 0).read(3)))\nexcept OSError as error: print(error.errno)"
    )
    assert said(code, confined(own, devices=(Path(device),)), device) == "3"
    assert said(code, confined(own), device) == "2"
