"""The broker, composed: started before the supervisor gives up its sockets, and only where an address is configured."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fastness.config import ConfigError, Settings, load
from fastness.main.anew import Companions, child_environ, companion
from fastness.main.process import LISTENER_VARIABLE, die_with_supervisor, open_log, write_no_core


@contextmanager
def broker(settings: Settings, run: Path, companions: Companions) -> Iterator[None]:
    """Have a broker at `run/broker.sock` while it lasts, if any address is configured. Raises ConfigError, OSError."""
    import socket

    from fastness.perimeter.addresses import parse_addresses

    path = run / "broker.sock"
    path.unlink(missing_ok=True)
    try:
        wanted = parse_addresses(settings.perimeter.addresses)
    except ValueError as error:
        raise ConfigError(f"perimeter.addresses: {error}") from error
    if not wanted:
        yield
        return
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        path.chmod(0o600)
        listener.listen(16)
        number = listener.fileno()
        argv = (sys.executable, "-c", "from fastness.main.broker import run_broker; run_broker()")
        environ = child_environ(settings.home) | {LISTENER_VARIABLE: str(number)}
        try:
            with companion(companions, "broker", argv, environ, (number,)):
                listener.close()  # it is theirs alone: who asks when nobody is left is not kept waiting
                yield
        finally:
            path.unlink(missing_ok=True)


def run_broker() -> None:
    """Be the broker until SIGTERM, or until the supervisor is gone."""
    import socket

    from fastness.perimeter.addresses import parse_addresses
    from fastness.perimeter.broker import keep

    write_no_core()
    die_with_supervisor()
    settings, _ = load(os.environ)
    log = open_log(settings, "broker")

    def record(event: str, where: str, reason: str) -> None:
        log.record("warning" if event == "broker.refused" else "info", event, where=where, reason=reason)

    listener = socket.socket(fileno=int(os.environ[LISTENER_VARIABLE]))
    keep(listener, parse_addresses(settings.perimeter.addresses), record, log.flush, int(sys.argv[1]))
