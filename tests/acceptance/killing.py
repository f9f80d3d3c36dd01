"""Ending processes without a word, and what must be true of an installation afterwards."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx

from fastness.config import run_directory
from fastness.ledger.verify import read, verify
from installation import FASTNESS, Installation, eventually, start
from traffic import Heard, Together, Traffic, chat

GONE_WITHIN_S = 2.0
ANSWERS_BEFORE_A_KILL_MAX = 10
QUICK = {
    "FASTNESS__ENGINE__EMBEDDING_MODEL": "",
    "FASTNESS__ENGINE__SLOT_CONTEXT_TOKENS": "512",
    "FASTNESS__ENGINE__THREADS": "1",
}
"""Settings of installations that are started often: one engine, little memory, and one thread, since several that
wait for each other are slowest exactly when clients, gateway and engine share few cores."""


def processes_of(home: Path) -> dict[int, str]:
    """Every process that belongs to the installation at `home`, with its command line; zombies have ended."""
    marks = (f"FASTNESS_HOME={home}\0".encode(), f"{home}/".encode(), f"{run_directory(home, os.getuid())}/".encode())
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with suppress(OSError):
                command = (entry / "cmdline").read_bytes()
                environ = (entry / "environ").read_bytes()
                if marks[0] in environ + b"\0" or marks[1] in command or marks[2] in command:
                    found[int(entry.name)] = command.replace(b"\0", b" ").decode(errors="replace")[:200]
    return found


def child(installation: Installation, name: str) -> int:
    """The process id of the installation's `gateway` or `control` process."""
    for pid in Path(f"/proc/{installation.process.pid}/task/{installation.process.pid}/children").read_text().split():
        with suppress(OSError):
            if Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").endswith(b"\0" + name.encode()):
                return int(pid)
    raise LookupError(f"no {name} process")


def kill_companion(installation: Installation, name: str) -> None:
    """Kill what the supervisor cannot start again, then who keeps that up; return when it is back, as `ps` tells."""
    for victim in (lambda pid: pid, keeper_of):
        was = eventually(lambda: companion(installation, name), f"{name} is well", 60)
        kill(victim(was["pid"]))
        eventually(
            lambda was=was: companion(installation, name).get("restarts", 0) > was["restarts"], f"{name} is back", 60
        )


def companion(installation: Installation, name: str) -> dict[str, Any]:
    """What `ps` tells of one of those that keep themselves up, while it is well; else nothing."""
    told = installation.run("ps", "--json")
    found = json.loads(told.stdout)["processes"] if told.returncode == 0 else []
    return next((one for one in found if one["name"] == name and one["state"] == "ready"), {})


def keeper_of(pid: int) -> int:
    """The process that keeps up what the supervisor cannot start again: its parent."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def on_this_machine(limit_s: float) -> float:
    """A promised time, longer in proportion where other work takes the processors away: it is then not ours to keep."""
    wall_s, cpu_s = time.monotonic(), time.thread_time()
    while time.thread_time() - cpu_s < 0.1:
        pass
    return limit_s * max(1.0, (time.monotonic() - wall_s) / 0.1)


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def kill_everything(installation: Installation) -> float:
    """`kill -9` of the supervisor alone; return after how many seconds none of its processes was left."""
    began_s = time.monotonic()
    installation.process.kill()
    installation.process.wait()
    eventually(
        lambda: not processes_of(installation.home),
        f"nothing is left of {installation.home}: {processes_of(installation.home)}",
        GONE_WITHIN_S,
    )
    assert installation.process.stdout
    installation.process.stdout.close()
    return time.monotonic() - began_s


def start_again(installation: Installation, environ: dict[str, str] | None = None) -> Installation:
    """A second start on the same home; keys are as before."""
    return replace(start(installation.home, environ=environ), admin_key=installation.admin_key)


def forget(home: Path) -> None:
    """End what is left of an installation after a failed test, by its pids, and remove its run directory."""
    for pid in processes_of(home):
        with suppress(ProcessLookupError):
            kill(pid)
    shutil.rmtree(run_directory(home, os.getuid()), ignore_errors=True)


def bury(installation: Installation) -> None:
    """End an installation that may have ended already, whatever the test thought of it."""
    with installation.process as process:
        process.kill()


def management(installation: Installation) -> httpx.Client:
    """A client of the management API."""
    socket = run_directory(installation.home, os.getuid()) / "control.sock"
    return httpx.Client(transport=httpx.HTTPTransport(uds=str(socket)), base_url="http://control/api/v1", timeout=10)


def recorded(home: Path) -> Counter[str]:
    """How often each request has an entry of a whole answer."""
    entries = read(home / "ledger/gateway-0")
    return Counter(str(one.fields["request_id"]) for one in entries if one.type == "inference.completed")


def unrecorded(home: Path, heard: list[Heard]) -> list[Heard]:
    """The answers delivered in full whose entry is not exactly one."""
    entries = recorded(home)
    return [one for one in heard if one.whole and entries[str(one.request_id)] != 1]


@dataclass
class Losses:
    """What many kills under load have shown."""

    kills: int = 0
    whole: int = 0
    cut: int = 0
    slowest_end_s: float = 0.0

    def __str__(self) -> str:
        return (
            f"{self.kills} kills, {self.whole} answers in full, {self.cut} requests cut, "
            f"nothing left after {self.slowest_end_s:.2f} s at most"
        )


def kill_often(home: Path, kills: int, seed: int) -> Losses:
    """Start, load, `kill -9` at a random moment, judge, and start again: so often."""
    print(f"seed {seed}")
    random_, losses = random.Random(seed), Losses()
    running = start(home, environ=QUICK)
    try:
        for _ in range(kills):
            whole = kill_once(running, random_, losses)
            assert verify(home / "ledger").sound
            assert not unrecorded(home, whole), f"{losses}, seed {seed}"
            running = start_again(running, QUICK)
            assert verify(home / "ledger").sound, f"{losses}, seed {seed}, after the restart"
            assert not unrecorded(home, whole), f"{losses}, seed {seed}, after the restart"
        verified = running.run("ledger", "verify", "--json")
        assert verified.returncode == 0, verified.stdout + verified.stderr
        assert json.loads(verified.stdout)["sound"] is True
    finally:
        bury(running)
    return losses


def kill_once(running: Installation, random_: random.Random, losses: Losses) -> list[Heard]:
    """Kill it at a random moment under load; return what was delivered in full."""
    with Traffic(running, seed=random_.getrandbits(32)) as traffic:
        answers = random_.randint(1, ANSWERS_BEFORE_A_KILL_MAX)
        eventually(lambda: traffic.count() >= answers, "answers come", 60)
        time.sleep(random_.uniform(0, 0.2))
        took_s = kill_everything(running)
    whole = [one for one in traffic.heard if one.whole]
    losses.kills += 1
    losses.whole += len(whole)
    losses.cut += sum(one.lost is not None and one.status is not None for one in traffic.heard)
    losses.slowest_end_s = max(losses.slowest_end_s, took_s)
    return whole


def kill_while_starting(home: Path, after_s: float) -> None:
    """`kill -9` of a supervisor `after_s` seconds after its start, ready or not; nothing is left of it."""
    process = subprocess.Popen(
        [FASTNESS, "up", "--json", "--port", "0"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | QUICK | {"FASTNESS_HOME": str(home)},
    )
    time.sleep(after_s)  # the moment is the test's subject: there is nothing to wait for
    process.kill()
    process.wait()
    eventually(lambda: not processes_of(home), f"nothing is left of a start cut after {after_s:.2f} s", GONE_WITHIN_S)


def start_and_ask(home: Path) -> None:
    """Start, and be answered; when an earlier start was cut before it could show the first key, with a new one."""
    running = start(home, environ=QUICK)
    try:
        if running.admin_key is None:
            made = running.run("keys", "create", "--tenant", "default", "--name", "again", "--role", "admin", "--json")
            assert made.returncode == 0, made.stderr
            running = replace(running, admin_key=json.loads(made.stdout)["key"])
        (heard,) = Together(running, [chat(random.Random(), False, 2)]).heard()
        assert heard.whole, heard
        assert not unrecorded(home, [heard])
        assert verify(home / "ledger").sound
        kill_everything(running)
    finally:
        bury(running)
