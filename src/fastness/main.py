"""The only composition root: reads the configuration, builds the adapters, and hands them to the apps.

Everything heavy is imported inside the function that needs it: a gateway never loads SQL, `--help` loads nothing.
"""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fastness.cli.composition import AsgiApp, Composition, Finding, UpProgress
from fastness.config import Explanation, Settings, load, run_directory

if TYPE_CHECKING:
    import socket

    from fastness.control.api import ControlDeps
    from fastness.control.supervisor import Fleet, Model, Site
    from fastness.core.replica import Replica
    from fastness.fleet.port import ReplicaOrder
    from fastness.fleet.supervised import Supervised
    from fastness.perimeter.port import Perimeter
    from fastness.telemetry.log import JsonLog

LISTENER_VARIABLE = "FASTNESS_LISTENER"
"""Number of the listening socket that the supervisor hands to a gateway."""
PARENT_VARIABLE = "FASTNESS_PARENT"
"""Process id of the supervisor: its children end when it does."""


def main() -> None:
    """The command `fastness`."""
    from fastness.cli.app import build_app

    build_app(
        Composition(
            environ=os.environ,
            load_settings=load_settings,
            run_up=run_up,
            run_gateway=run_gateway,
            run_control=run_control,
            local_api=local_api,
            machine_facts=machine_facts,
        )
    )()


def load_settings(
    flags: Mapping[str, object], config: Path | None = None
) -> tuple[Settings, Mapping[str, Explanation]]:
    """Read the settings; raises ConfigError."""
    if config is not None:
        os.environ["FASTNESS_CONFIG"] = str(config.absolute())
    for name, value in flags.items():
        if value is not None:  # the processes started from this one shall see what was said here
            os.environ["FASTNESS__" + name.upper().replace(".", "__")] = str(value)
    return load(os.environ, flags)


def run_up(settings: Settings, progress: UpProgress, unsealed: bool) -> int:
    """Run the supervisor until it is told to stop; raises ConfigError, SealUnavailable, StartRefused."""
    import uvloop

    from fastness.cli.composition import UpReady
    from fastness.control.supervisor import Supervisor, Up
    from fastness.gateway.tls import tls_context

    def tell(up: Up) -> None:
        progress.ready(
            UpReady(
                base_url=up.base_url,
                admin_key=up.admin_key,
                console_url=None,
                pid=up.pid,
                elapsed_s=up.elapsed_s,
                models=up.models,
                prove_line="Nothing leaves this machine. Prove it: fastness doctor",
                sealed=up.sealed,
            )
        )

    async def supervise() -> int:
        return await Supervisor(_site(settings), progress, unsealed=unsealed).run(tell)

    _write_no_core()
    tls_context(settings.gateway)  # what cannot be used is said before anything starts
    prepare_directories(settings)
    return uvloop.run(supervise())


def run_gateway(settings: Settings) -> int:
    """Run one gateway until SIGTERM."""
    import socket

    import uvloop

    from fastness.core.replica import RoutingSnapshot
    from fastness.core.tenant import AccessSnapshot
    from fastness.engines.catalogue import dialect
    from fastness.gateway.process import GatewayParts, serve
    from fastness.identity.authenticator import Authenticator
    from fastness.identity.pepper import load_or_create
    from fastness.ledger.file import FileLedger
    from fastness.store.snapshot_file import SnapshotProblem, SnapshotReader

    _write_no_core()
    _die_with_supervisor()
    run = prepare_directories(settings)
    log = _log(settings, "gateway-0")
    inherited = os.environ.get(LISTENER_VARIABLE)

    def report(problem: SnapshotProblem) -> None:
        log.record("warning", "snapshot.problem", reason=problem.fault.value, where=problem.path.name)

    parts = GatewayParts(
        settings=settings,
        access=Authenticator(load_or_create(settings.home / "secrets/pepper")),
        access_reader=SnapshotReader(run / "access.json", AccessSnapshot, report),
        routing_reader=SnapshotReader(run / "routing.json", RoutingSnapshot, report),
        ledger=FileLedger.open(settings.home / "ledger/gateway-0", "gateway-0", settings.ledger, _milliseconds),
        dialect=dialect,
        log=log,
        clock=time.time,
        listener=socket.socket(fileno=int(inherited)) if inherited else None,
    )
    return uvloop.run(serve(parts))


def run_control(settings: Settings) -> int:
    """Run the control process until SIGTERM."""
    import uvloop

    from fastness.control.process import serve

    _write_no_core()
    _die_with_supervisor()
    run = prepare_directories(settings)

    uvloop.run(serve(_control(settings, run), run / "control.sock"))
    return 0


def local_api(settings: Settings) -> AsgiApp:
    """Build the management API in this process, for verbs that work while nothing runs."""
    from fastness.control.api import build_app

    run = prepare_directories(settings)
    return build_app(_control(settings, run))


def machine_facts(_settings: Settings) -> list[Finding]:
    """What `doctor` needs of the other rooms: the seal's proof."""
    from fastness.cli.composition import Verdict
    from fastness.perimeter.local import LocalPerimeter
    from fastness.perimeter.port import SealUnavailable

    why = "An engine that is not sealed could send what it reads anywhere."
    try:
        report = LocalPerimeter().check()
        return [Finding("seal", Verdict.OK, f"proved: {report.summary()}", why)]
    except SealUnavailable as error:
        return [Finding("seal", Verdict.FAIL, str(error), why, "enable what is named; --unsealed is for trials only")]


def prepare_directories(settings: Settings) -> Path:
    """Make the state and run directories, private to this user; return the run directory. Raises OSError."""
    settings.home.mkdir(parents=True, exist_ok=True, mode=0o700)
    for name in ("secrets", "models", "ledger", "logs"):
        (settings.home / name).mkdir(exist_ok=True, mode=0o700)
    run = run_directory(settings.home, os.getuid())
    run.mkdir(exist_ok=True, mode=0o700)
    if run.stat().st_uid != os.getuid():
        raise PermissionError(f"{run} belongs to somebody else; remove it, or choose a shorter FASTNESS_HOME")
    run.chmod(0o700)
    (run / "home").write_text(f"{settings.home}\n")  # whose this is, for whoever finds it in /tmp
    return run


def _write_no_core() -> None:
    """Prompts and keys are in memory, so no crash may write it to a disk; engines have the same in their seal."""
    import resource

    # 1 and not 0 where it can be chosen: for a core that is piped to a program the kernel ignores 0.
    allowed = 0 if resource.getrlimit(resource.RLIMIT_CORE)[1] == 0 else 1
    resource.setrlimit(resource.RLIMIT_CORE, (allowed, allowed))


def _milliseconds() -> int:
    return time.time_ns() // 1_000_000


def _log(settings: Settings, process: str) -> JsonLog:
    from fastness.telemetry.log import JsonLog

    return JsonLog(
        settings.home / "logs" / f"{process}.jsonl",
        process,
        time.time,
        level=settings.telemetry.log_level,
        bytes_max=settings.telemetry.log_bytes_max,
        files_max=settings.telemetry.log_files_max,
    )


def _die_with_supervisor() -> None:
    """Have the kernel end this process when the supervisor is gone, however it went."""
    import signal
    import sys

    from fastness.perimeter import kernel

    parent = os.environ.get(PARENT_VARIABLE)
    if parent is None:
        return
    kernel.Kernel().prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(parent):
        sys.exit("fastness: the supervisor that started this process is gone")


def _control(settings: Settings, run: Path) -> ControlDeps:
    """Build what the management API stands on."""
    from fastness import __version__
    from fastness.control.access import Access
    from fastness.control.api import ControlDeps
    from fastness.identity.pepper import load_or_create
    from fastness.ledger.file import FileLedger
    from fastness.registry.library import ModelLibrary
    from fastness.store.sql import SqlStore, sqlite_url

    store = SqlStore.open(sqlite_url(settings.home / "fastness.db"))
    ledger = FileLedger.open(settings.home / "ledger/control", "control", settings.ledger, _milliseconds)
    pepper = load_or_create(settings.home / "secrets/pepper")
    return ControlDeps(
        access=Access(store, ledger, run / "access.json", pepper, time.time, os.urandom),
        run_directory=run,
        logs_directory=settings.home / "logs",
        ledger_directory=settings.home / "ledger",
        settings=load(os.environ)[1],
        version=__version__,
        clock=time.time,
        entropy=os.urandom,
        log=_log(settings, "control"),
        admitted=ModelLibrary(settings.home).cards,
    )


def _site(settings: Settings) -> Site:
    """Build what the supervisor stands on."""
    import asyncio
    import ssl

    from fastness.control.supervisor import Model, Site
    from fastness.fleet.local import LocalFleet
    from fastness.fleet.probe import status_of
    from fastness.ledger.file import FileLedger
    from fastness.perimeter.local import LocalPerimeter
    from fastness.registry.library import ModelLibrary

    run = run_directory(settings.home, os.getuid())
    log = _log(settings, "supervisor")
    perimeter = LocalPerimeter()
    library = ModelLibrary(settings.home)

    def prove_seal() -> str:
        return f"proved: {perimeter.check().summary()}"

    async def start_replicas(models: Sequence[Model], unsealed: bool, on_change: Callable[[Replica], None]) -> Fleet:
        # What an engine writes to stderr is kept in memory for diagnosis only: it might quote a prompt (law 3).
        fleet = LocalFleet(settings.engine, on_change, time.time)
        for model in models:
            for order in _orders(settings, run, perimeter, model, unsealed=unsealed):
                await fleet.start(order)
        return fleet

    def first_admin() -> Awaitable[str | None]:
        return asyncio.to_thread(_first_admin_key, run / "control.sock")

    def control() -> Supervised:
        socket_path = run / "control.sock"
        return _child(settings, "control", lambda: status_of(socket_path, "/api/v1/status", 2.0))

    # The probe asks our own process over our own listener: there is nobody to authenticate.
    tls = ssl._create_unverified_context() if settings.gateway.tls_certificate else None  # noqa: S323

    def gateway(listener: socket.socket) -> Supervised:
        host, port = listener.getsockname()[:2]
        where = ({"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), port)  # noqa: S104 - to ask from here
        return _child(settings, "gateway", lambda: status_of(where, "/livez", 2.0, tls=tls), listener)

    return Site(
        settings=settings,
        run_directory=run,
        ledger=FileLedger.open(settings.home / "ledger/node", "node", settings.ledger, _milliseconds),
        log=log,
        clock=time.time,
        ensure_model=lambda name, tell: Model(*library.ensure(name, tell)),
        prove_seal=prove_seal,
        start_replicas=start_replicas,
        first_admin=first_admin,
        control=control,
        gateway=gateway,
    )


def _first_admin_key(control: Path) -> str | None:
    """Ask the control process for the first admin key; None when it was given on an earlier start."""
    import httpx

    with httpx.Client(transport=httpx.HTTPTransport(uds=str(control)), timeout=30) as client:
        answer = client.post("http://control/api/v1/keys/first-admin")
    answer.raise_for_status()
    key: str | None = answer.json().get("key")
    return key


def _child(
    settings: Settings,
    name: str,
    status: Callable[[], Awaitable[int | None]],
    listener: socket.socket | None = None,
) -> Supervised:
    """Describe one of our own processes, kept up like an engine; it ends when this process does."""
    import sys

    from fastness.fleet.backoff import Backoff
    from fastness.fleet.process import Process
    from fastness.fleet.supervised import Care, Supervised

    environ = dict(os.environ) | {"FASTNESS_HOME": str(settings.home), PARENT_VARIABLE: str(os.getpid())}
    if listener is not None:
        environ[LISTENER_VARIABLE] = str(listener.fileno())
    descriptors = () if listener is None else (listener.fileno(),)
    argv = (sys.executable, "-c", "from fastness.main import main; main()", name)

    async def is_ready() -> bool:
        return await status() == 200

    return Supervised(
        Care(
            start=lambda: Process.start(argv, environ, descriptors=descriptors),
            is_ready=is_ready,
            backoff=Backoff(settings.engine.backoff_first_s, settings.engine.backoff_max_s),
            start_timeout_s=settings.engine.start_timeout_s,
            stop_timeout_s=settings.gateway.drain_timeout_s + 5.0,
        ),
        lambda: None,
    )


def _orders(
    settings: Settings, run: Path, perimeter: Perimeter, model: Model, *, unsealed: bool
) -> Iterator[ReplicaOrder]:
    """Say how each replica of a model is executed: the engine says what, the perimeter how it is sealed."""
    from fastness.core.model import ModelKind
    from fastness.engines.catalogue import engine
    from fastness.engines.port import EngineTask
    from fastness.fleet.port import ReplicaOrder
    from fastness.perimeter.port import Confinement

    wanted, kind = settings.engine, engine("llamacpp")
    chats = model.card.kind is ModelKind.CHAT
    for number in range(wanted.replicas if chats else 1):
        replica_id = f"{model.card.name}-{number}"
        scratch = run / "engines" / replica_id
        task = EngineTask(
            card=model.card,
            weights=model.weights,
            socket=scratch / "engine.sock",
            scratch=scratch,
            slots=wanted.slots,
            context_tokens=min(wanted.slot_context_tokens, model.card.context_tokens),
            threads=wanted.threads or max(1, len(os.sched_getaffinity(0)) - 1),
        )
        launch = kind.launch(task)
        confinement = Confinement(
            readable=launch.readable,
            writable=(scratch,),
            memory_bytes_max=wanted.memory_bytes_max or launch.memory_bytes_max,
            open_files_max=wanted.open_files_max,
            unsealed=unsealed,
        )
        yield ReplicaOrder(
            id=replica_id,
            model=model.card.name,
            engine=kind.name,
            argv=perimeter.sealed_argv(launch.argv, confinement),
            environ=launch.environ,
            socket=task.socket,
            scratch=scratch,
            slots=task.slots,
            context_tokens=task.context_tokens,
            health_path=kind.health(),
            sealed=not unsealed,
            diagnose=kind.diagnose,
        )
