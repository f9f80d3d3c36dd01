"""A stand-in for control that leases whatever a gateway asks for: `python -m benchmarks.grants SOCKET`.

So a gateway alone can be measured with its limits on: it counts, reserves, settles and asks ahead of need as ever.
"""

from __future__ import annotations

import asyncio
import sys

import msgspec
import uvloop

from fastness.gateway.leases import LeaseAnswer, LeaseCall
from fastness.traffic.quota import Grant

_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
_decode = msgspec.json.Decoder(LeaseCall).decode


class Grants(asyncio.Protocol):
    """One connection: a question at a time, whole in a few pieces."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.transport = transport
        self.seen = b""

    def data_received(self, data: bytes) -> None:
        self.seen += data
        head, end, body = self.seen.partition(b"\r\n\r\n")
        at = head.find(b"content-length: ") + 16
        if end and len(body) >= int(head[at:].partition(b"\r")[0]):
            answer = LeaseAnswer([Grant(held=wish.hold, others=0) for wish in _decode(body).wishes])
            told = msgspec.json.encode(answer)
            self.transport.write(_HEAD % (len(told), told))
            self.seen = b""


async def serve(path: str) -> None:
    """Listen until killed; prints a line once it does."""
    server = await asyncio.get_running_loop().create_unix_server(Grants, path)
    print("listening", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1]))
