"""What a fleet starts in these tests: a small real server that does what its plan says, and its order.

The plan is a file with one line for each start; the last line counts for all later starts. A line is a list of steps
divided by commas.
"""

import asyncio
import sys
import time
from dataclasses import replace
from pathlib import Path

import uvloop

from fastness.config import EngineSettings
from fastness.core.replica import Diagnosis
from fastness.fleet.keeper import Execution, ReplicaKeeper

PROGRAM = """
import os, signal, socket, sys, time
plan, path = sys.argv[1:]
with open(plan) as opened:
    lines = opened.read().splitlines()
if len(lines) > 1:
    with open(plan, "w") as opened:
        opened.write("\\n".join(lines[1:]))

def say(text):
    os.write(2, text.encode() + b"\\n")

def serve(unwell):
    server = socket.socket(socket.AF_UNIX)
    server.bind(path)
    server.listen(64)
    while True:
        connection, _ = server.accept()
        asked = connection.recv(4096)
        if os.path.exists(path + ".hang"):
            time.sleep(600)
        status = b"503 Busy" if unwell > 0 or b"/health" not in asked else b"200 OK"
        unwell -= 1
        connection.sendall(b"HTTP/1.1 " + status + b"\\r\\ncontent-length: 2\\r\\n\\r\\nok")
        connection.close()

for step in lines[0].split(","):
    verb, _, value = step.strip().partition(" ")
    if verb == "say":
        say(value)
    elif verb == "flood":
        for number in range(int(value)):
            say(f"line {number} " + "x" * 100)
    elif verb == "long":
        say("y" * int(value))
    elif verb == "exit":
        sys.exit(int(value))
    elif verb == "die":
        os.kill(os.getpid(), int(value))
    elif verb == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    elif verb == "beget":
        child = os.fork()
        if child == 0:
            if value.startswith("away"):
                os.setsid()
            time.sleep(600)
        with open(path + ".child", "w") as opened:
            opened.write(str(child))
    elif verb == "wait":
        time.sleep(600)
    elif verb == "serve":
        serve(int(value or 0))
"""
SETTINGS = EngineSettings(start_timeout_s=20.0, stop_timeout_s=5.0, backoff_first_s=0.05, backoff_max_s=0.2)


def diagnose(stderr, exit_code):
    return Diagnosis("seen", f"ended with {exit_code}", "look", stderr[-3:])


def order(folder: Path, plan: str, replica_id: str = "tiny-0") -> Execution:
    """Order a replica with its plan; `folder` must be short enough for a socket."""
    (folder / f"{replica_id}.plan").write_text(plan)
    scratch = folder / "engines" / replica_id
    socket = scratch / "engine.sock"
    return Execution(
        id=replica_id,
        model="tiny",
        engine="fake",
        argv=(sys.executable, "-I", "-S", "-c", PROGRAM, str(folder / f"{replica_id}.plan"), str(socket)),
        environ={},
        socket=socket,
        scratch=scratch,
        slots=1,
        context_tokens=16,
        health_path="/health",
        sealed=False,
        diagnose=diagnose,
    )


class Watched:
    """A fleet with the history of what it told, each with the time it was told."""

    def __init__(self, folder: Path, **changes: object) -> None:
        watch = {name: changes.pop(name) for name in ("watch_period_s", "health_timeout_s") if name in changes}
        self.folder = folder
        self.history = []
        self.lines = []
        self._told = asyncio.Event()
        self.keeper = ReplicaKeeper(
            replace(SETTINGS, **changes), self._tell, time.time, lambda *line: self.lines.append(line), **watch
        )

    def _tell(self, replica) -> None:
        self.history.append((time.perf_counter(), replica))
        self._told.set()

    @property
    def states(self):
        return [replica.state.value for _, replica in self.history]

    async def start(self, plan, replica_id="tiny-0"):
        await self.keeper.start(order(self.folder, plan, replica_id))

    async def until(self, state, epoch=1, replica_id="tiny-0"):
        """Wait for a told state; return when it was told, and the replica as told."""
        async with asyncio.timeout(60):
            while True:
                for told_s, replica in self.history:
                    if (replica.state.value, replica.epoch, replica.id) == (state, epoch, replica_id):
                        return told_s, replica
                self._told.clear()
                await self._told.wait()


def run(journey, folder, **changes):
    """Run `journey(watched)` on the production event loop, and close the fleet however it ends."""

    async def whole():
        watched = Watched(folder, **changes)
        try:
            await journey(watched)
        finally:
            await watched.keeper.close()

    uvloop.run(whole())


def is_gone(pid):
    """Tell whether a process has ended; one that nobody has waited for yet has ended too."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def children():
    """Return the processes that are children of this one, zombies included."""
    found = set()
    for task in Path("/proc/self/task").iterdir():
        found |= set((task / "children").read_text().split())
    return found


async def soon(condition):
    """Wait until `condition` holds."""
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.005)
