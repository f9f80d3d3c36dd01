"""The proof: the probe program is started sealed, looked at from outside, and believed only line by line."""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from fastness.perimeter.port import Confinement, ProbeReport, ProbeResult, SealUnavailable
from fastness.perimeter.probe import PROBES
from fastness.perimeter.probing import Probe
from fastness.perimeter.witness import witness

PROOF_TIMEOUT_S: Final = 10.0
"""Longest wait for the probes; what has not been answered by then counts as passed."""
_MEMORY_BYTES_MAX: Final = 1 << 30
_OPEN_FILES_MAX: Final = 64
_DISCARD_PORT: Final = 9

Start = Callable[[Confinement], tuple[str, ...]]
"""Returns the command line that starts the probe program under a confinement."""


def prove(start: Start) -> ProbeReport:
    """Run every probe in a process started by `start`; raises SealUnavailable when that could not seal itself."""
    began = time.monotonic()
    with prepared_ground() as (ground, confinement):
        results = run_probes(start(confinement), ground)
    return ProbeReport(results, time.monotonic() - began)


@contextmanager
def prepared_ground() -> Iterator[tuple[dict[str, object], Confinement]]:
    """Make what the probes try to reach: a secret, a neighbour with a socket, an abstract socket, a descriptor."""
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fastness-probe-")))
        own, neighbour, secret = home / "own", home / "neighbour", home / "secret"
        own.mkdir()
        neighbour.mkdir()
        secret.write_bytes(b"pepper")
        abstract = home.name
        for address in (str(neighbour / "engine.sock"), "\0" + abstract):
            listener = stack.enter_context(socket.socket(socket.AF_UNIX))
            listener.bind(address)
            listener.listen()
        descriptor = os.open(secret, os.O_RDONLY)
        stack.callback(os.close, descriptor)
        ground: dict[str, object] = {
            "own": str(own),
            "secret": str(secret),
            "neighbour": str(neighbour),
            "neighbour_socket": str(neighbour / "engine.sock"),
            "abstract": abstract,
            "descriptor": descriptor,
            "memory_bytes_max": _MEMORY_BYTES_MAX,
            "parent_pid": os.getpid(),
            "tcp_port": _DISCARD_PORT,
            "udp_port": _DISCARD_PORT,
            "listener": -1,
            "connection": -1,
            "other_port": -1,
        }
        yield ground, Confinement((), (own,), _MEMORY_BYTES_MAX, _OPEN_FILES_MAX)


def run_probes(
    argv: tuple[str, ...],
    ground: dict[str, object],
    table: tuple[Probe, ...] = PROBES,
    look: Callable[[int], tuple[ProbeResult, ...]] = witness,
) -> tuple[ProbeResult, ...]:
    """Start `argv` (the probe program), look at it, let it try the probes of `table` on `ground`, collect the answers.

    Raises SealUnavailable when it never came to the probes.
    """
    given = [ground[name] for name in ("descriptor", "listener", "connection")]
    passed = [number for number in given if isinstance(number, int) and number >= 0]
    pipe = subprocess.PIPE
    with subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=pipe, env={}, cwd="/", pass_fds=passed) as process:
        assert process.stdout is not None
        seen: tuple[ProbeResult, ...] = ()
        try:
            # It says that it is there, and then waits for its ground: it is sealed, and stands still to be looked at.
            if select.select([process.stdout], [], [], PROOF_TIMEOUT_S)[0] and os.read(process.stdout.fileno(), 65_536):
                seen = look(process.pid)
            output, errors = process.communicate(json.dumps(ground).encode() + b"\n", PROOF_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            output, errors = process.communicate()
    if not seen:
        said = errors.decode(errors="replace").strip()
        raise SealUnavailable(said or f"the probe program ended with status {process.returncode} and said nothing")
    return (*seen, *_answers(output, table))


def _answers(output: bytes, table: tuple[Probe, ...]) -> tuple[ProbeResult, ...]:
    said = {}
    for line in output.splitlines():
        try:
            row = json.loads(line)
            said[row["id"]] = (row["refused"] is True, str(row["answer"]))
        except (ValueError, LookupError, TypeError):  # a broken line is no answer
            continue
    results = []
    for probe in table:
        refused, answer = said.get(probe.id, (False, "no answer"))
        results.append(ProbeResult(probe.id, probe.layer, probe.attempt, refused, answer))
    return tuple(results)
