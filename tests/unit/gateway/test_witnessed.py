"""While witnesses are away, answers go on for as long as the installation says, and not longer."""

from __future__ import annotations

import pytest

from fastness.core.error import Refusal
from fastness.core.witnessed import WitnessedLog, WitnessSnapshot
from fastness.gateway.witnessed import Witnessed
from policed import ANN, opened, run


class Clock:
    now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


def seen(at_s: float, log: str = "gateway-0") -> WitnessSnapshot:
    return WitnessSnapshot(1, (WitnessedLog(log, 5, at_s),))


def test_without_a_grace_they_are_never_missed() -> None:
    clock = Clock()
    witnessed = Witnessed("gateway-0", 0.0, clock)
    clock.now_s = 1e12
    witnessed.check()


def test_from_its_start_and_from_each_time_that_enough_cosigned_the_grace_begins_anew() -> None:
    clock = Clock()
    witnessed = Witnessed("gateway-0", 60.0, clock)
    clock.now_s = 1_060.0
    witnessed.check()
    witnessed.replace(seen(1_050.0))
    clock.now_s = 1_110.0
    witnessed.check()
    clock.now_s = 1_110.5
    with pytest.raises(Refusal) as refused:
        witnessed.check()
    assert refused.value.code == "witnesses_unavailable" and "60 s" in refused.value.message
    witnessed.replace(seen(1_020.0))  # an older word takes nothing back, and gives nothing
    with pytest.raises(Refusal):
        witnessed.check()
    witnessed.replace(seen(2_000.0, log="gateway-1"))  # of another log
    with pytest.raises(Refusal):
        witnessed.check()
    witnessed.replace(seen(1_110.0))
    witnessed.check()


def test_no_engine_hears_of_a_request_that_may_not_be_answered(tmp_path) -> None:
    async def test() -> None:
        async with opened(tmp_path, ANN) as door:
            clock = Clock()
            door.gateway.witnessed = Witnessed("gateway-0", 1.0, clock)
            assert (await door.chat()).status == 200
            clock.now_s += 2
            refused = await door.chat()
            assert (refused.status, refused.code) == (503, "witnesses_unavailable")
            assert refused.headers["retry-after"] == "5"
            assert door.asked("low") + door.asked("high") == 1
            assert [one.get("code") for one in door.entries()] == [None, "witnesses_unavailable"]

    run(test)
