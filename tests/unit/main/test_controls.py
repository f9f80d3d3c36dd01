"""When a control process counts as well: the one that leads has to answer, and one that waits has nothing to do."""

import asyncio
from pathlib import Path

import pytest

from fastness.config import ConfigError, Settings
from fastness.config.settings import ControlSettings
from fastness.control import leading
from fastness.core.replica import ReplicaState
from fastness.main import controls as composed
from fastness.main.gateway import run_gateway


class Made:
    """What stands for a process that is kept up."""

    def __init__(self, is_ready) -> None:
        self.is_ready, self.pid, self.state = is_ready, None, ReplicaState.STARTING


@pytest.fixture
def stand_ins(monkeypatch):
    monkeypatch.setattr(composed, "own_process", lambda _settings, _name, is_ready, *_, **__: Made(is_ready))


@pytest.fixture
def three(stand_ins, tmp_path):
    return again(tmp_path)


def again(tmp_path: Path):
    settings = Settings(tmp_path, control=ControlSettings(standbys=2))
    return composed.controls(settings, tmp_path / "control.sock", lambda: None)


def answering(monkeypatch, first: int) -> list[int]:
    answers = [first]

    async def status(_path, _route, _timeout_s):
        return answers[-1]

    monkeypatch.setattr("fastness.fleet.probe.status_of", status)
    return answers


def leads(pid: int, processes, tmp_path: Path) -> None:
    (tmp_path / leading.LOCK).write_text(f"{pid}\n")
    for number, one in enumerate(processes):
        one.pid = 70 + number


def wells(processes) -> list[bool]:
    async def ask() -> list[bool]:
        return [await one.is_ready() for one in processes]

    return asyncio.run(ask())


def test_before_anybody_leads_none_is_ready(three):
    assert wells(three) == [False] * 3
    three[0].pid = 77
    assert wells(three) == [False] * 3, "the others have not even begun"


def test_who_leads_is_ready_when_it_answers_and_the_others_while_one_of_them_leads(stand_ins, tmp_path, monkeypatch):
    answers, three = answering(monkeypatch, 503), again(tmp_path)
    leads(71, three, tmp_path)
    assert wells(three) == [True, False, True]
    answers.append(200)
    assert wells(three) == [True, True, True]
    three[1].pid = None  # it was killed, and nobody leads yet
    assert wells(three) == [False, False, False]


def test_one_that_waited_and_takes_over_is_well_until_its_start_has_taken_too_long(stand_ins, tmp_path, monkeypatch):
    """It refuses at once while it reads the ledger. It was ended as one that hangs, and so was the next one."""
    now_s = [0.0]
    monkeypatch.setattr(composed.time, "monotonic", lambda: now_s[-1])
    answers, three = answering(monkeypatch, 0), again(tmp_path)
    leads(71, three, tmp_path)
    three[1].state = ReplicaState.READY
    assert wells(three) == [True, True, True]
    now_s.append(Settings(tmp_path).engine.start_timeout_s)
    assert wells(three) == [True, False, True]
    leads(72, three, tmp_path)
    three[2].state = ReplicaState.READY
    assert wells(three) == [True, True, True]
    answers.append(200)
    assert wells(three) == [True, True, True]
    answers.append(0)
    assert wells(three) == [True, True, False], "it has answered before: now it is silent"


def test_a_gateway_that_the_installation_has_no_slots_for_does_not_start(monkeypatch):
    monkeypatch.setenv("FASTNESS_GATEWAY", "gateway-1")
    with pytest.raises(ConfigError, match=r"gateway-1 is none of .* gateway\.processes is 1"):
        run_gateway(Settings(Path("/nowhere")))
