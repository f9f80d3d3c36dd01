"""A long verification says how far it is; a short one says nothing."""

import pytest

from fastness.cli import ledger_proof
from fastness.cli.ledger_proof import _Told
from fastness.cli.progress import Progress
from fastness.cli.talk import Talk


@pytest.fixture
def told(monkeypatch):
    """What is told, with a clock that the test moves."""

    class Clock:
        now_s = 100.0

        def monotonic(self) -> float:
            return self.now_s

    clock = Clock()
    monkeypatch.setattr(ledger_proof, "time", clock)
    told = _Told(Progress(Talk()))
    yield told, clock
    told.progress.close()


def test_a_short_one_says_nothing(told, capsys):
    say, clock = told
    for log in ("control", "node"):
        say(log, 10, 10)
        clock.now_s += 0.2
    assert capsys.readouterr().err == ""


def test_a_long_one_says_so_once_it_lasts(told, capsys):
    say, clock = told
    for done in range(11):
        say("gateway-0", done, 10)
        clock.now_s += 1.0
    say("node", 5, 5)
    assert [line.split() for line in capsys.readouterr().err.splitlines()] == [
        ["gateway-0", "verify", "read", "10", "s"]
    ]
