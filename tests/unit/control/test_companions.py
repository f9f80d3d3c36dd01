"""Whatever the supervisor cannot start again is told of when it ended, and when nobody is left to bring it back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from fastness.control.companions import Companions
from fastness.core.own_process import WITHOUT, OwnProcess
from fastness.core.replica import ReplicaState
from fastness.telemetry.log import JsonLog


class Told:
    """The part of Progress that is used."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(name)


@pytest.mark.parametrize("name", WITHOUT)
def test_each_end_is_told_once_and_the_last_with_what_to_do(tmp_path: Path, name: str) -> None:
    def state(of: ReplicaState, pid: int | None, restarts: int) -> OwnProcess:
        return OwnProcess(name, pid, of, restarts, 1.0)

    seen = [
        (state(ReplicaState.READY, 7, 0),),
        (state(ReplicaState.READY, 7, 0),),
        (state(ReplicaState.BACKING_OFF, None, 0),),
        (state(ReplicaState.READY, 8, 1),),
        (state(ReplicaState.STOPPED, None, 1),),
        (state(ReplicaState.STOPPED, None, 1),),
    ]
    log, told, looks = JsonLog(tmp_path / "supervisor.jsonl", "supervisor", lambda: 1.0), Told(), iter(seen)
    companions = Companions(lambda: next(looks), log, told)
    assert [companions.look() for _ in seen] == [True, False, True, True, True, False]
    assert companions.seen == seen[-1]
    again, gone = told.warnings
    assert again == f"{name} ended, and was started again; `fastness ps` tells more."
    assert WITHOUT[name] in gone and "fastness stop, and start this host again" in gone
    log.flush()
    lines = [msgspec.json.decode(line) for line in (tmp_path / "supervisor.jsonl").read_bytes().splitlines()]
    assert [(one["process"], one["level"], one["state"], one["restarts"]) for one in lines] == [
        (name, "info", "ready", 0),
        (name, "info", "backing_off", 0),
        (name, "warning", "ready", 1),
        (name, "error", "stopped", 1),
    ]
