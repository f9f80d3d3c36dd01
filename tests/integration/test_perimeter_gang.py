"""The seal of a gang member: one interface, which leads to the other members and nowhere; it ends with any of them."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fastness.core.gang import INTERFACE, MTU_BYTES, address_of
from fastness.engines.diagnosis import diagnose
from fastness.perimeter.gang import JOINED, TUN
from fastness.perimeter.local import LocalPerimeter
from fastness.perimeter.port import Confinement, Gang, Profile

PYTHON = (str(Path(sys.executable).resolve()), "-I", "-S", "-c")
WITHIN_S = 30.0
FIRST = f"""
import socket
with socket.create_server(("{address_of(0)}", 29501)) as server:
    made, came = server.accept()
    with made:
        print(came[0], made.recv(100, socket.MSG_WAITALL).decode())
print(sorted(name for _, name in socket.if_nameindex()))
for where in ("10.77.0.1", "127.0.0.1", "192.0.2.1"):
    with socket.socket() as one:
        print(one.connect_ex((where, 7443)))
"""
SECOND = f"""
import socket, time
while True:
    with socket.socket() as one:
        if one.connect_ex(("{address_of(0)}", 29501)) == 0:
            one.sendall(b"x" * 100)
            one.recv(1)
            break
    time.sleep(0.01)
"""
WAITS = "import time; print('runs', flush=True); time.sleep(600)"


@pytest.fixture
def place() -> Iterator[Path]:
    try:
        os.close(os.open(TUN, os.O_RDWR))
    except OSError as error:
        why = f"{TUN} cannot be opened: {error.strerror}"
        pytest.fail(why) if os.environ.get("CI") else pytest.skip(why)
    with tempfile.TemporaryDirectory(prefix="fsg-") as found:
        yield Path(found)


class FakeDoor:
    """Takes members, and passes packets between two of them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen()
        self.listener.settimeout(WITHIN_S)
        self.taken: list[tuple[str, int, socket.socket]] = []

    def take(self) -> tuple[str, int, socket.socket]:
        guard, _ = self.listener.accept()
        name, (end,), _, _ = socket.recv_fds(guard, 256, 1)
        self.taken.append((name.decode(), end, guard))
        return self.taken[-1]

    def pump(self, ends: list[int], until: subprocess.Popen[str]) -> None:
        while until.poll() is None:
            for one in select.select(ends, (), (), 0.05)[0]:
                packet = os.read(one, MTU_BYTES)
                if packet[0] >> 4 == 4:
                    os.write(ends[1 - ends.index(one)], packet)

    def close(self) -> None:
        for _, end, guard in self.taken:
            os.close(end)
            guard.close()
        self.listener.close()


def started(place: Path, rank: int, code: str) -> subprocess.Popen[str]:
    own = place / f"own-{rank}"
    own.mkdir()
    gang = Gang(place / "door", "chat-1", INTERFACE, address_of(rank), MTU_BYTES)
    confinement = replace(Confinement((), (own,), 64 << 30, 256, profile=Profile.FAMILY), gang=gang)
    argv = LocalPerimeter().sealed_argv((*PYTHON, code), confinement)
    pipe = subprocess.PIPE
    return subprocess.Popen(argv, stdout=pipe, stderr=pipe, text=True, start_new_session=True)


def test_members_reach_each_other_and_nobody_else(place: Path) -> None:
    door = FakeDoor(place / "door")
    with started(place, 0, FIRST) as first, started(place, 1, SECOND) as second:
        try:
            taken = [door.take(), door.take()]
            assert [name for name, _, _ in taken] == ["chat-1\n"] * 2
            for _, _, guard in taken:
                guard.sendall(JOINED)
            door.pump([end for _, end, _ in taken], first)
            output, errors = first.communicate(timeout=WITHIN_S)
        finally:
            for one in (first, second):
                one.kill()
            door.close()
    heard, interfaces, *tried = output.splitlines()
    assert heard == f"{address_of(1)} {'x' * 100}", errors
    assert interfaces == "['gang0', 'lo']"
    assert tried == ["101", "111", "101"], "no route but to its gang; on its own loopback nobody listens"


def test_it_begins_when_the_door_says_so_and_ends_when_the_door_lets_go(place: Path) -> None:
    door = FakeDoor(place / "door")
    with started(place, 0, WAITS) as one:
        try:
            _, _, guard = door.take()
            assert one.stdout
            assert select.select((one.stdout,), (), (), 0.3)[0] == [], "it waits"
            guard.sendall(JOINED)
            assert one.stdout.readline() == "runs\n"
            guard.shutdown(socket.SHUT_RDWR)
            _, errors = one.communicate(timeout=WITHIN_S)
        finally:
            one.kill()
            door.close()
    assert one.returncode == -signal.SIGKILL
    assert diagnose(tuple(errors.splitlines()), one.returncode).code == "gang_ended"


def test_where_no_door_takes_it_nothing_is_executed(place: Path) -> None:
    with started(place, 0, WAITS) as alone:
        output, errors = alone.communicate(timeout=WITHIN_S)
    assert (alone.returncode, output) == (113, "")
    assert "layer `gang`" in errors and str(place / "door") in errors


def test_a_member_is_a_sealed_family(place: Path) -> None:
    gang = Gang(place / "door", "chat-1", INTERFACE, address_of(0), MTU_BYTES)
    for other in (
        Confinement((), (place,), 64 << 30, 256, gang=gang),
        Confinement((), (place,), 64 << 30, 256, profile=Profile.FAMILY, unsealed=True, gang=gang),
    ):
        done = subprocess.run(LocalPerimeter().sealed_argv((*PYTHON, WAITS), other), capture_output=True, text=True)
        assert done.returncode == 113 and "sealed families" in done.stderr
