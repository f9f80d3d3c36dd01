"""What a supervisor records of the engines of other hosts: each start of one, once, and whose word that is."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from fastness.control.recording import Recording
from fastness.core.event import Event, EventType
from fastness.core.replica import Replica, ReplicaState
from fastness.ledger.events import check_fields
from fastness.ledger.port import LedgerUnavailable

READY = ReplicaState.READY
THERE = Replica("chat-2", "small", "llamacpp", READY, "s", 2, 512, 1, True, node="leeds", model_digest="ab" * 32)


class Recorded:
    """A ledger, a log and a clock."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.logged: list[str] = []
        self.away = False
        log: Any = SimpleNamespace(record=lambda _level, event, **_more: self.logged.append(event))
        self.record = Recording(self, log, lambda: 1.5, lambda: 0.0, SimpleNamespace())  # type: ignore[arg-type]

    def append(self, event: Event) -> None:
        if self.away:
            raise LedgerUnavailable("full")
        check_fields(event)
        self.events.append(event)

    def starts(self) -> list[tuple[object, object, object]]:
        return [(one.fields["replica"], one.fields["epoch"], one.fields["reported_by"]) for one in self.events]


@pytest.fixture
def made() -> Recorded:
    return Recorded()


def test_each_start_of_an_engine_elsewhere_is_recorded_once_it_is_ready(made: Recorded) -> None:
    starting, third = replace(THERE, state=ReplicaState.STARTING), replace(THERE, id="chat-3", node="bristol")
    for heard in ([starting], [THERE], [THERE, third], [third, THERE], [replace(THERE, epoch=2), third]):
        made.record.heard(heard)
    assert made.starts() == [("chat-2", 1, "leeds"), ("chat-3", 1, "bristol"), ("chat-2", 2, "leeds")]
    (first, *_) = made.events
    assert (first.type, first.time_ms, first.fields["model_digest"]) == (EventType.MODEL_LOADED, 1_500, "ab" * 32)
    assert json.dumps(dict(first.fields))


def test_one_that_is_not_routed_for_a_while_is_the_same_start(made: Recorded) -> None:
    for state in (READY, ReplicaState.DRAINING, READY):
        made.record.heard([replace(THERE, state=state)])
    assert made.starts() == [("chat-2", 1, "leeds")]
    made.record.heard([])
    made.record.heard([THERE])
    assert len(made.events) == 2, "what was forgotten is told again, which harms nothing"


def test_a_ledger_that_takes_nothing_stops_nobody_and_is_told_of(made: Recorded) -> None:
    made.away = True
    made.record.heard([THERE])
    assert made.events == [] and made.logged == ["ledger.not_written"]
