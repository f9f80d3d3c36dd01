"""Fetching a document from outside: the broker makes the connection, and this process speaks over it."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import ssl
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from fastness.perimeter.addresses import Address, parse_address

BODY_BYTES_MAX: Final = 1_048_576
ANSWER_BYTES_MAX: Final = 1_024
TIMEOUT_S: Final = 20.0
"""For the whole of it: the broker's connection, TLS, and the document."""


class NotFetched(Exception):  # noqa: N818 - an outcome
    """The document was not had; the message says what stood in the way."""


class BrokerClient:
    """Fetches documents over connections that the broker at `socket_path` makes.

    Servers are believed by the system's certificate authorities (or SSL_CERT_FILE), or by those in `ca_file` alone.
    """

    def __init__(self, socket_path: Path, ca_file: Path | None = None, *, timeout_s: float = TIMEOUT_S) -> None:
        self._socket_path = socket_path
        self._ca_file = ca_file
        self._timeout_s = timeout_s

    async def fetch(self, url: str) -> bytes:
        """Return the document at `url`: https, or http on this machine; no redirect is followed. Raises NotFetched."""
        return await asyncio.to_thread(self._fetch, url)

    def connect(self, address: Address) -> socket.socket:
        """Return a connection to `address`, made by the broker; raises NotFetched."""
        try:
            with socket.socket(socket.AF_UNIX) as door:
                door.settimeout(self._timeout_s)
                door.connect(str(self._socket_path))
                with suppress(BrokenPipeError):  # it may have said no before it was asked
                    door.sendall(f"{address}\n".encode())
                answer, descriptors, _, _ = socket.recv_fds(door, ANSWER_BYTES_MAX, 1)
        except FileNotFoundError as error:
            raise NotFetched(f"{address}: perimeter.addresses is empty, so nothing outside is spoken to") from error
        except OSError as error:
            raise NotFetched(f"{address}: the broker does not answer: {error}") from error
        if descriptors:
            return socket.socket(fileno=descriptors[0])
        with suppress(ValueError, TypeError, LookupError):
            raise NotFetched(f"{address}: the broker refused: {json.loads(answer)['refused']}")
        raise NotFetched(f"{address}: the broker broke off")

    def secured(self, stream: socket.socket, host: str) -> socket.socket:
        """Return a connection as one by TLS, with a server that is `host`; raises OSError."""
        return self._context().wrap_socket(stream, server_hostname=host)

    def _fetch(self, url: str) -> bytes:
        address, path, secure = read_url(url)
        deadline = time.monotonic() + self._timeout_s
        stream = self.connect(address)
        # A server that sends a byte now and then would hold a thread for ever: the whole has one deadline.
        cut = threading.Timer(max(0.0, deadline - time.monotonic()), _shut, (stream.fileno(),))
        cut.daemon = True
        cut.start()
        connection = http.client.HTTPConnection(address.host, address.port)
        try:
            stream.settimeout(self._timeout_s)
            if secure:
                stream = self.secured(stream, address.host)
            connection.sock = stream
            return _get(connection, path, url)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise NotFetched(f"{url}: {error}") from error
        finally:
            cut.cancel()
            cut.join()  # it must not shut a descriptor that is somebody else's by then
            connection.close()
            stream.close()

    def _context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self._ca_file)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        return context


def _get(connection: http.client.HTTPConnection, path: str, url: str) -> bytes:
    connection.request("GET", path, headers={"accept": "application/json", "connection": "close"})
    with connection.getresponse() as answer:
        if answer.status != http.client.OK:
            raise NotFetched(f"{url}: answered {answer.status}")
        body = answer.read(BODY_BYTES_MAX + 1)
    if len(body) > BODY_BYTES_MAX:
        raise NotFetched(f"{url}: more than {BODY_BYTES_MAX:,} bytes")
    return body


def read_url(url: str, *, plain: bool = False) -> tuple[Address, str, bool]:
    """Take a URL apart: where to connect, what to ask for, whether over TLS. Raises NotFetched.

    `plain` permits http to other machines, for what proves itself.
    """
    try:
        parts = urlsplit(url)
        secure = parts.scheme == "https"
        host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname or ""
        address = parse_address(f"{host}:{parts.port or (443 if secure else 80)}")
    except ValueError as error:
        raise NotFetched(f"{url[:200]!r} cannot be fetched: {error}") from error
    here = plain or address.host in ("localhost", "127.0.0.1", "::1")
    if parts.username or parts.fragment or not (secure or (parts.scheme == "http" and here)):
        raise NotFetched(
            f"{url[:200]!r} cannot be fetched: it needs https (or http on this machine), and no credentials"
        )
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if not path.isascii() or not path.isprintable() or " " in path:
        raise NotFetched(f"{url[:200]!r} cannot be fetched: its path must be percent-encoded")
    return address, path, secure


def _shut(descriptor: int) -> None:
    with suppress(OSError), socket.socket(fileno=socket.dup(descriptor)) as copy:
        copy.shutdown(socket.SHUT_RDWR)
