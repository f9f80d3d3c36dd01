"""`fastness stop`: end what runs here, waiting until it is gone."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Callable
from typing import Annotated, Final

import typer

from fastness.cli import render
from fastness.cli.composition import Composition
from fastness.cli.outcome import ExitCode, Failure
from fastness.cli.running import Running, find_joined, find_running, is_fastness, nothing_runs
from fastness.cli.talk import Json, Quiet, Talk
from fastness.config import Settings

EXAMPLES = """\
fastness stop
fastness stop --timeout 5"""

SPARE_S: Final = 5.0
"""What ending may take beyond the drain and the engines' own time."""
TELL_EVERY_S: Final = 2.0


def stop(
    ctx: typer.Context,
    timeout: Annotated[
        float | None,
        typer.Option(metavar="S", min=0.1, help="Longest wait in seconds (default: what the settings allow, + 5)."),
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """End what runs here, and return when it is gone.

    No new requests are taken, running answers finish, then the engines stop. On a host that was joined to a cluster its
    engines end at once, and the gateways go on elsewhere: drain it before, on the head (fastness nodes drain).
    """
    composition: Composition = ctx.obj
    talk = Talk(as_json, quiet)
    settings, _ = composition.load_settings({})
    running = find_running(settings) or find_joined(settings)
    if running is None:
        raise nothing_runs(settings)
    drain_s = settings.gateway.drain_timeout_s if isinstance(running, Running) else 0.0
    deadline_s = timeout or drain_s + settings.engine.stop_timeout_s + SPARE_S
    began_s = time.monotonic()
    if not end(running.pid, deadline_s, lambda: talk.say(_waiting(settings, running.pid, drain_s))):
        raise Failure(
            ExitCode.FAILED,
            f"fastness (pid {running.pid}) was told to end but still runs after {deadline_s:g} s.",
            f"fastness logs; or kill -9 {running.pid}: engines end with it, and the next start repairs the ledger",
        )
    elapsed_s = time.monotonic() - began_s
    if as_json:
        talk.document({"stopped": True, "pid": running.pid, "elapsed_s": round(elapsed_s, 3)})
    talk.say(f"Stopped (pid {running.pid}) after {render.duration(elapsed_s)}.")


def end(pid: int, deadline_s: float, waiting: Callable[[], None]) -> bool:
    """Send SIGTERM to supervisor `pid` and wait for its end; False when `deadline_s` passed first.

    Through a descriptor of the process: a pid taken over by another program meanwhile is never signalled.
    """
    with contextlib.suppress(ProcessLookupError):
        process = os.pidfd_open(pid)
        try:
            if not is_fastness(pid):
                return True
            signal.pidfd_send_signal(process, signal.SIGTERM)
            return _gone(process, deadline_s, waiting)
        finally:
            os.close(process)
    return True


def _gone(process: int, deadline_s: float, waiting: Callable[[], None]) -> bool:
    watch = select.poll()
    watch.register(process, select.POLLIN)
    deadline = time.monotonic() + deadline_s
    while (left_s := deadline - time.monotonic()) > 0:
        if watch.poll(1000 * min(left_s, TELL_EVERY_S)):
            return True
        waiting()
    return False


def _waiting(settings: Settings, pid: int, drain_s: float) -> str:
    answers = f"running answers to finish (at most {drain_s:g} s), then for " if drain_s else ""
    return f"Waiting for {answers}the engines (at most {settings.engine.stop_timeout_s:g} s); pid {pid}."
