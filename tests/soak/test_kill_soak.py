"""One of two real engines is killed under 32 streams, for as often as it takes to believe it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "acceptance"))

from installation import Installation, start, stop
from killing import forget
from losing import TWO, Found, kill_under_streams, undisturbed

pytestmark = [pytest.mark.soak, pytest.mark.timeout(7_200)]
KILLS = int(os.environ.get("FASTNESS_TEST_KILLS", "100"))


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Installation]:
    running = start(tmp_path, environ=TWO)
    yield running
    try:
        assert stop(running) == 0
    finally:
        forget(running.home)


def test_a_hundred_kills_lose_no_stream(pair):
    found, expected = Found(), undisturbed(pair)
    for _ in range(KILLS):
        kill_under_streams(pair, expected, found)
        print(found, flush=True)
        assert not found.failed
    assert not found.other
    assert found.identical + found.tied == found.streams
