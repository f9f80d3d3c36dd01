"""Files and batches: recognised, marked and permitted here, then passed on to the room that keeps them.

That room listens on a Unix socket of its own. It may be gone without any harm to answers: law 9.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from pathlib import Path
from typing import Final
from urllib.parse import quote

import msgspec

from fastness.core.batch import ASKER_HEADERS
from fastness.core.error import ERROR_CODES, Refusal
from fastness.core.marking import Node, UnknownMarking
from fastness.core.policy import Action, Query
from fastness.core.tenant import Principal
from fastness.gateway.gateway import Gateway
from fastness.gateway.http import EngineLost, EngineStream, Exchange
from fastness.gateway.in_force import Mark, unavailable
from fastness.gateway.wire.batch import parse_batch
from fastness.gateway.wire.errors import error_body, error_headers

ROUTES: Final = (
    (re.compile(r"/v1/files"), ("GET", "POST")),
    (re.compile(r"/v1/files/[^/]+"), ("GET", "DELETE")),
    (re.compile(r"/v1/files/[^/]+/content"), ("GET",)),
    (re.compile(r"/v1/batches"), ("GET", "POST")),
    (re.compile(r"/v1/batches/[^/]+"), ("GET",)),
    (re.compile(r"/v1/batches/[^/]+/cancel"), ("POST",)),
)
PAGE_BYTES_MAX: Final = 67_108_864
"""Any answer but the content of a file."""
CONTENT_BYTES_MAX: Final = 1_099_511_627_776
"""The content of a file; sealed outputs have no smaller bound than the lines of their batch."""
ANSWER_TIMEOUT_S: Final = 60.0
"""Until the room begins to answer."""
_JSON_LINES: Final = b"content-type: application/json\r\ncache-control: no-store\r\n"
_CONTENT_LINES: Final = (
    b"content-type: application/octet-stream\r\ncache-control: no-store\r\nx-content-type-options: nosniff\r\n"
)
_METHODS_WITH_BODY: Final = ("POST",)
_HEADER_VALUE: Final = re.compile(r"[!-~][ -~]{0,255}")


class _Told(msgspec.Struct):
    code: str
    message: str
    param: str | None = None
    retry_after_s: int | None = None


def methods_of(path: str) -> tuple[str, ...] | None:
    """Return the methods that a route of files and batches takes; None for a path that is none of them."""
    return next((methods for pattern, methods in ROUTES if pattern.fullmatch(path)), None)


class Batches:
    """Passes requests on to the room's `socket`."""

    def __init__(self, gateway: Gateway, socket: Path | None) -> None:
        self._gateway = gateway
        self._socket = None if socket is None else str(socket)

    def pass_on(self, exchange: Exchange) -> None:
        """Begin to answer a request for one of our routes; raises Refusal. The answer comes as the room gives it."""
        gateway = self._gateway
        principal = gateway.authenticate(exchange)
        mark = gateway.mark(exchange, principal)
        self._permit(principal, mark)
        if self._socket is None:
            raise _away()
        body, content_type = exchange.body, exchange.headers.get("content-type", "")
        if exchange.method == "POST" and exchange.path == "/v1/batches":
            body, content_type = msgspec.json.encode(parse_batch(body, gateway.settings.limits)), "application/json"
        head = _head(exchange, principal, mark, content_type, len(body))
        content = exchange.path.endswith("/content")
        passing = _Passing(exchange, mark, content=content, refused=gateway.meters.page_refused)
        most = CONTENT_BYTES_MAX if content else PAGE_BYTES_MAX
        passing.watch(gateway.engines.send(self._socket, head, body, passing, stream_bytes_max=most))

    def _permit(self, principal: Principal, mark: Mark) -> None:
        policy, node = self._gateway.policy, self._gateway.settings.node
        if policy is None:
            raise unavailable()
        try:
            ceiling = policy.lattice.read(node.ceiling)
        except UnknownMarking as unknown:
            raise Refusal("policy_unavailable", f"The setting node.ceiling: {unknown}.") from None
        here = Node(node.name, node.jurisdiction, node.operator, "", ceiling)
        policy.permit(Query(principal, Action.BATCH, mark.label, None, here))


class _Passing:
    """The sink of one answer: pages are collected, the content of a file goes through as it comes."""

    __slots__ = ("_body", "_call", "_content", "_exchange", "_mark", "_refused", "_status", "_timer")

    def __init__(self, exchange: Exchange, mark: Mark, *, content: bool, refused: Callable[[Refusal], None]) -> None:
        self._exchange = exchange
        self._mark = mark
        self._content = content
        self._refused = refused
        self._body = bytearray()
        self._status = 0
        self._call: EngineStream | None = None
        self._timer = asyncio.get_running_loop().call_later(ANSWER_TIMEOUT_S, self._expire)

    def watch(self, call: EngineStream) -> None:
        """End the call with its client, and hold it back while the client is slow."""
        self._call = call
        exchange = self._exchange
        exchange.on_disconnect, exchange.on_pause, exchange.on_resume = self._leave, call.pause, call.resume

    def on_head(self, status: int) -> None:
        self._timer.cancel()
        self._status = status
        if self._content and status == 200:
            self._exchange.start(200, _CONTENT_LINES + self._mark.line)

    def on_data(self, data: bytes) -> None:
        if self._exchange.started:
            self._exchange.send(data)
        else:
            self._body += data

    def on_end(self) -> None:
        if self._exchange.started:
            self._exchange.finish()
        elif self._status == 200:
            self._exchange.respond(200, _JSON_LINES + self._mark.line, bytes(self._body))
        else:
            self._refuse(_told(bytes(self._body)))
        self._let_go()

    def on_error(self, error: EngineLost) -> None:  # noqa: ARG002 - what broke is told by the room's own log
        if self._exchange.started:
            self._exchange.abort()  # a file that was cut must not look whole
        else:
            self._refuse(_away())
        self._let_go()

    def _expire(self) -> None:
        if self._call is not None:
            self._call.cancel()
        self._refuse(_away())
        self._let_go()

    def _leave(self) -> None:
        if self._call is not None:
            self._call.cancel()
        self._let_go()

    def _let_go(self) -> None:
        self._timer.cancel()
        self._call = None
        exchange = self._exchange
        exchange.on_disconnect = exchange.on_pause = exchange.on_resume = None

    def _refuse(self, refusal: Refusal) -> None:
        self._refused(refusal)
        self._exchange.respond(refusal.status, error_headers(refusal) + self._mark.line, error_body(refusal))


def _head(exchange: Exchange, principal: Principal, mark: Mark, content_type: str, size_bytes: int) -> bytes:
    method = "GET" if exchange.method == "HEAD" else exchange.method
    target = f"{exchange.path}?{exchange.query}" if exchange.query else exchange.path
    said = (principal.id, principal.tenant, principal.credential.value, str(mark.label))
    lines = [
        f"{method} {target} HTTP/1.1",
        "host: batches",
        f"x-request-id: {exchange.request_id}",
        *(f"{name}: {quote(value)}" for name, value in zip(ASKER_HEADERS, said, strict=True)),
        f"content-length: {size_bytes if method in _METHODS_WITH_BODY else 0}",
    ]
    if _HEADER_VALUE.fullmatch(content_type):
        lines.append(f"content-type: {content_type}")
    return "\r\n".join((*lines, "", "")).encode("ascii")


def _told(body: bytes) -> Refusal:
    try:
        told = msgspec.json.decode(body, type=_Told)
    except msgspec.DecodeError:
        return _away()
    if told.code not in ERROR_CODES:
        return _away()
    return Refusal(told.code, told.message, param=told.param, retry_after_s=told.retry_after_s)


def _away() -> Refusal:
    message = "Files and batches cannot be reached now; everything else is served. Try again in a moment."
    return Refusal("batches_unavailable", message, retry_after_s=2)
