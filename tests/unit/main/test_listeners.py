"""One port, several listeners: the kernel deals connections out, and nobody else gets on the port."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from fastness.config import Settings
from fastness.config.settings import GatewaySettings
from fastness.main.listeners import bind_listener, bind_listeners

SETTINGS = Settings(Path("/nowhere"), gateway=GatewaySettings(port=0))


@contextmanager
def bound(count: int, settings: Settings = SETTINGS) -> Iterator[tuple[socket.socket, ...]]:
    with ExitStack() as closed:
        yield tuple(closed.enter_context(one) for one in bind_listeners(settings, count))


def connected(port: int, times: int) -> None:
    for _ in range(times):
        socket.create_connection(("127.0.0.1", port)).close()


def taken(listener: socket.socket) -> int:
    listener.setblocking(False)
    count = 0
    while True:
        try:
            listener.accept()[0].close()
        except BlockingIOError:
            return count
        count += 1


@pytest.mark.parametrize("turned", [False, True])
def test_connections_are_dealt_out_and_one_that_stops_listening_gets_none_until_it_listens_again(turned):
    with bound(2) as both:
        first, second = both[::-1] if turned else both
        port = first.getsockname()[1]
        assert second.getsockname()[1] == port
        for one in (first, second):
            one.listen(256)
        connected(port, 64)
        shares = taken(first), taken(second)
        assert sum(shares) == 64
        assert min(shares) > 8
        second.shutdown(socket.SHUT_RDWR)
        connected(port, 64)
        assert taken(first) == 64
        second.listen(256)
        connected(port, 64)
        assert taken(second) > 8
        assert is_served(second, port)


def is_served(listener: socket.socket, port: int) -> bool:
    """Whether a connection that this listener accepts carries anything."""
    listener.setblocking(False)
    for _ in range(64):
        with socket.create_connection(("127.0.0.1", port)) as client:
            try:
                accepted, _ = listener.accept()
            except BlockingIOError:
                continue  # it went to the other one
            with accepted:
                client.sendall(b"x")
                accepted.settimeout(5)
                return accepted.recv(1) == b"x"
    return False


def test_a_port_on_which_somebody_listens_is_refused_also_by_a_second_installation_of_ours():
    with bound(2) as (first, _):
        first.listen()
        port = first.getsockname()[1]
        there = replace(SETTINGS, gateway=GatewaySettings(port=port))
        for count in (1, 2):
            with pytest.raises(OSError, match=f"Cannot listen on 127.0.0.1:{port}: .*--port 0"):
                bind_listeners(there, count)


def test_gateways_that_are_started_each_by_itself_bind_one_beside_the_other():
    settings = replace(SETTINGS, gateway=GatewaySettings(port=0, processes=2))
    with bind_listener(settings) as first:
        first.listen()
        port = first.getsockname()[1]
        bind_listener(replace(SETTINGS, gateway=GatewaySettings(port=port, processes=2))).close()
        with pytest.raises(OSError, match="Cannot listen"):
            bind_listener(replace(SETTINGS, gateway=GatewaySettings(port=port)))
