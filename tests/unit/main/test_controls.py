"""When a control process counts as well: the one that leads has to answer, and one that waits has nothing to do."""

import asyncio
from pathlib import Path

import pytest

from fastness.config import ConfigError, Settings
from fastness.config.settings import ControlSettings
from fastness.control import leading
from fastness.main import controls as composed
from fastness.main.gateway import run_gateway


class Made:
    """What stands for a process that is kept up."""

    def __init__(self, is_ready) -> None:
        self.is_ready, self.pid = is_ready, None


@pytest.fixture
def three(tmp_path, monkeypatch):
    monkeypatch.setattr(composed, "own_process", lambda _settings, _name, is_ready, *_, **__: Made(is_ready))
    settings = Settings(tmp_path, control=ControlSettings(standbys=2))
    return composed.controls(settings, tmp_path / "control.sock", lambda: None)


def wells(processes) -> list[bool]:
    async def ask() -> list[bool]:
        return [await one.is_ready() for one in processes]

    return asyncio.run(ask())


def test_before_anybody_leads_none_is_ready(three):
    assert wells(three) == [False] * 3
    three[0].pid = 77
    assert wells(three) == [False] * 3, "the others have not even begun"


def test_who_leads_is_ready_when_it_answers_and_the_others_while_one_of_them_leads(three, tmp_path, monkeypatch):
    answers = [503]

    async def status(_path, _route, _timeout_s):
        return answers[-1]

    monkeypatch.setattr("fastness.fleet.probe.status_of", status)
    for number, one in enumerate(three):
        one.pid = 70 + number
    (tmp_path / leading.LOCK).write_text("71\n")
    processes = composed.controls(Settings(tmp_path, control=ControlSettings(standbys=2)), tmp_path, lambda: None)
    for number, one in enumerate(processes):
        one.pid = 70 + number
    assert wells(processes) == [True, False, True]
    answers.append(200)
    assert wells(processes) == [True, True, True]
    processes[1].pid = None  # it was killed, and nobody leads yet
    assert wells(processes) == [False, False, False]


def test_a_gateway_that_the_installation_has_no_slots_for_does_not_start(monkeypatch):
    monkeypatch.setenv("FASTNESS_GATEWAY", "gateway-1")
    with pytest.raises(ConfigError, match=r"gateway-1 is none of .* gateway\.processes is 1"):
        run_gateway(Settings(Path("/nowhere")))
