"""What every process of ours does first: directories, logs, no core dumps, and ending with its supervisor."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from fastness.config import LedgerSettings, Settings, run_directory

if TYPE_CHECKING:
    from fastness.ledger.notary import Signing
    from fastness.telemetry.log import JsonLog

LISTENER_VARIABLE = "FASTNESS_LISTENER"
"""Number of the listening socket that the supervisor hands to a gateway."""
GATEWAY_VARIABLE = "FASTNESS_GATEWAY"
"""Name of a gateway, of which an installation has `gateway.processes`; without it: the first one."""
PARENT_VARIABLE = "FASTNESS_PARENT"
"""Process id of the supervisor: its children end when it does."""

WITNESSED = "witnessed.json"
"""In the run directory: what witnesses have seen of the logs."""
SALT_DAYS, SALTS_BEFORE = "secrets/salts", "secrets/receipts"
"""Below FASTNESS_HOME: what the salts of commitments follow from, now, and in releases that had no days for it."""

UNSEALED_VARIABLE = "FASTNESS_UNSEALED"
"""Set for the children of a supervisor that was started with --unsealed."""


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


def write_no_core() -> None:
    """Prompts and keys are in memory, so no crash may write it to a disk; engines have the same in their seal."""
    import resource

    # 1 and not 0 where it can be chosen: for a core that is piped to a program the kernel ignores 0.
    allowed = 0 if resource.getrlimit(resource.RLIMIT_CORE)[1] == 0 else 1
    resource.setrlimit(resource.RLIMIT_CORE, (allowed, allowed))


def stay_local(unsealed: bool = False) -> None:
    """Give up, for this process and all that it starts, every socket but Unix sockets; before any thread is started.

    Raises NotSealed where the kernel cannot, unless an operator allowed engines to run unsealed, too.
    """
    from fastness.perimeter import reach
    from fastness.perimeter.seal import NotSealed

    try:
        reach.stay_local()
    except NotSealed:
        if not unsealed and not os.environ.get(UNSEALED_VARIABLE):
            raise


def milliseconds() -> int:
    """Return milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def open_log(settings: Settings, process: str) -> JsonLog:
    """Open the log of one process."""
    from fastness.telemetry.log import JsonLog

    return JsonLog(
        settings.home / "logs" / f"{process}.jsonl",
        process,
        time.time,
        level=settings.telemetry.log_level,
        bytes_max=settings.telemetry.log_bytes_max,
        files_max=settings.telemetry.log_files_max,
    )


def log_place(settings: Settings, log: str) -> tuple[Path, str, LedgerSettings, Callable[[], int]]:
    """Return what a log of this installation is opened with: where, its name, its bounds, and the clock."""
    return settings.home / "ledger" / log, log, settings.ledger, milliseconds


def signing(settings: Settings) -> Signing:
    """Return how the logs of this installation are signed; raises LogKeyUnusable, ConfigError, OSError."""
    from fastness.config import ConfigError
    from fastness.ledger.log_key import KEY_NAME, load_or_create_key
    from fastness.ledger.notary import Signing
    from fastness.ledger.note import is_key_name

    origin = settings.ledger.origin
    if origin and (not is_key_name(origin) or origin.endswith("/")):
        raise ConfigError(
            f"ledger.origin is {origin!r}; it needs a name without white space, plus signs and a / at its end"
        )
    key = load_or_create_key(settings.home / "secrets" / KEY_NAME)
    return Signing(key, origin, settings.ledger.checkpoint_interval_s)


def die_with_supervisor(by: int = 9) -> None:
    """Have the kernel send this process a signal when the supervisor is gone, however it went; 9 is SIGKILL."""
    import sys

    from fastness.perimeter import kernel

    parent = os.environ.get(PARENT_VARIABLE)
    if parent is None:
        return
    kernel.Kernel().prctl(kernel.PR_SET_PDEATHSIG, by)
    if os.getppid() != int(parent):
        sys.exit("fastness: the supervisor that started this process is gone")
