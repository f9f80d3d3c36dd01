"""Whether the control plane answers: asked only while somebody waits for a replica that only it can bring."""

from __future__ import annotations

import asyncio
from typing import Final

from fastness.gateway.http import EngineConnections, EngineLost
from fastness.gateway.routing import Routing

PERIOD_S: Final = 1.0
ANSWER_TIMEOUT_S: Final = 1.0
ANSWER_BYTES_MAX: Final = 65_536
PATH: Final = "/api/v1/status"
"""Whatever it says to a POST there, it lives."""


class Pulse:
    """Feels for the control plane at its `socket`, and tells the routing since when it is silent."""

    def __init__(self, routing: Routing, connections: EngineConnections, socket: str) -> None:
        self._routing, self._connections, self._socket = routing, connections, socket
        self._now = asyncio.get_running_loop().time

    async def keep(self) -> None:
        """Feel for it until cancelled."""
        while True:
            await asyncio.sleep(PERIOD_S)
            await self.feel()

    async def feel(self) -> None:
        """Feel for it once, if anybody would want to know."""
        silence = self._routing.silence
        if silence.since_s is None and not self._routing.somebody_waits_for_a_first_replica():
            return
        began_s = self._now()
        if await self._answers():
            silence.since_s = None
        elif silence.since_s is None:
            silence.since_s = began_s
        self._routing.tell_of_silence()

    async def _answers(self) -> bool:
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                await self._connections.call(self._socket, PATH, b"{}", answer_bytes_max=ANSWER_BYTES_MAX)
        except (TimeoutError, EngineLost):
            return False
        return True
