"""What the supervisor cannot start a second time comes back whichever process of it is killed, and never freer."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from fastness.main.anew import command
from fastness.main.process import PARENT_VARIABLE
from fastness.perimeter import succession
from succession_world import PROGRAM, children, confinement, family, is_gone, parent, soon, world


def test_whoever_is_killed_another_brings_it_back_as_confined_as_the_first(tmp_path: Path) -> None:
    with world(tmp_path) as one:
        worker = one.becomes("ready", 0)
        keeper, successor = family(worker)
        first = [confinement(pid) for pid in (worker, keeper, successor)]
        assert "Seccomp:\t2" in first[1], "who keeps it up is confined itself"
        for restarts in (1, 2):
            os.kill(worker, signal.SIGKILL)
            worker = one.becomes("ready", restarts)
            assert family(worker) == (keeper, successor)
        os.kill(successor, signal.SIGKILL)
        soon(lambda: is_gone(successor))
        for restarts in (3, 4, 5):
            keeper, heir = family(worker)
            os.kill(keeper, signal.SIGKILL)
            worker = one.becomes("ready", restarts)
            assert parent(worker) == heir
            assert parent(heir) == one.process.pid, "who succeeds is the supervisor's child, and ends with it"
        now = [confinement(pid) for pid in (worker, *family(worker))]
        assert [sorted(each) for each in now] == [sorted(each) for each in first]
        soon(lambda: children(one.process.pid, ended=True) == [parent(worker)])
        everybody = (worker, *family(worker))
        assert one.end() == 0
        assert all(map(is_gone, everybody))


def test_nothing_is_begun_anew_before_all_of_the_dead_one_is_gone(tmp_path: Path) -> None:
    """Here the worker leaves something that it had not executed yet, and which cannot be ended for a while."""
    left, go, ended = (tmp_path / name for name in ("left", "go", "ended"))
    program = f"""
import os, pathlib, time
left, go, ended = map(pathlib.Path, {list(map(str, (left, go, ended)))!r})
if left.exists():
    left.with_name("began-after" if ended.exists() else "began-before").touch()
elif os.fork() == 0:
    left.touch()
    while not go.exists(): time.sleep(0.005)
    ended.touch()
    os._exit(0)
{PROGRAM}"""
    with world(tmp_path, program) as one:
        worker = one.becomes("ready", 0)
        soon(left.exists)
        keeper, successor = family(worker)
        os.kill(keeper, signal.SIGKILL)
        soon(lambda: is_gone(worker))
        assert children(successor) == []
        go.touch()
        one.becomes("ready", 1)
        assert soon(lambda: [one.name for one in tmp_path.glob("began-*")]) == ["began-after"]


def test_all_of_it_ends_with_the_supervisor_however_that_ends(tmp_path: Path) -> None:
    with world(tmp_path) as one:
        worker = one.becomes("ready", 0)
        os.kill(parent(worker), signal.SIGKILL)
        worker = one.becomes("ready", 1)
        everybody = (worker, *family(worker))
        one.process.kill()
        one.process.wait()
        soon(lambda: all(map(is_gone, everybody)))


def test_when_keeper_and_successor_are_killed_at_once_that_is_said(tmp_path: Path) -> None:
    with world(tmp_path) as one:
        worker = one.becomes("ready", 0)
        keeper, successor = family(worker)
        os.kill(keeper, signal.SIGSTOP)  # it cannot have another successor
        os.kill(successor, signal.SIGKILL)
        os.kill(keeper, signal.SIGKILL)
        assert one.becomes("stopped", 0) == 0
        soon(lambda: is_gone(worker))
        assert one.end() == 0


def test_what_ends_at_once_is_tried_ever_more_seldom_and_what_ran_well_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(succession, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(succession, "os", SimpleNamespace(fork=lambda: 7))
    child, waits = succession._Child(), []
    for ran_s in (0.0,) * 8 + (succession.WELL_S + 1,):
        now[0] += child.wait_s()
        assert not child.fork() and child.pid == 7
        now[0] += ran_s
        child.ended()
        waits.append(round(child.wait_s(), 3))
    assert waits == [0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0, 0.1]


def test_nothing_is_begun_for_a_supervisor_that_is_gone(tmp_path: Path) -> None:
    program = f"import pathlib; pathlib.Path({str(tmp_path / 'begun')!r}).touch()"
    argv = (*command(program), "1")
    late = subprocess.run(argv, env=os.environ | {PARENT_VARIABLE: "1"}, capture_output=True, text=True)
    assert late.returncode == 1 and "is gone" in late.stderr
    assert not (tmp_path / "begun").exists()
