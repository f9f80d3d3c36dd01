"""Proving: the trial is run, the running installation looked at, and the report of both made and signed."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec

from fastness import __version__
from fastness.perimeter.addresses import parse_addresses
from fastness.perimeter.installation import Step
from fastness.perimeter.judgement import Judgement, judge
from fastness.perimeter.live import look_at
from fastness.perimeter.report import code_digest, signed, summarise, this_host
from fastness.perimeter.report_shape import FORMAT, Body, Captured, KindProbed, Summary
from fastness.perimeter.signing import raw, signing_key
from fastness.perimeter.trial import trial


@dataclass(frozen=True, slots=True)
class Proof:
    """A proof that was run: `content` are the bytes of the signed report."""

    content: bytes
    summary: Summary
    judgement: Judgement
    elapsed_s: float


class ProofBroken(Exception):  # noqa: N818 - an outcome
    """The trial ended before it was over; the message says at what."""


def prove(
    home: Path,
    addresses: str,
    running: tuple[int, int] | None,
    environ: Mapping[str, str],
    tell: Callable[[dict[str, Any]], None],
    *,
    leak: bool = False,
    cluster_ports: tuple[int, ...] = (),
) -> Proof:
    """Prove the perimeter, and sign the report with the key of the installation at `home`.

    `running` is the supervisor's process id and the gateway's port, if one runs; `cluster_ports` are those by which it
    speaks to other hosts, that of the doors first. `tell` gets what happens, as it does.
    Raises SealUnavailable where this kernel cannot, ProofBroken, KeyUnusable, OSError.
    """
    began = time.monotonic()
    key = signing_key(home)
    kinds: list[KindProbed] = []
    steps: list[Step] = []
    capture = None
    for told in trial(environ, captured=True, leak=leak, addresses=addresses):
        tell(told)
        if "kind" in told:
            kinds.append(msgspec.convert(told, KindProbed))
        elif "step" in told:
            steps.append(msgspec.convert(told["step"], Step))
        else:
            capture = msgspec.convert(told["capture"], Captured)
    if capture is None:
        raise ProofBroken(f"the trial broke off after {steps[-1].name if steps else 'its start'}; nothing is proved")
    spoken = parse_addresses(addresses)
    live = look_at(*running, tuple(one.port for one in spoken), cluster_ports) if running else None
    for seen in live or ():
        tell({"seen": asdict(seen)})
    body = Body(
        format=FORMAT,
        made_ms=time.time_ns() // 1_000_000,
        version=__version__,
        code_sha256=code_digest(),
        host=this_host(),
        addresses=tuple(map(str, spoken)),
        leak_planted=leak,
        kinds=tuple(kinds),
        steps=tuple(steps),
        capture=capture,
        live=live,
        summary=summarise(tuple(kinds), tuple(steps), capture, live),
    )
    content = signed(body, key)
    return Proof(content, body.summary, judge(content, raw(key.public_key())), time.monotonic() - began)
