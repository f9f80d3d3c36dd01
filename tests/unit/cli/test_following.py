"""What is told of a replica that leaves, however quickly it does: looked at by looks that are scripted."""

from __future__ import annotations

from typing import Any

from fastness.cli.following import Following
from fastness.cli.outcome import ExitCode, Failure
from fastness.cli.talk import Talk


class Looks:
    """An installation that shows these views of a deployment, one at each look; None: it is gone."""

    def __init__(self, *views: dict[str, Any] | None) -> None:
        self.views = list(views)

    def get(self, path: str, **_: Any) -> dict[str, Any]:
        if path == "/events":
            return {"events": []}
        view = self.views.pop(0)
        if view is None:
            raise Failure(ExitCode.NOT_FOUND, "there is no such deployment", "")
        return view


def view(phase: str) -> dict[str, Any]:
    replica = {"id": "chat-1", "state": "ready", "phase": phase, "revision": 1, "stage": "", "devices": ["cpu-0"]}
    return {
        "placed": [replica], "revision": 1, "rolled_back": "", "answered": None, "failed": None, "phase": phase,
        "ready": 1, "wanted": 0, "settled": False,
    }  # fmt: skip


def test_a_replica_that_drained_is_told_with_how_long_it_took(capsys):
    now = iter(range(100))
    looks = Looks(view("placed"), view("draining"), view("draining"), None)
    follow = Following(looks, Talk(), 0, clock=lambda: next(now) / 10, sleep=lambda _: None)
    outcome = follow.until_gone("chat", 60)
    assert "chat-1   drained and gone 0." in capsys.readouterr().err
    assert outcome["failed"] is None
