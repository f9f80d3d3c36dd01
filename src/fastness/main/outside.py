"""What speaks to other hosts, composed: Ray, the carrier of letters on the head, the door. Each a process of its own.

They are kept up by a process that is begun before the supervisor gives up its sockets, since whatever the supervisor
starts afterwards has none. It is brought back when it dies (anew.py), and ends when the supervisor does.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from fastness.config import ConfigError, Settings, load, run_directory
from fastness.main.anew import Companions, child_environ, command, companion
from fastness.main.door import keep_to_ports
from fastness.main.process import PARENT_VARIABLE, die_with_supervisor, open_log, write_no_core
from fastness.main.ray_process import lock_of

if TYPE_CHECKING:
    from fastness.fleet.ray.command import RayHost
    from fastness.fleet.supervised import Supervised
    from fastness.telemetry.log import JsonLog

PROGRAM = "from fastness.main.outside import run_outside; run_outside()"
RAY = "ray"
RAY_PATH_BYTES_MAX = 40
"""Ray puts sockets 64 bytes deeper, whose paths may have 107."""
CARRIER_ALIVE = "carrier.alive"
CARRIER_SILENT_S = 5.0
"""A carrier that has not gone round for so long hangs."""
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 5.0


def ray_host(settings: Settings) -> RayHost:
    """Return how this host takes part in Ray. Raises ConfigError where Ray or the cluster is missing."""
    import importlib.util

    from fastness.fleet.ray.command import RayHost
    from fastness.fleet.ray.ports import RayPorts
    from fastness.identity.cluster.certificate import NotTrusted
    from fastness.identity.cluster.claims import HostRole
    from fastness.identity.cluster.folder import cluster_folder
    from fastness.identity.cluster.invitation import read_head
    from fastness.identity.cluster.membership import Membership

    if importlib.util.find_spec("ray") is None:
        raise ConfigError(
            "Ray is not installed, and carries the letters between hosts. "
            "Install the extra: pip install --require-hashes -r requirements/ray.txt, or fastness[ray]"
        )
    folder, run = cluster_folder(settings.home), run_directory(settings.home, os.getuid())
    try:
        claims = Membership(folder).claims
        head = settings.ray.address or read_head(folder).addresses[0]
    except NotTrusted as error:
        raise ConfigError(str(error)) from None
    if claims.role is HostRole.HEAD and head not in claims.addresses:
        raise ConfigError(
            f"ray.address is {head[:80]}; this host's certificate has {', '.join(claims.addresses)}. "
            "Give one of these, or make the cluster anew: fastness init cluster --address"
        )
    address = head if claims.role is HostRole.HEAD else claims.addresses[0]
    return RayHost(claims.name, address, head, RayPorts(settings.ray.port), folder, run, ray_directory(run))


def ray_directory(run: Path) -> Path:
    """Return where Ray keeps its sockets: in the run directory, or in one of its own where that path is too long.

    Whatever directory it gets it opens to everybody; that above it is private, see ray_process.py.
    """
    if len(bytes(run / RAY)) <= RAY_PATH_BYTES_MAX:
        return run / RAY
    name = f"fsray-{os.getuid()}-{hashlib.sha256(bytes(run)).hexdigest()[:8]}"
    return Path("/tmp") / name / RAY  # noqa: S108 - made 0700, or refused


@contextmanager
def outside(settings: Settings, companions: Companions) -> Iterator[None]:
    """Have these processes while it lasts. Raises ConfigError, OSError."""
    ports = ray_host(settings).ports.all()  # what is missing is said before anything starts
    argv = command(PROGRAM, settings.cluster.port, *ports)
    with companion(companions, "outside", argv, child_environ(settings.home)):
        yield


def run_outside() -> None:
    """Keep them up until SIGTERM, or until the supervisor is gone."""
    import uvloop

    write_no_core()
    die_with_supervisor()
    settings, _ = load(os.environ)
    keep_to_ports(settings.cluster.port, *ray_host(settings).ports.all())  # each of them gives up more by itself
    os.environ[PARENT_VARIABLE] = str(os.getpid())  # theirs is this process
    uvloop.run(_keep(settings, open_log(settings, "outside")))


async def _keep(settings: Settings, log: JsonLog) -> None:
    import signal

    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    children = _children(settings, log)
    for one in children:
        one.begin()
    try:
        while not ended.is_set():
            log.flush()
            with suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    await ended.wait()
    finally:
        await asyncio.gather(*(one.stop() for one in children))
        log.flush()


def _children(settings: Settings, log: JsonLog) -> list[Supervised]:
    from fastness.fleet.door.orders import CONNECTOR

    host = ray_host(settings)
    ours = os.environ | {"FASTNESS_HOME": str(settings.home), PARENT_VARIABLE: str(os.getpid())}
    rays = host.environ(os.environ, (host.folder / "token").read_text().strip())
    rays[PARENT_VARIABLE] = str(os.getpid())
    ports = ",".join(str(port) for port in host.ports.all())
    alive, connector = host.run / CARRIER_ALIVE, host.run / CONNECTOR
    for left in (alive, connector):
        left.unlink(missing_ok=True)
    ray = ("fastness.main.ray_process", ports, str(host.scratch), *host.argv())
    carrier = ("fastness.main.carrier", ports, host.gcs, host.address, str(host.run))
    children = [
        _child(settings, log, "ray", ray, rays, lambda: _is_up(host, children[0].pid)),
        _child(settings, log, "door", ("fastness.main.door",), ours, lambda: _exists(connector)),
    ]
    if host.is_head:
        children.append(_child(settings, log, "carrier", carrier, rays, lambda: _is_fresh(alive)))
    return children


def _child(
    settings: Settings,
    log: JsonLog,
    name: str,
    command: Sequence[str],
    environ: dict[str, str],
    is_ready: Callable[[], Awaitable[bool]],
) -> Supervised:
    """Describe one of them: `command` is a module with a function `run`, and arguments."""
    from fastness.fleet.backoff import Backoff
    from fastness.fleet.process import Process
    from fastness.fleet.supervised import Care, Supervised

    module, *arguments = command
    argv = (sys.executable, "-c", f"from {module} import run; run()", *arguments)

    def changed() -> None:
        log.record("info", "process", process=name, state=kept.state.value, epoch=kept.epoch)

    kept = Supervised(
        Care(
            start=lambda: Process.start(
                argv, environ, on_line=lambda line: log.record("info", "process.said", process=name, reason=line)
            ),
            is_ready=is_ready,
            backoff=Backoff(settings.engine.backoff_first_s, 2.0),
            start_timeout_s=START_TIMEOUT_S,
            stop_timeout_s=STOP_TIMEOUT_S,
            watch_period_s=1.0,
            misses_max=3,
        ),
        changed,
    )
    return kept


async def _is_up(host: RayHost, pid: int | None) -> bool:
    """Tell whether Ray serves, and is the one of this process: what listens may be the one before, which is ending."""
    with suppress(OSError, ValueError):
        if int(lock_of(host.scratch).read_bytes()) == pid:
            return await _listens(host.address, host.ports.node_manager)
    return False


async def _listens(address: str, port: int) -> bool:
    try:
        async with asyncio.timeout(1.0):
            _, writer = await asyncio.open_connection(address, port)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True


async def _exists(path: Path) -> bool:
    return os.path.exists(path)  # noqa: PTH110, ASYNC240 - memory, not a disk


async def _is_fresh(file: Path) -> bool:
    import time

    with suppress(OSError):
        return time.time() - os.stat(file).st_mtime < CARRIER_SILENT_S  # noqa: PTH116 - memory, not a disk
    return False
