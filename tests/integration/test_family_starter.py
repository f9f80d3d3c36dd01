"""The starter: what it starts is our child, has a network of its own, and ends with us."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fastness.fleet.adopted import GONE

# In a process of its own: what it gives up it does not get back.
SUPERVISOR = """
import json, os, sys, time
from dataclasses import replace
from pathlib import Path
import fastness
from fastness.config import Settings
from fastness.main.process import stay_local
from fastness.main.starter import starter
from fastness.perimeter.local import LocalPerimeter
from fastness.perimeter.port import Confinement, Profile

own, code = Path(sys.argv[1]), sys.argv[2]
settings = Settings(own)
settings = replace(settings, engine=replace(settings.engine, vllm_python="somewhere"))
companions = []
with starter(settings, companions, unsealed=False) as starts:
    stay_local()
    argv = (os.path.realpath(sys.executable), "-I", "-S", "-c", code)
    confinement = Confinement((), (own,), 1 << 36, 256, profile=Profile.FAMILY, descriptors=(70,))
    os.dup2(os.open(fastness.perimeter.local.__file__, os.O_RDONLY), 70)
    begin = lambda: starts.start(LocalPerimeter().sealed_argv(argv, confinement), {"A": "b"}, (70,))
    HOW
"""
WAITS = """
    print(begin().pid, flush=True)
    time.sleep(60)
"""
SAYS = """
    def say(one):
        with one.stderr:
            said = one.stderr.read().decode()
        print(json.dumps({"status": one.wait(), "said": said}), flush=True)
    say(begin())
"""
KILLS = (
    SAYS
    + """
    import signal, socket
    def worker(but=0):
        while (pid := companions[0].look().pid or but) == but:
            time.sleep(0.01)
        return pid
    def begin_again():
        while True:
            try:
                return begin()
            except OSError as error:  # it was just taken by the one that was killed: as of an engine, tried again
                if not isinstance(error, TimeoutError) and "brought back" not in str(error):
                    raise
    was = worker()
    os.kill(was, signal.SIGKILL)
    say(begin_again())  # asked while there is perhaps nobody: it waits
    was = worker(was)
    asked, theirs = socket.socketpair()
    socket.send_fds(starts._door, [b"."], [theirs.fileno()])
    theirs.close()
    asked.sendall(b"half")  # it is killed while it is asked, or before it hears that
    os.kill(int(Path(f"/proc/{was}/stat").read_text().rpartition(")")[2].split()[1]), signal.SIGKILL)
    asked.close()
    say(begin_again())
    worker(was)
    os.killpg(companions[0]._process.pid, signal.SIGKILL)
    while companions[0].look().state != "stopped":
        time.sleep(0.01)
    try:
        begin()
    except OSError as error:
        print(error)
"""
)
CODE = (
    "import os, socket, sys\n"
    "with socket.create_server(('127.0.0.1', 0)) as s, socket.create_connection(s.getsockname()): pass\n"
    "print(os.environ.get('A'), os.getpid(), os.fstat(70).st_size > 0, file=sys.stderr)\n"
    "sys.exit(7)\n"
)


def run(own: Path, code: str, how: str) -> subprocess.Popen[str]:
    program = SUPERVISOR.replace("    HOW\n", how.lstrip("\n"))
    return subprocess.Popen((sys.executable, "-c", program, str(own), code), stdout=subprocess.PIPE, text=True)


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def own() -> Path:
    return Path(tempfile.mkdtemp(prefix="fastness-starter-"))


def test_what_it_starts_has_its_loopback_its_descriptors_and_its_end_is_seen(own: Path) -> None:
    with run(own, CODE, SAYS) as supervisor:
        output, _ = supervisor.communicate(timeout=60)
    assert supervisor.returncode == 0
    assert output.strip() == '{"status": 7, "said": "b 1 True\\n"}'
    own.rmdir()


def test_whoever_of_it_is_killed_the_next_family_starts_all_the_same_until_all_of_it_was(own: Path) -> None:
    with run(own, CODE, KILLS) as supervisor:
        output, _ = supervisor.communicate(timeout=120)
    assert supervisor.returncode == 0
    *families, last = output.splitlines()
    assert families == ['{"status": 7, "said": "b 1 True\\n"}'] * 3
    assert last == GONE
    own.rmdir()


def test_all_end_with_the_supervisor(own: Path) -> None:
    with run(own, "import time; time.sleep(60)", WAITS) as supervisor:
        assert supervisor.stdout is not None
        guard = int(supervisor.stdout.readline())
        children = Path(f"/proc/{guard}/task/{guard}/children")
        until(lambda: bool(children.read_text().strip()))
        members = [guard, *map(int, children.read_text().split())]
        assert len(members) == 2
        supervisor.kill()
        supervisor.wait()
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in members))
    own.rmdir()
