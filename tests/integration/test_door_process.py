"""Doors as processes: a gateway that can connect nowhere reaches engines through two; a cut cable is noticed."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from door_process import TESTS, door_process, free_port, program
from door_world import HOST, Hosts, route
from fastness.fleet.door.orders import CONNECTOR, DoorOrders, HostPlace, WantedModel, remote_socket
from fastness.identity.cluster import folder as files
from fastness.identity.cluster.membership import Membership

pytestmark = pytest.mark.slow

WHOLE = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nwhole"
GATEWAY = """
from fastness.main.process import stay_local
stay_local()
import asyncio, uvloop
from pathlib import Path
from fastness.config import load
from fastness.gateway.http import EngineConnections
from fastness.main.gateway import remote_engines
home, run, where = sys.argv[1:]

async def main():
    make = remote_engines(load({"FASTNESS_HOME": home})[0], Path(run))
    connections = EngineConnections(remote=make())
    try:
        for _ in range(3):
            answer = await connections.call(where, "/v1/x", b"{}", answer_bytes_max=10)
        print(answer.body.decode())
    except Exception as error:
        print(type(error).__name__, error)
    finally:
        await connections.close()
    try:
        await asyncio.get_running_loop().create_connection(asyncio.Protocol, "127.0.0.1", 80)
    except OSError as error:
        print("by itself:", error.strerror)

uvloop.run(main())
"""


@contextmanager
def engine(path: Path) -> Iterator[None]:
    """An engine that answers, in a thread."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(16)

        def serve() -> None:
            try:
                while True:
                    with listener.accept()[0] as speaker:
                        while speaker.recv(65_536):
                            speaker.sendall(WHOLE)
            except OSError:
                return

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(10)


def says(true: Callable[[str], bool], *arguments: str) -> None:
    """Ask as a gateway until this is true of what it hears: what doors are told, they do soon."""
    deadline = time.monotonic() + 60
    while not true(said := program(GATEWAY, *arguments)):
        assert time.monotonic() < deadline, said
        time.sleep(0.1)


def test_a_gateway_without_a_way_out_reaches_an_engine_on_another_host(tmp_path):
    """The node's door leads to the engine; the head's own makes the connection, and is the only one that can."""
    hosts, port = Hosts(tmp_path), free_port()
    place = f"127.0.0.2:{port}"
    where = remote_socket(place, "chat-1", HOST)
    routes = (route(tmp_path / "engine"),)
    with engine(tmp_path / "engine"), door_process(hosts.node, port, DoorOrders(1, None, routes), "127.0.0.2") as node:
        with door_process(hosts.head, port, DoorOrders(1, None, (), (place,))) as head:
            arguments = (str(head.home), str(head.run_directory), where)
            assert program(GATEWAY, *arguments) == "whole\nby itself: Address family not supported by protocol\n"
            head.orders(DoorOrders(2, None, ()))
            says(lambda said: "is not the door of a host" in said, *arguments)
            head.orders(DoorOrders(3, None, (), (place,)))
            node.orders(DoorOrders(2, time.monotonic() - 1, routes))
            says(lambda said: "EngineBroken" in said, *arguments)
            node.until_logged("the lease of this host lapsed")
            node.orders(DoorOrders(3, None, routes))
            says(lambda said: "whole" in said, *arguments)
            files.replace_file(hosts.node.folder, files.REVOKED, hosts.world.revoke(hosts.head.certificate.serial))
            says(lambda said: "whole" not in said, *arguments)
            node.until_logged("was revoked")
        assert "does not run" in program(GATEWAY, *arguments)
        assert not (head.run_directory / CONNECTOR).exists()


def test_a_door_connects_and_listens_on_its_port_only(tmp_path):
    port, other = free_port(), free_port()
    said = program(
        """
import socket
from fastness.main.door import keep_to_ports
port, other = map(int, sys.argv[1:])
keep_to_ports(port)
for act, which in (("bind", port), ("bind", other), ("connect", port), ("connect", other)):
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        getattr(made, act)(("127.0.0.1", which))
        print(act, "done")
    except OSError as error:
        print(act, error.strerror)
for family, kind in ((socket.AF_INET, socket.SOCK_DGRAM), (socket.AF_PACKET, socket.SOCK_RAW)):
    try:
        socket.socket(family, kind)
        print("made")
    except OSError as error:
        print(error.strerror)
""",
        str(port),
        str(other),
    ).splitlines()
    assert said[0] == "bind done" and said[1] == "bind Permission denied"
    assert said[2] != "connect Permission denied" and said[3] == "connect Permission denied"
    assert "made" not in said


def large_model(folder: Path) -> tuple[str, int]:
    """Lay down what takes a second or two to fetch here."""
    folder.mkdir(parents=True, exist_ok=True)
    block, digest = os.urandom(1 << 20), hashlib.sha256()
    path = folder / "new"
    with path.open("wb") as file:
        for number in range(384):
            file.write(piece := number.to_bytes(4, "big") + block[4:])
            digest.update(piece)
    path.rename(folder / f"{digest.hexdigest()}.gguf")
    return digest.hexdigest(), 384 << 20


def test_a_host_that_dies_midway_is_replaced_and_a_door_that_dies_goes_on_where_it_was(tmp_path):
    """The nearest is killed, the one that fetches is killed and comes back, and the last gives the rest."""
    hosts, port = Hosts(tmp_path), free_port()
    near, far = hosts.node, hosts.world.host("leeds-01")
    digest, size_bytes = large_model(near.folder.parent / "models")
    (far.folder.parent / "models").mkdir()
    os.link(near.folder.parent / f"models/{digest}.gguf", far.folder.parent / f"models/{digest}.gguf")
    sources = (HostPlace(HOST, f"127.0.0.2:{port}"), HostPlace("leeds-01", f"127.0.0.3:{port}"))
    wanted = DoorOrders(1, wanted=(WantedModel(digest, size_bytes, sources),))
    partial = hosts.head.folder.parent / f"models/{digest}.fetched"

    def until(true: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 60
        while not true():
            assert time.monotonic() < deadline
            time.sleep(0.005)

    with door_process(near, port, None, "127.0.0.2") as first, door_process(far, port, None, "127.0.0.3"):
        with door_process(hosts.head, port, wanted) as fetching:
            until(lambda: partial.exists() and partial.stat().st_size > 8 << 20)
            first.kill()
            begun_bytes = partial.stat().st_size
            until(lambda: partial.exists() and partial.stat().st_size > begun_bytes + (8 << 20))
            fetching.kill()
        with door_process(hosts.head, port, wanted) as fetching:
            until(lambda: bool((told := fetching.report()) and told.fetches and told.fetches[0].done))
            fetching.until_logged("model.fetched")
    model = hosts.head.folder.parent / f"models/{digest}.gguf"
    assert hashlib.sha256(model.read_bytes()).hexdigest() == digest
    assert not partial.exists()


APART = TESTS / "integration/hosts_apart.py"


@pytest.mark.slow
def test_a_stream_over_a_cable_that_is_cut_fails_within_three_seconds(tmp_path):
    """Two network namespaces and a cable; the link goes down in the middle of a stream, and nobody says anything."""
    if shutil.which("ip") is None or shutil.which("unshare") is None:
        if os.environ.get("CI") == "true":
            pytest.fail("ip (iproute2) and unshare (util-linux) are needed")
        pytest.skip("needs ip (iproute2) and unshare (util-linux)")
    hosts = Hosts(tmp_path)
    assert Membership(hosts.head.folder)
    namespaces = ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--net", "--user", "--map-root-user"]
    argv = [
        *namespaces,
        sys.executable,
        str(APART),
        str(hosts.head.folder),
        str(hosts.node.folder),
        str(tmp_path / "s"),
    ]
    run = subprocess.run(argv, capture_output=True, text=True, timeout=90, check=False)
    assert run.returncode == 0, run.stderr + run.stdout
    said = dict(line.split(" ", 1) for line in run.stdout.splitlines())
    print(said)
    assert int(said["chunks"]) > 3
    assert float(said["lost_s"]) < 3.0
    assert float(said["connect_s"]) < 2.5
