"""The broker: the one process of an installation that may connect outside, to the configured addresses and no other.

It speaks no protocol of theirs and sees nothing of what is said: it makes a connection and hands it over. A supervisor
that has given up its own sockets cannot start it again, so it keeps itself up (succession.py): its worker is the door,
which takes requests, and each request is a child of that, which may hang or die alone.

A request is `host:port` and a newline on a Unix socket; the answer is one line of JSON, `{"granted": true}` with the
connection beside it, or `{"refused": "..."}`.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import struct
import sys
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Final, NoReturn

from fastness.perimeter import kernel as k
from fastness.perimeter.addresses import Address, parse_address, reaches_inward
from fastness.perimeter.kernel import Kernel
from fastness.perimeter.reach import speak_to
from fastness.perimeter.succession import keep as keep_up

CHILDREN_MAX: Final = 16
REQUESTS_PER_MINUTE_MAX: Final = 120
CONNECT_TIMEOUT_S: Final = 5.0
REQUEST_TIMEOUT_S: Final = 15
"""Longest life of one request: reading it, looking the name up, connecting, handing over."""
REQUEST_BYTES_MAX: Final = 300

Record = Callable[[str, str, str], None]
"""Called with an event (`broker.granted`, `broker.refused`), the address asked for, and why."""


class Refused(Exception):  # noqa: N818 - an answer
    """The message says why a connection is not made."""


def keep(
    listener: socket.socket, addresses: tuple[Address, ...], record: Record, on_event: Callable[[], None], told: int
) -> None:
    """Be the broker until SIGTERM: give up what it does not need, and keep a door open on `listener`.

    `on_event` is called after each recorded event, to make it durable; `told` is as of succession.keep. Raises
    NotSealed when it cannot be confined.
    """
    judged = speak_to(tuple({address.port for address in addresses}), names=any(one.is_name for one in addresses))

    def door(_: int) -> None:
        reason = "ports are judged" if judged else "ports are not judged"
        record("broker.listening", " ".join(map(str, addresses)), reason)
        on_event()
        serve(listener, addresses, record, on_event)

    keep_up(door, told)


def serve(
    listener: socket.socket, addresses: tuple[Address, ...], record: Record, on_event: Callable[[], None]
) -> None:
    """Take requests for ever, each in a child of its own; what the children report is recorded here."""
    reports, report = os.pipe()
    children = 0
    recent: deque[float] = deque(maxlen=REQUESTS_PER_MINUTE_MAX)
    listener.setblocking(False)
    while True:
        ready = select.select([listener.fileno(), reports], [], [], 1.0)[0]
        if reports in ready:
            for line in os.read(reports, 65_536).splitlines():
                record(*json.loads(line))
            on_event()
        if listener.fileno() in ready:
            now = time.monotonic()
            crowded = len(recent) == recent.maxlen and now - recent[0] < 60
            with suppress(BlockingIOError, ConnectionError), listener.accept()[0] as client:
                if crowded or children >= CHILDREN_MAX:
                    _say(client, {"refused": "too many requests at once, or within a minute"})
                    record("broker.refused", "", "too many requests at once, or within a minute")
                    on_event()
                elif _fork() == 0:
                    _end_after(partial(_attend, client, addresses, report))
                else:
                    children += 1
                    recent.append(now)
        with suppress(ChildProcessError):
            while children and os.waitpid(-1, os.WNOHANG)[0]:
                children -= 1


def permitted(asked: str, addresses: tuple[Address, ...]) -> Address:
    """Return the configured address that `asked` is, to the letter; raises Refused."""
    try:
        address = parse_address(asked)
    except ValueError as error:
        raise Refused(str(error)) from error
    if address not in addresses:
        raise Refused(f"{address} is not among perimeter.addresses")
    return address


def connect(address: Address) -> socket.socket:
    """Connect to `address`, looking up nothing but its name; raises Refused."""
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise Refused(f"{address.host} was not found: {error.strerror}") from error
    why = "it has no address"
    for family, kind, protocol, _, place in found:
        if reaches_inward(address.host, str(place[0])):
            why = f"{address.host} leads to {place[0]}, which is this machine or link"
            continue
        speaker = socket.socket(family, kind, protocol)
        try:
            speaker.settimeout(CONNECT_TIMEOUT_S)
            speaker.connect(place)
        except OSError as error:
            speaker.close()
            why = f"no connection to {place[0]}: {error.strerror or error}"
        else:
            return speaker
    raise Refused(why)


def _attend(client: socket.socket, addresses: tuple[Address, ...], report: int) -> None:
    signal.alarm(REQUEST_TIMEOUT_S)  # whatever hangs, the resolver too, ends with this process
    client.setblocking(True)
    asked = "?"
    try:
        _, uid, _ = struct.unpack("3i", client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        if uid != os.getuid():
            raise Refused(f"user {uid} may not ask")  # noqa: TRY301 - one place says no
        asked = _line(client)
        address = permitted(asked, addresses)
        with connect(address) as made:
            socket.send_fds(client, [b'{"granted": true}\n'], [made.fileno()])
        _report(report, "broker.granted", str(address), "")
    except Refused as refusal:
        _report(report, "broker.refused", asked, str(refusal))
        _say(client, {"refused": str(refusal)})


def _line(client: socket.socket) -> str:
    text = b""
    while not text.endswith(b"\n"):
        chunk = client.recv(REQUEST_BYTES_MAX - len(text))
        if not chunk:
            raise Refused(f"a request is host:port and a newline, {REQUEST_BYTES_MAX} bytes at most")
        text += chunk
    return text[:-1].decode("ascii", "replace")


def _report(pipe: int, *words: str) -> None:
    # Shorter than PIPE_BUF, so that lines of several children never mix.
    os.write(pipe, json.dumps([word[:300] for word in words]).encode() + b"\n")


def _say(client: socket.socket, answer: dict[str, str]) -> None:
    with suppress(OSError):
        client.send(json.dumps(answer).encode() + b"\n")


def _fork() -> int:
    """Fork; the child dies with its parent."""
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        Kernel().prctl(k.PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
    return child


def _end_after(act: Callable[[], None]) -> NoReturn:
    """Do `act` and end this child, whatever happens in it."""
    try:
        act()
    except BaseException as error:  # noqa: BLE001 - a child never returns into its parent's code
        sys.stderr.write(f"broker: {type(error).__name__}: {error}\n")
        os._exit(1)
    os._exit(0)
