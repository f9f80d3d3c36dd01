"""Nothing that a process started sealed outlives it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import fastness

DEATH_S_MAX = 1.0
WAIT_S_MAX = 20.0

# A parent that starts a sealed child, tells its process id, and then waits to be killed.
PARENT = '''
import subprocess, sys
from pathlib import Path
sys.path.append(sys.argv[1])
from fastness.perimeter.local import LocalPerimeter
from fastness.perimeter.port import Confinement
bounds = Confinement((), (Path(sys.argv[2]),), 1 << 29, 64, unsealed=sys.argv[3] == "unsealed")
code = """
import threading, time
threading.Thread(target=time.sleep, args=(600,)).start()
print('up', flush=True)
"""
argv = LocalPerimeter().sealed_argv((sys.executable, "-I", "-S", "-c", code), bounds)
child = subprocess.Popen(argv, stdout=subprocess.PIPE)
assert child.stdout.readline() == b"up\\n"
print(child.pid, flush=True)
child.wait()
'''


@pytest.mark.parametrize("kind", ["sealed", "unsealed"])
def test_when_the_parent_is_killed_the_child_dies_within_a_second(kind: str, tmp_path: Path) -> None:
    root = str(Path(fastness.__file__).resolve().parents[1])
    with subprocess.Popen((sys.executable, "-c", PARENT, root, str(tmp_path), kind), stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        process = os.pidfd_open(child)
        try:
            assert alive(process)
            parent.send_signal(signal.SIGKILL)
            killed = time.monotonic()
            while alive(process) and time.monotonic() - killed < WAIT_S_MAX:
                time.sleep(0.005)
            assert time.monotonic() - killed < DEATH_S_MAX
        finally:
            os.close(process)


def alive(process: int) -> bool:
    try:
        signal.pidfd_send_signal(process, 0)
    except ProcessLookupError:
        return False
    # Dead but not yet collected by whoever inherits orphans here counts as dead.
    fields = Path(f"/proc/self/fdinfo/{process}").read_text()
    pid = int(fields.partition("Pid:")[2].split()[0])
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state not in "ZX"
