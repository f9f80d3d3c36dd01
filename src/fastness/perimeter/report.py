"""Making a report: its totals counted, its host and code named, signed with the installation's key."""

from __future__ import annotations

import base64
import hashlib
import os
import platform
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import fastness
from fastness.perimeter.installation import Step
from fastness.perimeter.kernel import Kernel
from fastness.perimeter.kinds import KINDS, KINDS_BEFORE_DOORS, tcp_is_judged
from fastness.perimeter.live import Seen
from fastness.perimeter.report_shape import Body, Captured, Host, KindProbed, Report, Signature, Summary, canonical
from fastness.perimeter.signing import raw


def summarise(
    kinds: tuple[KindProbed, ...], steps: tuple[Step, ...], capture: Captured, live: tuple[Seen, ...] | None
) -> Summary:
    """Count what the lists say; it holds when nothing got through, nothing failed, and nothing is missing."""
    probes = [probe for kind in kinds for probe in kind.probes]
    allowed = sum(not probe.refused for probe in probes)
    failed = sum(not step.held for step in steps)
    wrong = sum(not seen.holds for seen in live or ())
    whole = (
        tuple(kind.kind for kind in kinds) in (KINDS, KINDS_BEFORE_DOORS)
        and all(kind.probes for kind in kinds)
        and {"up", "stop"} <= {step.name for step in steps}
        and capture.packets_total > 0
    )
    bad = allowed or failed or wrong or capture.packets_outside or capture.packets_missed
    return Summary(
        probes_total=len(probes),
        probes_allowed=allowed,
        packets_total=capture.packets_total,
        packets_outside=capture.packets_outside,
        packets_missed=capture.packets_missed,
        steps_total=len(steps),
        steps_failed=failed,
        live_total=len(live or ()),
        live_failed=wrong,
        holds=whole and not bad,
    )


def signed(body: Body, key: Ed25519PrivateKey) -> bytes:
    """Return the report as it is written to a file."""
    public = base64.b64encode(raw(key.public_key())).decode()
    value = base64.b64encode(key.sign(canonical(body))).decode()
    return canonical(Report(body, Signature("Ed25519", public, value))) + b"\n"


def this_host() -> Host:
    """Describe this machine."""
    uname = platform.uname()
    try:
        landlock = Kernel().landlock_abi()
    except OSError:
        landlock = 0
    return Host(
        system=uname.system,
        kernel=uname.release,
        machine=uname.machine,
        python=platform.python_version(),
        landlock=landlock,
        tcp_judged=tcp_is_judged(),
        root=os.geteuid() == 0,
    )


def code_digest() -> str:
    """Return the SHA-256 of the installed package: of the names and digests of its files, in order."""
    root = Path(fastness.__file__).parent
    whole = hashlib.sha256()
    for path in sorted(path for path in root.rglob("*") if path.is_file() and "__pycache__" not in path.parts):
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        whole.update(f"{digest}  {path.relative_to(root).as_posix()}\n".encode())
    return whole.hexdigest()
