"""Real engines are killed under streams: no stream is lost, and each goes on where it was."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from installation import Installation, start, stop
from killing import QUICK, forget
from losing import TWO, Found, kill_under_streams, undisturbed

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
KILLS = 5
KILLS_ALONE = 2


@pytest.fixture
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """An installation with two replicas."""
    running = start(tmp_path_factory.mktemp("pair"), environ=TWO)
    yield running
    try:
        assert stop(running) == 0
    finally:
        forget(running.home)


@pytest.fixture
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """An installation with one replica."""
    running = start(tmp_path_factory.mktemp("alone"), environ=TWO | QUICK | {"FASTNESS__ENGINE__REPLICAS": "1"})
    yield running
    try:
        assert stop(running) == 0
    finally:
        forget(running.home)


def test_streams_go_on_at_another_replica_when_their_engine_is_killed(pair):
    found, expected = Found(), undisturbed(pair)
    for _ in range(KILLS):
        kill_under_streams(pair, expected, found)
    print(found)
    assert not found.failed
    assert not found.other
    assert found.resumed >= KILLS
    assert found.identical + found.tied == found.streams
    assert found.identical > 0.8 * found.streams


def test_streams_wait_for_their_only_replica_and_go_on(alone):
    found, expected = Found(), undisturbed(alone)
    for _ in range(KILLS_ALONE):
        kill_under_streams(alone, expected, found, count=1)
    print(found)
    assert not found.failed
    assert not found.other
    assert found.resumed >= KILLS_ALONE
