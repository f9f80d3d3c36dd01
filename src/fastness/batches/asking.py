"""A line is an ordinary request to a gateway, over its own Unix socket, on behalf of whoever made the batch."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx
import msgspec

from fastness.batches.lines import Line
from fastness.batches.records import BatchRecord
from fastness.core.batch import ON_BEHALF_OF

ANSWER_BYTES_MAX: Final = 33_554_432
"""An answer to one line."""
WAITS: Final = frozenset({408, 429, 503})
"""Statuses that say: not now."""
MAY_PASS: Final = frozenset({0, 500, 502, 504})
"""Statuses of what may be this line's doing: it is tried again, a few times. 0: no answer came at all."""
DOUBTS: Final = frozenset({401, 403, 404})
"""Statuses that count once the gateway says that it is ready: one that has just begun may not know everything yet."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What the gateway said; status 0 when it could not be asked, or broke off."""

    status: int
    body: bytes = b""
    request_id: str = ""
    retry_after_s: float | None = None
    reached: bool = True

    @property
    def waits(self) -> bool:
        """Whether there was no room for the line now. A 429 that names no time says that there never will be."""
        return not self.reached or (self.status in WAITS and not (self.status == 429 and self.retry_after_s is None))


class GatewayDoor:
    """Asks the gateways in turn, each at its socket. `timeout_s` is the longest an answer may take, wait included."""

    def __init__(self, sockets: Sequence[Path], timeout_s: float) -> None:
        timeout = httpx.Timeout(timeout_s, connect=5.0)
        self._clients = deque(
            httpx.AsyncClient(
                transport=httpx.AsyncHTTPTransport(uds=str(one)), base_url="http://gateway", timeout=timeout
            )
            for one in sockets
        )

    async def ask(self, batch: BatchRecord, line: Line) -> Reply:
        """Ask one line, of the first gateway that can be reached; what goes wrong on the way is a Reply as well."""
        reply = Reply(0, reached=False)
        self._clients.rotate(-1)
        for client in tuple(self._clients):
            reply = await self._ask(client, batch, line)
            if reply.reached:
                break
        return reply

    async def _ask(self, client: httpx.AsyncClient, batch: BatchRecord, line: Line) -> Reply:
        headers: dict[bytes, bytes] = {
            ON_BEHALF_OF.encode(): batch.by.encode(),
            b"fastness-marking": batch.marking.encode(),
            b"fastness-priority": b"batch",
            b"content-type": b"application/json",
        }
        try:
            async with client.stream("POST", batch.endpoint, content=line.body, headers=headers) as answer:
                body = bytearray()
                async for piece in answer.aiter_bytes():
                    body += piece
                    if len(body) > ANSWER_BYTES_MAX:
                        return Reply(0)
                request_id = answer.headers.get("x-request-id", "")
                reply = Reply(answer.status_code, bytes(body), request_id, _seconds(answer.headers.get("retry-after")))
            known = reply.status not in DOUBTS or (await client.get("/readyz")).status_code == httpx.codes.OK
        except httpx.ConnectError:
            return Reply(0, reached=False)
        except httpx.HTTPError:
            return Reply(0)
        return reply if known else Reply(503, retry_after_s=1.0)

    async def close(self) -> None:
        """Close its connections."""
        for client in self._clients:
            await client.aclose()


def result(batch: BatchRecord, line: Line, reply: Reply) -> bytes:
    """Write a line of an output or error file, from what the gateway said."""
    response = {"status_code": reply.status, "request_id": reply.request_id, "body": _one_line(reply.body)}
    return _written(batch, line, response, None)


def failure(batch: BatchRecord, line: Line, code: str, message: str) -> bytes:
    """Write a line of an error file, for what was never answered."""
    return _written(batch, line, None, {"code": code, "message": message})


def _written(batch: BatchRecord, line: Line, response: object, error: object) -> bytes:
    name = f"batch_req_{batch.id.removeprefix('batch_')}_{line.number}"
    document = {"id": name, "custom_id": line.custom_id, "response": response, "error": error}
    return msgspec.json.encode(document) + b"\n"


def _one_line(body: bytes) -> msgspec.Raw:
    try:
        return msgspec.Raw(body if b"\n" not in body else msgspec.json.encode(msgspec.json.decode(body)))
    except msgspec.DecodeError:
        return msgspec.Raw(b"null")


def _seconds(header: str | None) -> float | None:
    return float(header) if header is not None and header.isdecimal() and len(header) < 8 else None
