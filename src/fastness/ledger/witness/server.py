"""The HTTP side of a witness: one route, small bounds, and nothing that a stranger can make it keep."""

from __future__ import annotations

import ssl
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from fastness.ledger.witness.judge import TEXT, Judge, Reply
from fastness.ledger.witness.state import StateUnusable
from fastness.ledger.witness.submission import PATH, SUBMISSION_BYTES_MAX

CONNECTIONS_MAX: Final = 32
TIMEOUT_S: Final = 10.0
"""For each read of a connection, and between two requests on it."""


class WitnessServer(ThreadingHTTPServer):
    """Serves a judge at `address` until `shutdown`; with `context`, by TLS. Raises OSError."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = CONNECTIONS_MAX

    def __init__(self, address: tuple[str, int], judge: Judge, context: ssl.SSLContext | None = None) -> None:
        super().__init__(address, _Handler)
        self.judge, self._context = judge, context
        self._free = threading.BoundedSemaphore(CONNECTIONS_MAX)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Give a connection a thread, if one is free; else close it at once."""
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve a connection to its end."""
        try:
            request.settimeout(TIMEOUT_S)
            if self._context is not None:
                request = self._context.wrap_socket(request, server_side=True)
            with suppress(OSError):  # a connection that broke is no news
                self.finish_request(request, client_address)
        except OSError:
            pass  # no TLS came of it
        finally:
            self.shutdown_request(request)
            self._free.release()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "fastness-witness", ""
    timeout = TIMEOUT_S

    def do_GET(self) -> None:
        """GET /livez, for whoever watches over it."""
        self._answer(Reply(200, "ok\n") if self.path == "/livez" else Reply(404, f"There is POST {PATH} only.\n"))

    def do_POST(self) -> None:
        """POST /add-checkpoint."""
        length = self.headers.get("content-length", "")
        if self.path != PATH:
            self._answer(Reply(404, f"There is POST {PATH} only.\n"), close=True)
        elif not length.isascii() or not length.isdigit():
            self._answer(Reply(411, "The length of the body needs to be given.\n"), close=True)
        elif int(length) > SUBMISSION_BYTES_MAX:
            self._answer(Reply(413, f"A submission has at most {SUBMISSION_BYTES_MAX} bytes.\n"), close=True)
        else:
            self._answer(self._judged(self.rfile.read(int(length))))

    def _judged(self, content: bytes) -> Reply:
        judge: Judge = self.server.judge  # type: ignore[attr-defined]  # it is a WitnessServer
        try:
            return judge.judge(content)
        except (OSError, StateUnusable):
            return Reply(503, "This witness cannot keep what it saw now, so it signs nothing.\n")

    def _answer(self, reply: Reply, *, close: bool = False) -> None:
        body = reply.body.encode()
        self.send_response(reply.status)
        self.send_header("content-type", reply.type or TEXT)
        self.send_header("content-length", str(len(body)))
        if close:
            self.send_header("connection", "close")
            self.close_connection = True
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Log no request: `tell` says what matters."""
