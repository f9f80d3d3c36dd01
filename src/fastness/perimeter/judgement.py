"""Judging a report offline: its signature, whether its totals follow from its lists, what it shows and what not.

It reads the report and, if given, a public key; it needs no installation, no home, and no network.
"""

from __future__ import annotations

import base64
import binascii
import time
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from fastness import __version__
from fastness.perimeter.addresses import parse_address
from fastness.perimeter.capture import OUTSIDE_MAX
from fastness.perimeter.kinds import KINDS, SEALED
from fastness.perimeter.probe import PROBES
from fastness.perimeter.probe_reach import table_of
from fastness.perimeter.report import summarise
from fastness.perimeter.report_shape import FORMAT, REPORT_BYTES_MAX, Body, Report, canonical
from fastness.perimeter.signing import fingerprint

NOT_SHOWN: Final = (
    "hardware attestation: that the kernel of this machine said the truth (no evidence attached)",
    "any other time or machine: this was one run, on one machine, at the time it says",
    "what somebody who is root, or this user outside Fastness, makes other programs send",
)

_REPORT: Final = msgspec.json.Decoder(Report)
_OTHER_VERSION: Final = "whether everything was tried that fastness {} tries: this is " + __version__


class Claim(StrEnum):
    """What a line of a judgement is worth."""

    PROVED = "proved"
    FAILED = "failed"
    ASSERTED = "asserted"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a judgement."""

    claim: Claim
    text: str


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a report that is genuine says. `holds` is False for the genuine report of a proof that failed."""

    holds: bool
    signer: str
    lines: tuple[Line, ...]


class ReportRefused(Exception):  # noqa: N818 - an outcome
    """It is not a report, or not the one that was signed; the message says what is wrong with it."""


def judge(content: bytes, public: bytes | None = None) -> Judgement:
    """Judge a report; `public` are the 32 bytes of the key that it must be signed with. Raises ReportRefused."""
    report = _read(content)
    signer = _check_signature(report, public)
    body = report.body
    _check_totals(body)
    _check_tables(body)
    lines = (
        Line(Claim.PROVED, f"the report is as it was signed by {signer}" + (", the key given" if public else "")),
        *_probes(body),
        *_packets(body),
        *_steps(body),
        *_live(body),
        *_asserted(body),
        *(() if public else (Line(Claim.UNKNOWN, "whose key that is: give the installation's signing.pub as --key"),)),
        *(() if body.version == __version__ else (Line(Claim.UNKNOWN, _OTHER_VERSION.format(body.version)),)),
        *(Line(Claim.UNKNOWN, text) for text in NOT_SHOWN),
    )
    return Judgement(body.summary.holds, signer, lines)


def _read(content: bytes) -> Report:
    if len(content) > REPORT_BYTES_MAX:
        raise ReportRefused(f"a report has at most {REPORT_BYTES_MAX:,} bytes; this has {len(content):,}")
    try:
        report = _REPORT.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ReportRefused(f"this is not a report of a perimeter proof: {error}") from error
    if report.body.format != FORMAT:
        raise ReportRefused(f"its format is {report.body.format[:80]!r}; this software reads {FORMAT}")
    if canonical(report) + b"\n" != content:
        raise ReportRefused("its bytes were changed: it does not read as it was written")
    return report


def _check_signature(report: Report, wanted: bytes | None) -> str:
    signature = report.signature
    if signature.algorithm != "Ed25519":
        raise ReportRefused(f"it is signed with {signature.algorithm[:40]!r}; Ed25519 is needed")
    try:
        public = base64.b64decode(signature.public_key, validate=True)
        key = Ed25519PublicKey.from_public_bytes(public)
        key.verify(base64.b64decode(signature.value, validate=True), canonical(report.body))
    except (ValueError, binascii.Error) as error:
        raise ReportRefused(f"its signature cannot be read: {error}") from error
    except InvalidSignature:
        raise ReportRefused("the signature is not of this report: it was changed after it was signed") from None
    if wanted is not None and public != wanted:
        raise ReportRefused(f"it is signed by {fingerprint(public)}, not by the key given, {fingerprint(wanted)}")
    return fingerprint(public)


def _check_totals(body: Body) -> None:
    """Refuse a report whose summary says other than its lists, whoever signed it."""
    counted, told = summarise(body.kinds, body.steps, body.capture, body.live), body.summary
    for name in told.__struct_fields__:
        if getattr(counted, name) != getattr(told, name):
            raise ReportRefused(
                f"its summary says {name} {getattr(told, name)}; its own lists give {getattr(counted, name)}"
            )
    capture = body.capture
    listed = sum(one.packets for one in capture.outside)
    sums = {sum(capture.interfaces.values()), sum(capture.protocols.values())}
    cut = len(capture.outside) >= OUTSIDE_MAX
    wrong = listed > capture.packets_outside or (listed < capture.packets_outside and not cut)
    if wrong or sums != {capture.packets_total}:
        raise ReportRefused("the counts of its capture contradict each other")


def _check_tables(body: Body) -> None:
    """Refuse a report that leaves out what this version tries; what another version tries is not known here."""
    if body.version != __version__:
        return
    try:
        names = any(parse_address(spoken).is_name for spoken in body.addresses)
    except ValueError as error:
        raise ReportRefused(f"its addresses are none: {error}") from error
    for one in body.kinds:
        if one.kind not in KINDS:
            raise ReportRefused(f"it has probes of a kind of process that there is not: {one.kind[:40]!r}")
        sealed = one.kind in SEALED
        table = PROBES if sealed else table_of(one.kind, judged=body.host.tcp_judged, names=names)
        missing = {probe.id for probe in table} - {probe.id for probe in one.probes}
        if missing:
            few = ", ".join(sorted(missing)[:5])
            raise ReportRefused(f"it leaves out {len(missing)} probes that are made from inside {one.kind}: {few}")


def _probes(body: Body) -> Iterator[Line]:
    summary = body.summary
    by_kind = ", ".join(f"{kind.kind} {len(kind.probes)}" for kind in body.kinds)
    claim = Claim.FAILED if summary.probes_allowed else Claim.PROVED
    yield Line(claim, f"{summary.probes_allowed} of {summary.probes_total:,} probes passed ({by_kind})")
    for kind in body.kinds:
        for probe in kind.probes:
            if not probe.refused:
                yield Line(Claim.FAILED, f"from inside {kind.kind}: {probe.attempt} ({probe.id}: {probe.answer})")


def _packets(body: Body) -> Iterator[Line]:
    capture = body.capture
    where = ", ".join(sorted(capture.interfaces))
    text = f"{capture.packets_outside} of {capture.packets_total:,} captured packets left the perimeter (on {where})"
    yield Line(Claim.FAILED if capture.packets_outside else Claim.PROVED, text)
    for one in capture.outside:
        place = f"{one.destination} port {one.port}" if one.port else one.destination
        times = "once" if one.packets == 1 else f"{one.packets} times"
        yield Line(Claim.FAILED, f"a packet left: {one.protocol} to {place}, {times}, on {one.interface}")
    if capture.packets_missed:
        yield Line(Claim.FAILED, f"{capture.packets_missed} packets went by unseen: the capture was too slow")
    if body.leak_planted:
        yield Line(Claim.ASSERTED, "a leak was planted on purpose (--plant-leak), to see that it is caught")


def _steps(body: Body) -> Iterator[Line]:
    names = ", ".join(step.name for step in body.steps)
    failed = [step for step in body.steps if not step.held]
    if not failed:
        yield Line(Claim.PROVED, f"{len(body.steps)} steps of work were done meanwhile: {names}")
    for step in failed:
        yield Line(Claim.FAILED, f"step `{step.name}`: {step.detail}")


def _live(body: Body) -> Iterator[Line]:
    if body.live is None:
        yield Line(Claim.UNKNOWN, "the running installation: none ran; an installation made for the proof was worked")
        return
    for seen in body.live:
        if not seen.holds:
            yield Line(Claim.FAILED, f"{seen.kind} {seen.pid} of the running installation: {seen.answer}")
    if all(seen.holds for seen in body.live):
        text = f"the {len(body.live)} processes of the running installation held no socket to anybody outside"
        yield Line(Claim.PROVED, text + (" who is not configured" if body.addresses else ""))


def _asserted(body: Body) -> Iterator[Line]:
    host = body.host
    made = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(body.made_ms / 1_000))
    yield Line(Claim.ASSERTED, f"made {made} by fastness {body.version}, code sha256 {body.code_sha256[:16]}…")
    yield Line(Claim.ASSERTED, f"on {host.system} {host.kernel}, {host.machine}, Landlock {host.landlock}")
    if body.addresses:
        spoken = ", ".join(body.addresses)
        yield Line(Claim.ASSERTED, f"this installation's broker, and nothing else of it, may connect to: {spoken}")
    else:
        yield Line(Claim.ASSERTED, "this installation may speak to no address outside itself (perimeter.addresses)")
    if not host.tcp_judged:
        text = "that a gateway taken over cannot turn its own TCP sockets outward (needs Landlock 4, Linux 6.7)"
        yield Line(Claim.UNKNOWN, text)
