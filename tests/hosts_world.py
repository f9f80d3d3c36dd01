"""Hosts on one machine: a network namespace each, with a cable to one switch, which is another.

What a host runs is started with `run`; the cable can be cut and mended. Nothing outlives `close`, nor this process.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

NETWORK = "10.77.0"
START_S = 60.0
CLONE_NEWNET = 0x40000000


def why_no_hosts() -> str:
    """Say why this machine makes no such hosts; empty: it does."""
    for tool in ("ip", "unshare", "nsenter"):
        if shutil.which(tool) is None:
            return f"no {tool}: make network"
    cable = ["ip", "link", "add", "here", "type", "veth", "peer", "name", "there"]
    tried = subprocess.run(["unshare", "--net", *cable], capture_output=True)
    return "" if tried.returncode == 0 else f"no network namespaces with cables: {tried.stderr.decode().strip()}"


def need_hosts() -> None:
    """Skip where no hosts can be made; with CI=true that is a failure."""
    if why := why_no_hosts():
        if os.environ.get("CI"):
            pytest.fail(why)
        pytest.skip(why)


def enter(pid: int) -> None:
    """Have this thread, and no other, make its sockets in the network of a process."""
    with open(f"/proc/{pid}/ns/net") as network:
        if ctypes.CDLL(None, use_errno=True).setns(network.fileno(), CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")


@dataclass(frozen=True)
class Host:
    """One host: its name, its address, and the process that holds its network."""

    name: str
    address: str
    holder: subprocess.Popen[bytes]

    @property
    def enter(self) -> list[str]:
        """The command that runs another one here."""
        return ["nsenter", "--net", f"--target={self.holder.pid}", "--"]

    def popen(self, argv: Sequence[str], environ: Mapping[str, str], **more: Any) -> subprocess.Popen[bytes]:
        return subprocess.Popen([*self.enter, *argv], env=dict(environ), start_new_session=True, **more)

    def call(self, argv: Sequence[str], environ: Mapping[str, str] | None = None) -> str:
        done = subprocess.run([*self.enter, *argv], env=None if environ is None else dict(environ), capture_output=True)
        assert done.returncode == 0, f"{argv}: {done.stdout.decode()}{done.stderr.decode()}"
        return done.stdout.decode()

    def processes(self) -> list[int]:
        """Everything that runs in this network, but for the holder."""
        ours, found = os.stat(f"/proc/{self.holder.pid}/ns/net").st_ino, []
        for entry in Path("/proc").iterdir():
            with suppress(OSError):
                if entry.name.isdigit() and (entry / "ns/net").stat().st_ino == ours:
                    found.append(int(entry.name))
        return [one for one in found if one != self.holder.pid]


class Hosts:
    """A switch, and hosts on it."""

    def __init__(self, names: Sequence[str]) -> None:
        self._holders: list[subprocess.Popen[bytes]] = []
        self.switch = Host("switch", "", self._hold())
        self._on_switch("link", "add", "br0", "type", "bridge", "mcast_snooping", "0")
        self._on_switch("link", "set", "br0", "addrgenmode", "none")
        self._on_switch("link", "set", "br0", "up")
        self.hosts = {name: self._host(name, number) for number, name in enumerate(names, 1)}

    def __getitem__(self, name: str) -> Host:
        return self.hosts[name]

    def cut(self, name: str) -> None:
        """Take the cable of a host out: no end is told, as when a switch loses power."""
        self._on_switch("link", "set", f"to-{name}", "down")

    def mend(self, name: str) -> None:
        self._on_switch("link", "set", f"to-{name}", "up")

    def kill(self, name: str) -> None:
        """`kill -9` of everything on a host, again and again until nothing is left."""
        deadline = time.monotonic() + 60
        while there := self[name].processes():
            assert time.monotonic() < deadline, there
            for pid in there:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)

    def close(self) -> None:
        for name in self.hosts:
            self.kill(name)
        for holder in self._holders:
            assert holder.stdin
            holder.stdin.close()
            holder.wait()

    def _hold(self) -> subprocess.Popen[bytes]:
        """A process with a network of its own, which ends with our end of its pipe."""
        holder = subprocess.Popen(["unshare", "--net", "cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        self._holders.append(holder)
        ours, deadline = os.stat("/proc/self/ns/net").st_ino, time.monotonic() + START_S
        while os.stat(f"/proc/{holder.pid}/ns/net").st_ino == ours:
            assert time.monotonic() < deadline
            time.sleep(0.005)
        return holder

    def _host(self, name: str, number: int) -> Host:
        host = Host(name, f"{NETWORK}.{number}", self._hold())
        cable = ("link", "add", f"to-{name}", "type", "veth", "peer", "name", "eth0", "netns", str(host.holder.pid))
        self._on_switch(*cable)
        self._on_switch("link", "set", f"to-{name}", "addrgenmode", "none")
        self._on_switch("link", "set", f"to-{name}", "master", "br0", "up")
        for command in (
            "link set lo up",
            "link set eth0 addrgenmode none",  # no IPv6, which would speak up by itself
            f"addr add {host.address}/24 dev eth0",
            "link set eth0 up",
        ):
            host.call(["ip", *command.split()])
        return host

    def _on_switch(self, *command: str) -> None:
        self.switch.call(["ip", *command])


@contextmanager
def hosts(*names: str) -> Iterator[Hosts]:
    """Have these hosts while it lasts."""
    need_hosts()
    made = Hosts(names)
    try:
        yield made
    finally:
        made.close()
