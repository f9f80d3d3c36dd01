"""Looking at processes from outside: what they hold, whatever they say."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import fastness
from fastness.perimeter.live import Seen, look_at

ROOT = str(Path(fastness.__file__).parents[1])
PROGRAM = """
import socket, sys
sys.path.append(sys.argv[1])
from fastness.perimeter.reach import stay_local
{before}
{reach}
print("there", flush=True)
sys.stdin.readline()
"""


@contextmanager
def process(before: str, *, reach: str = "stay_local()", name: str = "up", begin: str = "") -> Iterator[int]:
    code = begin + PROGRAM.format(before=before, reach=reach)
    argv = [sys.executable, "-c", code, ROOT, name]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as one:
        assert one.stdout
        assert one.stdin
        assert one.stdout.readline() == "there\n"
        try:
            yield one.pid
        finally:
            one.stdin.close()


def seen(before: str, port: int = 1, *, reach: str = "stay_local()", spoken: tuple[int, ...] = ()) -> Seen:
    with process(before, reach=reach) as pid:
        return look_at(pid, port, spoken)[0]


@pytest.mark.slow
def test_unix_sockets_and_no_others_are_as_promised() -> None:
    found = seen("one, two = socket.socketpair()")
    assert found.holds
    assert found.answer.startswith("2 Unix sockets, 0 listening")


@pytest.mark.slow
def test_what_an_engine_in_its_own_network_accepted_from_us_is_a_unix_socket(tmp_path: Path) -> None:
    before = f"""
import ctypes, os, time
path, (ends, held) = {str(tmp_path / "engine.sock")!r}, os.pipe()
if os.fork() == 0:
    os.close(held)
    user = 0 if os.geteuid() == 0 else 0x10000000
    assert ctypes.CDLL(None).unshare(0x40000000 | user) == 0
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path + ".new")
    listener.listen()
    stay_local()
    os.rename(path + ".new", path)
    accepted, _ = listener.accept()
    accepted.send(b"here")
    os.read(ends, 1)  # until the parent is gone
    os._exit(0)
while not os.path.exists(path):
    time.sleep(0.01)
talk = socket.socket(socket.AF_UNIX)
talk.connect(path)
talk.recv(4)
"""
    with process(before) as pid:
        supervisor, engine = look_at(pid, 1)
    assert (supervisor.kind, engine.kind) == ("supervisor", "engine")
    assert engine.holds, engine.answer
    assert engine.answer == "2 Unix sockets, 0 listening, 0 accepted"


@pytest.mark.slow
def test_the_listener_and_what_it_accepted_are_told_apart() -> None:
    with socket.create_server(("127.0.0.1", 0)) as any_port:
        port = any_port.getsockname()[1]
    before = f"""
listener = socket.create_server(("127.0.0.1", {port}))
client = socket.create_connection(listener.getsockname())
accepted, _ = listener.accept()
client.close()
"""
    assert seen(before, port).answer == "0 Unix sockets, 1 listening, 1 accepted"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("before", "said"),
    [
        ("one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); one.bind(('127.0.0.1', 0))", "a socket of udp"),
        ("one = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); one.bind(('::1', 0))", "a socket of udp6"),
        ("one = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW); one.bind((0, 0))", "a socket of netlink"),
        ("one = socket.create_server(('127.0.0.1', 0))", "a TCP socket from 0100007F"),
        ("one = socket.socket()", "no family that is known here"),
    ],
)
def test_any_other_socket_is_named(before: str, said: str) -> None:
    found = seen(before)
    assert not found.holds
    assert said in found.answer


@pytest.mark.slow
def test_a_process_that_gave_nothing_up_is_named() -> None:
    found = seen("", reach="")
    assert not found.holds
    assert found.answer == "no filter of system calls; it may gain privileges"


@pytest.mark.slow
def test_a_process_that_is_gone_is_not_taken_for_well() -> None:
    with process("") as pid:
        pass
    with pytest.raises(FileNotFoundError):
        look_at(pid, 1)


def beside(before: str, ports: tuple[int, ...], *, name: str, begin: str = "", reach: str = "stay_local()") -> Seen:
    """Look at a process that this one started."""
    with process(before, name=name, begin=begin, reach=reach) as pid:
        return next(one for one in look_at(os.getpid(), 1, (), ports) if one.pid == pid)


@pytest.fixture
def door() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.mark.slow
def test_a_connection_to_a_door_that_was_handed_to_a_gateway_is_as_promised(door: int) -> None:
    before = f"one = socket.create_connection(('127.0.0.1', {door}))"
    found = beside(before, (door, 6379), name="gateway")
    assert found.kind == "gateway"
    assert found.holds
    assert found.answer.endswith("1 handed over")
    for ports in ((), (6379, door)):
        assert not beside(before, ports, name="gateway").holds


@pytest.mark.slow
def test_a_door_holds_connections_to_hosts_of_the_cluster_and_to_nobody_else(door: int) -> None:
    begin = "from fastness.main.door import keep_to_ports"
    before = f"one = socket.create_connection(('127.0.0.1', {door}))"
    reach = f"keep_to_ports({door})"
    found = beside(before, (door,), name="-", begin=begin, reach=reach)
    assert found.kind == "door"
    assert found.holds
    assert found.answer.endswith("1 to hosts of the cluster")
    assert not beside(before, (door + 1,), name="-", begin=begin, reach=reach).holds
    assert not beside(before, (door,), name="-", begin=begin, reach="").holds
