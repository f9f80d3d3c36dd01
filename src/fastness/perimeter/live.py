"""A running installation, looked at from outside: which processes it has, what each may do, what sockets each holds.

All of it is read from /proc; nothing is asked of the processes themselves.
"""

from __future__ import annotations

import re
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_TCP_TABLES: Final = ("tcp", "tcp6")
_OTHER_TABLES: Final = ("udp", "udp6", "udplite", "udplite6", "raw", "raw6", "icmp", "icmp6", "packet", "netlink")
_STATE_LISTEN: Final = "0A"
OUTSIDE: Final = ("outside", "door", "carrier", "ray")
"""What speaks to other hosts of a cluster, and what keeps these up."""
_MODULES: Final = {"ray": "ray_process"}
_LOOKS, _PAUSE_S = 4, 0.05  # a socket that is just being closed is in no table; it is gone at the next look


@dataclass(frozen=True, slots=True)
class Seen:
    """One process as the kernel shows it; `answer` says what was seen, and `holds` whether that is as promised."""

    kind: str
    pid: int
    holds: bool
    answer: str


@dataclass(frozen=True, slots=True)
class _Sockets:
    unix: int
    listening: int
    accepted: int
    handed: int
    strange: tuple[str, ...]


def look_at(
    supervisor: int, port: int, spoken_ports: tuple[int, ...] = (), cluster_ports: tuple[int, ...] = ()
) -> tuple[Seen, ...]:
    """Look at the supervisor, whose gateway listens on `port`, and at all its children.

    To `spoken_ports`, those of the configured addresses, the broker may speak, and control over what it was handed.
    `cluster_ports` are those of the doors, the first, and of Ray: what is kept `outside` listens on them and speaks to
    them, and gateways speak to doors over what they were handed.
    """
    found = [("supervisor", supervisor), *_children(supervisor)]
    ours = Path(f"/proc/{supervisor}/net/unix")
    handed = {"control": spoken_ports, "gateway": cluster_ports[:1]}
    handed |= dict.fromkeys(OUTSIDE, cluster_ports)
    return tuple(_look(kind, pid, ours, port, handed.get(kind, ())) for kind, pid in found)


def _children(parent: int, within: str = "") -> list[tuple[str, int]]:
    """Return the children of a process, and of those that speak to others all that is below them, by kind."""
    found = []
    for task in _numbers(Path(f"/proc/{parent}/task")):
        with suppress(OSError):
            for pid in map(int, Path(f"/proc/{parent}/task/{task}/children").read_text().split()):
                kind = _kind(pid)
                if kind == "engine" and within:
                    kind = within
                found.append((kind, pid))
                if kind == "broker" or kind in OUTSIDE:
                    found += _children(pid, kind)
    return found


def _kind(pid: int) -> str:
    with suppress(OSError):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
        if any("run_broker" in word for word in words):
            return "broker"
        if any("import starter" in word for word in words):
            return "starter"
        for kind in OUTSIDE:
            if any(word.startswith(f"from fastness.main.{_MODULES.get(kind, kind)} import") for word in words):
                return kind
        for kind in ("gateway", "control"):
            if kind in words:
                return kind
    return "engine"


def _look(kind: str, pid: int, ours: Path, port: int, spoken_ports: tuple[int, ...]) -> Seen:
    for _ in range(_LOOKS):
        try:
            fields = dict(
                line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line
            )
            sockets = _sockets(pid, ours, port, spoken_ports, kind in OUTSIDE)
        except OSError as error:
            return Seen(kind, pid, kind == "broker", f"not seen: {error.strerror}")  # the broker's children are short
        if not sockets.strange:
            break
        time.sleep(_PAUSE_S)
    wants = [
        (fields.get("Seccomp") == "2", "no filter of system calls"),
        (fields.get("NoNewPrivs") == "1", "it may gain privileges"),
        (kind == "broker" or not sockets.strange, "; ".join(sockets.strange)),
        (kind in ("supervisor", "gateway") or not (sockets.listening or sockets.accepted), "it holds the listener"),
    ]
    wrong = [text for holds, text in wants if not holds]
    outward = f", {len(sockets.strange)} of its own" if kind == "broker" else ""
    whence = "to hosts of the cluster" if kind in OUTSIDE else "handed over"
    outward += f", {sockets.handed} {whence}" if sockets.handed else ""
    held = f"{sockets.unix} Unix sockets, {sockets.listening} listening, {sockets.accepted} accepted{outward}"
    return Seen(kind, pid, not wrong, "; ".join(wrong) or held)


def _sockets(pid: int, ours: Path, port: int, spoken_ports: tuple[int, ...], both: bool) -> _Sockets:
    inodes = _inodes(pid)
    net = Path(f"/proc/{pid}/net")
    # What a process accepts at a Unix socket is made by who connects, and stands in the table of *their* network.
    unix = _column(net / "unix", 6) | _column(ours, 6)
    tcp: dict[str, tuple[str, str, str]] = {}
    for name in _TCP_TABLES:
        with suppress(OSError):
            for row in (line.split() for line in (net / name).read_text().splitlines()[1:]):
                tcp[row[9]] = (row[1], row[2], row[3])
    others = {inode: name for name in _OTHER_TABLES for inode in _inode_column(net / name)}
    listening = accepted = handed = 0
    strange = []
    for inode in sorted(inodes - unix):
        if inode not in tcp:
            strange.append(f"a socket of {others.get(inode, 'no family that is known here')}")
            continue
        local, remote, state = tcp[inode]
        ends = {int(end.rpartition(":")[2], 16) for end in ((local, remote) if both else (remote,))}
        if ends & set(spoken_ports):
            handed += 1
        elif int(local.rpartition(":")[2], 16) != port:
            strange.append(f"a TCP socket from {local} to {remote}")
        elif state == _STATE_LISTEN:
            listening += 1
        else:
            accepted += 1
    return _Sockets(len(inodes & unix), listening, accepted, handed, tuple(strange))


def _inodes(pid: int) -> set[str]:
    found = set()
    for number in _numbers(Path(f"/proc/{pid}/fd")):
        with suppress(OSError):
            if match := re.fullmatch(r"socket:\[(\d+)\]", str(Path(f"/proc/{pid}/fd/{number}").readlink())):
                found.add(match[1])
    return found


def _inode_column(table: Path) -> set[str]:
    """Return the inodes of a table whose heading names their column (packet, netlink) or that is like TCP's."""
    heading = ""
    with suppress(OSError):
        heading = table.read_text().partition("\n")[0]
    words = heading.split()
    if "Inode" in words:
        return _column(table, words.index("Inode"))
    return _column(table, 9)


def _column(table: Path, number: int) -> set[str]:
    with suppress(OSError):
        rows = [line.split() for line in table.read_text().splitlines()[1:]]
        return {row[number] for row in rows if len(row) > number}
    return set()


def _numbers(directory: Path) -> list[str]:
    return [entry.name for entry in directory.iterdir() if entry.name.isdigit()]
