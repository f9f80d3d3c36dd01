"""The witness: what the kernel says, outside the seal, of a process inside it. No word of that process is needed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from fastness.perimeter.port import ProbeResult

_NAMESPACES: Final = (
    ("net", "share this machine's network"),
    ("ipc", "share this machine's message queues and shared memory"),
    ("uts", "share this machine's host name"),
)
_STATUS: Final = (
    ("CapEff", "0000000000000000", "capabilities", "hold a capability"),
    ("CapBnd", "0000000000000000", "capabilities", "be able to gain a capability"),
    ("NoNewPrivs", "1", "privileges", "gain privileges by executing a file"),
    ("Seccomp", "2", "system calls", "run without a filter of system calls"),
)


def witness(pid: int) -> tuple[ProbeResult, ...]:
    """Look at the sealed child `pid` through /proc; what cannot be seen counts as not refused."""
    process = Path("/proc") / str(pid)
    results = [
        _result(f"seen-{name}", "namespaces", attempt, *_differs(process / "ns" / name, Path("/proc/self/ns") / name))
        for name, attempt in _NAMESPACES
    ]
    results.append(_result("seen-interfaces", "namespaces", "have a network interface", *_interfaces(process)))
    results += _statuses(process, _STATUS)
    results.append(_result("seen-session", "session", "share the session of its parent", *_session(pid)))
    results.append(_result("seen-core", "limits", "dump core", *_core(process)))
    return tuple(results)


def witness_of_reach(pid: int) -> tuple[ProbeResult, ...]:
    """Look at one of our own processes: what may never be missing from it, whatever it says itself."""
    rows = [(field, wanted, "reach", attempt) for field, wanted, _, attempt in _STATUS if field[0] in "NS"]
    return tuple(_statuses(Path("/proc") / str(pid), tuple(rows)))


def _statuses(process: Path, rows: tuple[tuple[str, str, str, str], ...]) -> list[ProbeResult]:
    status = _fields(process / "status")
    results = []
    for field, wanted, layer, attempt in rows:
        came = status.get(field, "not seen")
        results.append(_result(f"seen-{field.lower()}", layer, attempt, came == wanted, came))
    return results


def _result(identifier: str, layer: str, attempt: str, refused: bool, answer: str) -> ProbeResult:
    return ProbeResult(identifier, layer, attempt, refused, answer)


def _differs(theirs: Path, ours: Path) -> tuple[bool, str]:
    try:
        seen, own = theirs.readlink(), ours.readlink()
    except OSError as error:
        return False, f"not seen: {error.strerror}"
    return seen != own, str(seen)


def _interfaces(process: Path) -> tuple[bool, str]:
    try:
        rows = (process / "net" / "dev").read_text().splitlines()[2:]
    except OSError as error:
        return False, f"not seen: {error.strerror}"
    names = [row.partition(":")[0].strip() for row in rows]
    return names == ["lo"], " ".join(names)


def _session(pid: int) -> tuple[bool, str]:
    try:
        session = os.getsid(pid)
    except OSError as error:
        return False, f"not seen: {error.strerror}"
    return session == pid, str(session)


def _core(process: Path) -> tuple[bool, str]:
    try:
        filtered = int((process / "coredump_filter").read_text() or "0", 16)
        rows = (process / "limits").read_text().splitlines()
    except (OSError, ValueError) as error:
        return False, f"not seen: {error}"
    limit = next((row.split()[4] for row in rows if row.startswith("Max core file size")), "not seen")
    return filtered == 0 and limit == "1", f"at most {limit} byte, of memory {filtered:#x}"


def _fields(status: Path) -> dict[str, str]:
    try:
        rows = status.read_text().splitlines()
    except OSError:
        return {}
    return {name: value.strip() for name, _, value in (row.partition(":") for row in rows)}
