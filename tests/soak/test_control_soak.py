"""The control plane is killed fifty times, and then kept away for a minute, under load: nobody hears of it."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "acceptance"))

from fastness.ledger.verify import verify
from installation import Installation, eventually, start, stop
from killing import child, forget, kill
from losing import Streams
from ordering import SMALL, Fleet, folded, shown, told, unheard
from traffic import Traffic

pytestmark = [pytest.mark.soak, pytest.mark.timeout(7_200)]
KILLS = int(os.environ.get("FASTNESS_TEST_KILLS", "50"))
AWAY_S = float(os.environ.get("FASTNESS_TEST_AWAY_S", "60"))


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Installation]:
    installation = start(tmp_path, environ=SMALL | {"FASTNESS__ENGINE__REPLICAS": "2"})
    yield installation
    try:
        assert stop(installation) == 0
    finally:
        forget(installation.home)


def test_fifty_restarts_and_a_minute_without_control(running):
    fleet = Fleet(running)
    fleet.settles(replicas=2)
    pids, before = fleet.pids(), folded(fleet)
    lost, streamed = [], 0
    with Traffic(running, seed=7, clients=6, chats=0.3) as clients:
        for number in range(KILLS):
            streams = Streams(running, count=8, output_tokens=60)
            eventually(streams.begun, "the streams flow", 120)
            fleet.kill_control()
            heard = streams.heard()
            streamed += len(heard)
            lost += [one for one in heard if not one.whole or one.error]
            assert (folded(fleet), told(fleet)) == (before, shown(before)), f"after kill {number + 1}"
        answered = clients.count()
        ends_s = time.monotonic() + AWAY_S
        while time.monotonic() < ends_s:  # whenever another one appears
            with suppress(LookupError, ProcessLookupError):
                kill(child(running, "control"))
            time.sleep(0.05)
        meanwhile = clients.count() - answered
        eventually(fleet.is_answered, "control is back", 120)
    print(
        f"{KILLS} kills under {streamed} streams, {len(lost)} lost; {AWAY_S:.0f} s without control: "
        f"{meanwhile} answers; {clients.count()} answers in all, {len(unheard(clients.heard))} not in full"
    )
    assert not lost
    assert meanwhile > 0
    assert unheard(clients.heard) == []
    assert fleet.pids() == pids, "not one engine was started again"
    assert (folded(fleet), told(fleet)) == (before, shown(before))
    assert verify(running.home / "ledger").sound
