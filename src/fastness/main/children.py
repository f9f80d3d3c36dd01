"""Our own processes as the supervisor starts them."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from fastness.config import Settings
from fastness.main.process import LISTENER_VARIABLE, PARENT_VARIABLE

if TYPE_CHECKING:
    import socket

    from fastness.fleet.supervised import Supervised


@dataclass(frozen=True, slots=True)
class Watch:
    """How it is noticed that one hangs; see Care."""

    period_s: float = 2.0
    misses_max: int = 5
    hung_timeout_s: float | None = None
    silent_s: float = 0.0


WATCH: Final = Watch()


def own_process(
    settings: Settings,
    name: str,
    is_ready: Callable[[], Awaitable[bool]],
    stop_timeout_s: float,
    listener: socket.socket | None = None,
    on_change: Callable[[], None] = lambda: None,
    watch: Watch = WATCH,
    variables: Mapping[str, str] = MappingProxyType({}),
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
            watch_period_s=watch.period_s,
            misses_max=watch.misses_max,
            hung_timeout_s=watch.hung_timeout_s,
            silent_s=watch.silent_s,
        ),
        on_change,
    )
