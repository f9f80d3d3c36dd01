"""The other gateways of this installation: asked only for what one gateway alone cannot tell, the page of metrics."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

from fastness.gateway.http import EngineConnections, EngineLost
from fastness.gateway.http.client import WholeAnswer

ANSWER_TIMEOUT_S: Final = 1.0
"""How long one of them may take; a scrape does not wait for one that hangs."""
PAGE_BYTES_MAX: Final = 4_194_304
_HEAD: Final = b"GET /metrics HTTP/1.1\r\nhost: gateway\r\ncontent-length: 0\r\n\r\n"


class Fellows:
    """Asks them over the Unix sockets at which each answers inside; `sockets` are by a gateway's name."""

    def __init__(self, connections: EngineConnections, sockets: Mapping[str, str]) -> None:
        self._connections, self._sockets = connections, dict(sockets)

    def __bool__(self) -> bool:
        return bool(self._sockets)

    async def pages(self) -> dict[str, bytes]:
        """Return the page of metrics of each that answers, by name."""
        found = await asyncio.gather(*map(self._page, self._sockets.values()))
        return {name: page for name, page in zip(self._sockets, found, strict=True) if page is not None}

    async def _page(self, socket: str) -> bytes | None:
        whole = WholeAnswer(asyncio.get_running_loop().create_future())
        whole.stream = self._connections.send(socket, _HEAD, b"", whole, stream_bytes_max=PAGE_BYTES_MAX)
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                status, body = await whole.future
        except (TimeoutError, EngineLost):
            return None
        finally:
            whole.cancel()
        return body if status == 200 else None
