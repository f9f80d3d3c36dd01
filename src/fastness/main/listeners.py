"""Where the API will be served: bound before this process gives up making sockets, and handed to the gateways."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from fastness.config import Settings


def bind_listener(settings: Settings) -> socket.socket:
    """Bind where the API will be served, beside other gateways if there are any; raises OSError that says where.

    Nobody can connect until it listens.
    """
    with _said(settings):
        return _bound(settings.gateway.host, settings.gateway.port, shared=settings.gateway.processes > 1)


def bind_listeners(settings: Settings, count: int) -> tuple[socket.socket, ...]:
    """Bind so many sockets, all where the API will be served: the kernel deals connections out among those that listen.

    The first is bound alone, so that a port on which anybody else listens is refused; raises OSError that says where.
    """
    host, port = settings.gateway.host, settings.gateway.port
    with _said(settings), ExitStack() as undone:
        bound = [undone.enter_context(_bound(host, port, shared=False))]
        if not port and count > 1:  # a port that was not asked for by number is lost when a socket stops listening
            scout = bound.pop()
            port = scout.getsockname()[1]
            bound.append(undone.enter_context(_bound(host, port, shared=False)))
            scout.close()
        bound[0].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, int(count > 1))
        while len(bound) < count:
            bound.append(undone.enter_context(_bound(host, port, shared=True)))
        undone.pop_all()
    return tuple(bound)


@contextmanager
def _said(settings: Settings) -> Iterator[None]:
    """Let an OSError say where it was tried, and what to try."""
    try:
        yield
    except OSError as error:
        raise OSError(
            f"Cannot listen on {settings.gateway.host}:{settings.gateway.port}: {error.strerror}. "
            "Stop what listens there, or choose another port: fastness up --port 0"
        ) from error


def _bound(host: str, port: int, *, shared: bool) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, int(shared))
        if ":" in host:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind((host, port))
    except OSError:
        listener.close()
        raise
    return listener
