"""What our own processes can still speak to, in real processes: this machine, and nobody else."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import fastness
from fastness.perimeter import kinds, probe_reach
from fastness.perimeter.addresses import Address
from fastness.perimeter.kinds import KINDS, probe_kind, tcp_is_judged
from fastness.perimeter.proof import run_probes
from fastness.perimeter.witness import witness_of_reach

ROOT = str(Path(fastness.__file__).parents[1])
LOCAL = f"import sys; sys.path.append({ROOT!r}); from fastness.perimeter.reach import stay_local, speak_to\n"


def run(code: str, *arguments: str, passed: tuple[int, ...] = ()) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-c", LOCAL + code, *arguments]
    return subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False, pass_fds=passed)


@pytest.mark.parametrize("kind", KINDS)
def test_no_probe_gets_through_from_inside_any_kind_of_process(kind: str) -> None:
    results = probe_kind(kind)
    assert [one.id for one in results if not one.refused] == []
    assert {"seen-seccomp", "seen-nonewprivs"} <= {one.id for one in results}
    assert len(results) > 20


def test_a_broker_that_looks_names_up_is_probed_for_all_but_datagrams() -> None:
    tried = {one.id for one in probe_kind("broker", (Address("login.example", 443),))}
    assert tried.isdisjoint({"udp4-outside", "dns-datagram"})
    assert {"packet", "icmp4-raw", "netlink"} <= tried
    assert "udp4-outside" in {one.id for one in probe_kind("broker", (Address("192.0.2.1", 443),))}


def test_the_same_probes_get_through_in_a_process_that_gave_nothing_up() -> None:
    """What nobody can do anyway (other kernels' sockets, x32 where it is off) says nothing, and is not asked for."""
    table = probe_reach.table_of("gateway", judged=tcp_is_judged(), names=False)
    program = (
        f"import sys; sys.path.append({ROOT!r}); from fastness.perimeter import probe, probe_reach; "
        "sys.exit(probe.main(probe_reach.table_of('gateway', judged=True, names=False)))"
    )
    with kinds._ground([443]) as ground:
        results = {
            one.id: one
            for one in run_probes((sys.executable, "-I", "-S", "-c", program), ground, table, witness_of_reach)
        }
    anybody = {"tcp4-loopback", "udp4-loopback", "netlink", "any-other-family", "child-socket"}
    assert [name for name in anybody if results[name].refused] == []
    assert not results["seen-seccomp"].refused
    if os.geteuid() == 0:
        assert [name for name in ("packet", "ip4-raw", "icmp4-raw", "trace-parent") if results[name].refused] == []


def test_an_asyncio_server_on_an_inherited_listener_and_unix_sockets_go_on_working(tmp_path: Path) -> None:
    code = """
import asyncio, socket, uvloop
listener = socket.socket(fileno=int(sys.argv[1]))
stay_local()
async def main():
    async def answer(reader, writer):
        writer.write(b"hello")
        writer.close()
    loop = asyncio.get_running_loop()
    server = await asyncio.start_server(answer, sock=listener)
    local = await asyncio.start_unix_server(answer, sys.argv[2])
    try:
        reader, writer = await asyncio.open_unix_connection(sys.argv[2])
        print((await reader.read()).decode(), await asyncio.to_thread(lambda: 7), flush=True)
        writer.close()
        await asyncio.wait_for(asyncio.to_thread(sys.stdin.readline), 60)
    finally:  # uvloop never comes to its end with a server that is open
        server.close(); local.close()
uvloop.run(main())
"""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        argv = [sys.executable, "-c", LOCAL + code, str(listener.fileno()), str(tmp_path / "s")]
        with subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, pass_fds=(listener.fileno(),)
        ) as process:
            assert process.stdout
            assert process.stdin
            assert process.stdout.readline() == "hello 7\n"
            with socket.create_connection(listener.getsockname(), timeout=10) as client:
                assert client.recv(99) == b"hello"
            process.stdin.write("\n")
    assert process.returncode == 0


def test_what_a_process_gave_up_its_children_do_not_have() -> None:
    done = run("""
import subprocess
stay_local()
child = [sys.executable, "-c", "import socket; socket.socket(socket.AF_INET)"]
print(subprocess.run(child, capture_output=True).stderr.decode())
""")
    assert "Address family not supported" in done.stdout


def test_it_must_be_given_up_before_a_thread_runs() -> None:
    done = run("""
import threading
threading.Thread(target=threading.Event().wait, daemon=True).start()
stay_local()
""")
    assert "before any is started" in done.stderr


@pytest.mark.skipif(not tcp_is_judged(), reason="this kernel's Landlock does not judge TCP")
def test_a_broker_connects_to_its_ports_and_to_no_other() -> None:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        ports = [str(listener.getsockname()[1]) for listener in (one, other)]
        done = run(
            """
import socket
speak_to((int(sys.argv[1]),), names=False)
socket.create_connection(("127.0.0.1", int(sys.argv[1]))).close()
try: socket.create_connection(("127.0.0.1", int(sys.argv[2])))
except OSError as error: print(error.errno)
""",
            *ports,
        )
    assert done.stdout == "13\n", done.stderr
