"""Conversations with servers outside: connections that the broker made, kept open, since it makes but few a minute."""

from __future__ import annotations

import asyncio
import http.client
from typing import Final

from fastness.perimeter.addresses import Address
from fastness.perimeter.broker_client import BrokerClient, NotFetched, read_url

ANSWER_BYTES_MAX: Final = 65_536
SERVERS_MAX: Final = 64


class Conversations:
    """Posts to servers, one request at a time for each. A connection that has ended meanwhile is made anew, once."""

    def __init__(self, broker: BrokerClient, timeout_s: float) -> None:
        """`timeout_s` bounds each read and write."""
        self._broker, self._timeout_s = broker, timeout_s
        self._open: dict[tuple[Address, bool], http.client.HTTPConnection] = {}
        self._turns: dict[tuple[Address, bool], asyncio.Lock] = {}

    async def post(self, url: str, body: bytes) -> tuple[int, bytes]:
        """Return status and body of what answers: by https, or by http where what is said proves itself.

        Raises NotFetched.
        """
        address, path, secure = read_url(url, plain=True)
        server = (address, secure)
        if server not in self._turns and len(self._turns) >= SERVERS_MAX:
            raise NotFetched(f"{url}: more than {SERVERS_MAX} servers are spoken to already")
        async with self._turns.setdefault(server, asyncio.Lock()):
            kept = self._open.pop(server, None)
            if kept is not None:
                try:
                    return await asyncio.to_thread(self._say, server, kept, path, body)
                except (OSError, http.client.HTTPException):
                    kept.close()  # it was idle for too long: that is no outcome yet
            try:
                return await asyncio.to_thread(self._begin, server, path, body)
            except (OSError, http.client.HTTPException) as error:
                raise NotFetched(f"{url}: {error}") from error

    def _begin(self, server: tuple[Address, bool], path: str, body: bytes) -> tuple[int, bytes]:
        address, secure = server
        stream = self._broker.connect(address)
        stream.settimeout(self._timeout_s)
        connection = http.client.HTTPConnection(address.host, address.port)
        try:
            connection.sock = self._broker.secured(stream, address.host) if secure else stream
            return self._say(server, connection, path, body)
        except BaseException:
            stream.close()
            connection.close()
            raise

    def _say(
        self, server: tuple[Address, bool], connection: http.client.HTTPConnection, path: str, body: bytes
    ) -> tuple[int, bytes]:
        connection.auto_open = 0  # only the broker opens
        connection.request("POST", path, body)
        with connection.getresponse() as answer:
            content = answer.read(ANSWER_BYTES_MAX + 1)
            if len(content) > ANSWER_BYTES_MAX or answer.will_close:
                connection.close()
            else:
                self._open[server] = connection
        if len(content) > ANSWER_BYTES_MAX:
            raise NotFetched(f"{server[0]}: more than {ANSWER_BYTES_MAX:,} bytes")
        return answer.status, content

    def close(self) -> None:
        """End all of them."""
        while self._open:
            self._open.popitem()[1].close()
