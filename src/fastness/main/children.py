"""Our own processes as the supervisor starts them."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from fastness.config import Settings
from fastness.main.process import LISTENER_VARIABLE, PARENT_VARIABLE

if TYPE_CHECKING:
    import socket

    from fastness.fleet.supervised import Supervised


def own_process(
    settings: Settings,
    name: str,
    is_ready: Callable[[], Awaitable[bool]],
    stop_timeout_s: float,
    listener: socket.socket | None = None,
    on_change: Callable[[], None] = lambda: None,
    **variables: str,
) -> Supervised:
    """Describe one of our own processes, kept up like an engine; it ends when this process does.

    `is_ready` never raises. `variables` are added to its environment.
    """
    import sys

    from fastness.fleet.backoff import Backoff
    from fastness.fleet.process import Process
    from fastness.fleet.supervised import Care, Supervised

    environ = dict(os.environ) | {"FASTNESS_HOME": str(settings.home), PARENT_VARIABLE: str(os.getpid())}
    environ |= variables
    if listener is not None:
        environ[LISTENER_VARIABLE] = str(listener.fileno())
    descriptors = () if listener is None else (listener.fileno(),)
    argv = (sys.executable, "-c", "from fastness.main import main; main()", name)

    return Supervised(
        Care(
            start=lambda: Process.start(argv, environ, descriptors=descriptors),
            is_ready=is_ready,
            backoff=Backoff(settings.engine.backoff_first_s, settings.engine.backoff_max_s),
            start_timeout_s=settings.engine.start_timeout_s,
            stop_timeout_s=stop_timeout_s,
        ),
        on_change,
    )
