"""The running engine, looked at from outside: it has no network, no privilege, and dies with Fastness."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from installation import CHAT, EMBEDDING, eventually, start

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("model", [CHAT, EMBEDDING])
def test_a_running_engine_has_nothing_it_was_not_given(installation, model):
    proc = Path("/proc") / str(installation.engine_pid(model))
    status = dict(line.split(":\t", 1) for line in (proc / "status").read_text().splitlines() if ":\t" in line)
    assert status["Seccomp"] == "2"
    assert status["NoNewPrivs"] == "1"
    assert {int(status[name], 16) for name in ("CapEff", "CapPrm", "CapInh", "CapBnd", "CapAmb")} == {0}
    assert (proc / "ns/net").readlink() != Path("/proc/self/ns/net").readlink()
    interfaces = [line.split(":")[0].strip() for line in (proc / "net/dev").read_text().splitlines()[2:]]
    assert interfaces == ["lo"]
    for table in ("tcp", "udp", "raw"):
        assert len((proc / "net" / table).read_text().splitlines()) == 1, "no socket of that family"
    assert all("key" not in variable.lower() for variable in (proc / "environ").read_text().split("\0"))


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_killing_fastness_leaves_no_engine_behind(tmp_path):
    running = start(tmp_path)
    replicas = [int(str(one["pid"])) for one in running.replicas()]
    children = [
        int(path.parent.name)
        for path in Path("/proc").glob("[0-9]*/stat")
        if alive(int(path.parent.name)) and path.read_text().rsplit(")", 1)[1].split()[1] == str(running.process.pid)
    ]
    assert set(replicas) <= set(children)
    assert len(children) == len(replicas) + 2, "engines, control and gateway"
    os.kill(running.process.pid, signal.SIGKILL)
    running.process.wait()
    assert running.process.stdout is not None
    running.process.stdout.close()
    eventually(lambda: not any(map(alive, children)), "every child is gone")
