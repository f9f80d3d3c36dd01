"""Is anything running? Read from the run directory and checked against the kernel, never believed alone."""

from __future__ import annotations

import json
import os
import socket
from dataclasses import dataclass
from pathlib import Path

from fastness.cli.outcome import ExitCode, Failure
from fastness.config import Settings, run_directory
from fastness.core.joined_host import JOINED_HOST, JoinedHost

RUN_FILE_BYTES_MAX = 65_536


@dataclass(frozen=True, slots=True)
class Running:
    """A running installation: the supervisor's `pid`, and where its gateway answers (`base_url` ends in `/v1`)."""

    pid: int
    base_url: str


def run_path(settings: Settings) -> Path:
    """Return the run directory; raises Failure when it is somebody else's, since its sockets would be too."""
    path = run_directory(settings.home, os.getuid())
    if path.exists() and path.stat().st_uid != os.getuid():
        raise Failure(
            ExitCode.REFUSED,
            f"{path} belongs to user {path.stat().st_uid}, not to you ({os.getuid()}).",
            "run this as the user that started fastness, or set FASTNESS_HOME to a directory of your own",
        )
    return path


def find_running(settings: Settings) -> Running | None:
    """Return the installation that runs for these settings, or None."""
    try:
        with (run_path(settings) / "fastness.json").open("rb") as file:
            written = json.loads(file.read(RUN_FILE_BYTES_MAX))
        running = Running(int(written["pid"]), str(written["base_url"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return running if is_fastness(running.pid) else None


def find_joined(settings: Settings) -> JoinedHost | None:
    """Return what runs for these settings where it follows the orders of another host, or None."""
    path = run_path(settings) / JOINED_HOST
    if not path.exists():
        return None
    from fastness.store.snapshot_file import SnapshotReader

    found = SnapshotReader(path, JoinedHost).poll()
    return found if found is not None and is_fastness(found.pid) else None


def nothing_runs(settings: Settings) -> Failure:
    """Return the failure of a verb that needs a gateway or control to run here."""
    joined = find_joined(settings)
    if joined is None:
        return Failure(ExitCode.UNREACHABLE, f"Nothing is running for {settings.home}.", "fastness up")
    told = f"{joined.node} runs what {joined.head} orders: its gateways and control are there."
    return Failure(ExitCode.UNREACHABLE, told, f"on {joined.head}; here there are fastness ps, logs and stop")


def refuse_beside_a_joined(settings: Settings) -> None:
    """Raise Failure when this host runs for these settings already, on the orders of another one."""
    if (joined := find_joined(settings)) is not None:
        told = f"{joined.node} already runs for {settings.home}, as {joined.head} orders (pid {joined.pid})."
        raise Failure(ExitCode.FAILED, told, "fastness ps; fastness stop; or another FASTNESS_HOME")


def is_fastness(pid: int) -> bool:
    """Tell whether process `pid` is a supervisor of ours: `fastness up` or `fastness node join` of this user."""
    try:
        entry = Path("/proc") / str(pid)
        argv = os.fsdecode(entry.joinpath("cmdline").read_bytes()).split("\0")
        owner = entry.stat().st_uid
    except OSError:
        return False
    ours = any(Path(word).name == "fastness" or "fastness.main" in word for word in argv)
    return owner == os.getuid() and ours and not {"up", "join"}.isdisjoint(argv)


def answers(path: Path) -> bool:
    """Tell whether something accepts connections on the Unix socket at `path`."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(2.0)
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True
