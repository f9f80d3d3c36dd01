"""The state of the fleet is read from the ledger when somebody asks for it first, and once."""

from __future__ import annotations

import asyncio

from fastness.control.fleet_log import FleetLog
from fastness.core.fleet_event import ShareSet
from fastness.core.fleet_state import FleetState, fold
from fastness.ledger.memory import MemoryLedger

BEFORE = ShareSet("health", "default", 2, "local")
AFTER = ShareSet("justice", "default", 1, "local")


def test_who_does_not_ask_for_the_state_does_not_have_it_read_and_who_decides_goes_on_from_it():
    reads = 0

    def read() -> FleetState:
        nonlocal reads
        reads += 1
        return fold([BEFORE])

    async def decide() -> FleetLog:
        log = FleetLog(MemoryLedger("control"), read, lambda: 0)
        assert reads == 0
        await log.decide(lambda state: [AFTER] if state.shares == fold([BEFORE]).shares else [])
        return log

    log = asyncio.run(decide())
    assert log.state == fold([BEFORE, AFTER])
    assert reads == 1
