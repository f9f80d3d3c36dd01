"""The trial: a process in a network of its own that makes an installation, works it, and ends it, while it watches.

`trial(...)` starts it and yields what it tells, as it happens: one JSON object a line, each with one of the keys
`kind` (the probes of one kind of process), `step`, `capture`, `unable`.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from fastness.config import run_directory
from fastness.perimeter import kernel as k
from fastness.perimeter.addresses import parse_addresses
from fastness.perimeter.arena import enter_arena
from fastness.perimeter.capture import Capture, Counts
from fastness.perimeter.installation import Installation, take
from fastness.perimeter.kernel import Kernel
from fastness.perimeter.kinds import KINDS, probe_kind
from fastness.perimeter.port import SealUnavailable
from fastness.perimeter.seal import NotSealed
from fastness.perimeter.workload import journey, no_way_out

LEAK_AFTER: Final = "json schema"
"""The step of the workload after which a planted leak is sent."""
# What an unsealed program of an installation could do: a datagram, and the first packet of a connection.
_LEAK: Final = """
import socket
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagram, socket.socket() as stream:
    datagram.sendto(b"a planted leak", ("192.0.2.1", 53))
    stream.settimeout(1)
    stream.connect_ex(("192.0.2.1", 443))
"""


def trial(
    environ: Mapping[str, str], *, captured: bool, leak: bool = False, addresses: str = ""
) -> Iterator[dict[str, Any]]:
    """Run a trial and yield what it tells; of `environ`, our own settings are left out.

    `captured` probes every kind of process, and leads every address to the capture; otherwise the network has no route.
    With `leak`, a process sends two packets outside in the middle of it. Raises SealUnavailable where this kernel
    cannot, with what to enable.
    """
    with tempfile.TemporaryDirectory(prefix="fastness-trial-") as home:
        wanted = {"home": home, "captured": captured, "leak": leak, "addresses": addresses}
        argv = (sys.executable, "-c", "from fastness.perimeter.trial import main; main()", json.dumps(wanted))
        kept = {name: value for name, value in environ.items() if not name.startswith("FASTNESS_")}
        kept["FASTNESS_HOME"] = home
        with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, env=kept) as process:
            assert process.stdout is not None
            try:
                for line in process.stdout:
                    told = json.loads(line)
                    if "unable" in told:
                        raise SealUnavailable(told["unable"])
                    yield told
            finally:
                process.terminate()
                process.wait()
                shutil.rmtree(run_directory(Path(home), os.getuid()), ignore_errors=True)  # it may be elsewhere


def main() -> None:
    """Be the trial that the command line describes."""
    wanted = json.loads(sys.argv[1])
    Kernel().prctl(k.PR_SET_PDEATHSIG, signal.SIGKILL)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(1))  # what was begun is ended on the way out
    try:
        enter_arena(Kernel(), everywhere=wanted["captured"])
        with ExitStack() as stack:
            capture = stack.enter_context(Capture()) if wanted["captured"] else None
            if capture:
                for kind in KINDS:
                    _probe(kind, wanted["addresses"])
            _work(Path(wanted["home"]), everywhere=wanted["captured"], leak=wanted["leak"])
        if capture:
            _tell({"capture": _counted(capture.counts)})
    except (NotSealed, SealUnavailable) as error:
        _tell({"unable": str(error)})


def _probe(kind: str, addresses: str) -> None:
    results = probe_kind(kind, parse_addresses(addresses))
    _tell({"kind": kind, "probes": [asdict(one) for one in results]})


def _work(home: Path, *, everywhere: bool, leak: bool) -> None:
    """Take every step; one that fails does not keep the others from being taken, unless it never started."""
    one = Installation(home)
    try:
        if not everywhere:
            _tell({"step": asdict(take("no way out", no_way_out))})
        step = take("up", one.up)
        _tell({"step": asdict(step)})
        for name, act in journey(one) if step.held else ():
            _tell({"step": asdict(take(name, act))})
            if leak and name == LEAK_AFTER:
                subprocess.run((sys.executable, "-I", "-S", "-c", _LEAK), check=True, timeout=30)
        _tell({"step": asdict(take("stop", one.stop))})
    finally:
        one.end()


def _counted(counts: Counts) -> dict[str, Any]:
    listed = [
        {
            "interface": interface,
            "protocol": packet.protocol,
            "source": packet.source,
            "destination": packet.destination,
            "port": packet.port,
            "packets": number,
        }
        for (interface, packet), number in counts.outside.items()
    ]
    return {
        "interfaces": dict(counts.by_interface),
        "protocols": dict(counts.by_protocol),
        "packets_total": counts.by_interface.total(),
        "packets_outside": counts.outside_total,
        "packets_missed": counts.missed,
        "outside": listed,
    }


def _tell(row: dict[str, Any]) -> None:
    os.write(1, json.dumps(row).encode() + b"\n")
