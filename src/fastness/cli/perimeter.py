"""`fastness perimeter`: prove here and now that nothing leaves, and check such a proof anywhere."""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fastness.cli import render
from fastness.cli.client import management
from fastness.cli.composition import Composition
from fastness.cli.outcome import ExitCode, Failure
from fastness.cli.running import find_running
from fastness.cli.talk import Json, Quiet, Talk, reading_width, terminal_width, wants_colour
from fastness.config import Settings
from fastness.perimeter.port import SealUnavailable

if TYPE_CHECKING:
    from fastness.perimeter.judgement import Judgement
    from fastness.perimeter.proving import Proof

PROVE_EXAMPLES = """\
fastness perimeter prove
fastness perimeter prove --json --output report.json | jq .holds"""
VERIFY_EXAMPLES = """\
fastness perimeter verify report.json --key signing.pub
fastness perimeter verify report.json --json | jq .holds"""

_COLOURS = {"proved": "green", "failed": "red", "asserted": "cyan", "unknown": "yellow"}


def prove(
    ctx: typer.Context,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="REPORT", help="Where to write the signed report.")
    ] = None,
    plant_leak: Annotated[
        bool, typer.Option("--plant-leak", help="Have a process send two packets outside, to see that it is caught.")
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Prove here and now that nothing leaves, and write a signed report.

    Tries the way out from inside every kind of process; starts an installation from this same code in a network of
    its own, where every packet is captured, and works it from start to stop; looks at the one that runs, if one does.
    Exits with 1 when anything got through, left, or failed. With --json, the last line is the outcome.
    """
    from fastness.perimeter.proving import prove as prove_perimeter

    composition: Composition = ctx.obj
    settings, _ = composition.load_settings({})
    talk = Talk(as_json, quiet)
    path = output or settings.home / "reports" / time.strftime("perimeter-%Y%m%dT%H%M%SZ.json", time.gmtime())
    running = find_running(settings)
    with said_why_not():
        proof = prove_perimeter(
            settings.home,
            settings.perimeter.addresses,
            None if running is None else (running.pid, _port(running.base_url)),
            composition.environ,
            lambda told: _tell(talk, told),
            leak=plant_leak,
            cluster_ports=_cluster_ports(settings),
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(proof.content)
    _record(composition, settings, talk, proof)
    _conclude(talk, settings, path, proof)
    raise typer.Exit(ExitCode.OK if proof.summary.holds else ExitCode.FAILED)


def _cluster_ports(settings: Settings) -> tuple[int, ...]:
    """Return the ports by which this host speaks to others; none where it belongs to no cluster."""
    from fastness.fleet.ray.ports import RayPorts
    from fastness.identity.cluster.folder import cluster_folder

    if not cluster_folder(settings.home).exists():
        return ()
    return settings.cluster.port, *RayPorts(settings.ray.port).all()


def verify(
    report: Annotated[Path, typer.Argument(metavar="REPORT", help="The file that `prove` wrote.")],
    key: Annotated[
        Path | None, typer.Option("--key", metavar="PUB", help="The installation's signing.pub, had by another way.")
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Check a report of `prove`: offline, with no installation and no settings.

    Says what it proves, what it merely says, and what it does not show. Exits with 1 when the proof did not hold, and
    with 3 when the report is not the one that was signed.
    """
    from fastness.perimeter.judgement import ReportRefused, judge
    from fastness.perimeter.signing import KeyUnusable, read_public_key

    talk = Talk(as_json, quiet)
    try:
        judgement = judge(report.read_bytes(), read_public_key(key) if key else None)
    except FileNotFoundError as error:
        raise Failure(ExitCode.NOT_FOUND, f"There is no file {error.filename}.") from None
    except KeyUnusable as error:
        raise Failure(ExitCode.USAGE, str(error)) from None
    except ReportRefused as error:
        raise Failure(
            ExitCode.REFUSED, f"{report} proves nothing: {error}.", "ask for the file as `prove` wrote it, and its key"
        ) from None
    if as_json:
        lines = [{"claim": line.claim.value, "text": line.text} for line in judgement.lines]
        talk.document({"holds": judgement.holds, "signer": judgement.signer, "lines": lines})
    else:
        talk.text(_spelled(judgement))
    raise typer.Exit(ExitCode.OK if judgement.holds else ExitCode.FAILED)


@contextmanager
def said_why_not() -> Iterator[None]:
    """Turn what this kernel cannot do into a failure that says what to enable."""
    try:
        yield
    except SealUnavailable as error:
        raise Failure(
            ExitCode.REFUSED, f"Nothing can be shown on this machine: {error}", "fastness doctor shows what it lacks"
        ) from None


def tell_step(talk: Talk, step: dict[str, Any]) -> None:
    """Tell one step of the workload as it ends."""
    took = render.duration(step["elapsed_ms"] / 1_000)
    result = "held" if step["held"] else "FAILED"
    talk.say(render.stage("work", f"{step['name']:<17} {step['detail']}", result, took, terminal_width(sys.stderr)))


def _tell(talk: Talk, told: dict[str, Any]) -> None:
    width = terminal_width(sys.stderr)
    if "kind" in told:
        passed = sum(not probe["refused"] for probe in told["probes"])
        counted = f"{told['kind']:<17} {len(told['probes'])} tried from inside"
        talk.say(render.stage("probes", counted, f"{passed} passed", "", width))
    elif "step" in told:
        tell_step(talk, told["step"])
    elif "capture" in told:
        seen = told["capture"]
        counted = f"{', '.join(sorted(seen['interfaces'])):<17} {seen['packets_total']:,} packets"
        talk.say(render.stage("capture", counted, f"{seen['packets_outside']} outside", "", width))
    elif "seen" in told:
        result = "held" if told["seen"]["holds"] else "FAILED"
        process = f"{told['seen']['kind']} {told['seen']['pid']}"
        named = f"{process:<17} {told['seen']['answer']}"
        talk.say(render.stage("running", named, result, "", width))


def _record(composition: Composition, settings: Settings, talk: Talk, proof: Proof) -> None:
    """Have the ledger hold that it was proved; the report is as good without, so a refusal is only told."""
    try:
        with management(composition, settings, of_host=True) as api:
            api.post("/perimeter/proofs", {"report": proof.content.decode()})
    except Failure as failure:
        talk.say(f"warning    the ledger has no entry of this proof: {failure.summary}")


def _conclude(talk: Talk, settings: Settings, path: Path, proof: Proof) -> None:
    digest = hashlib.sha256(proof.content).hexdigest()
    summary = proof.summary
    if talk.as_json:
        talk.document({
            "probes_total": summary.probes_total,
            "probes_allowed": summary.probes_allowed,
            "packets_total": summary.packets_total,
            "packets_outside": summary.packets_outside,
            "packets_missed": summary.packets_missed,
            "steps_total": summary.steps_total,
            "steps_failed": summary.steps_failed,
            "live_total": summary.live_total,
            "live_failed": summary.live_failed,
            "holds": summary.holds,
            "report": str(path),
            "report_sha256": digest,
            "elapsed_s": round(proof.elapsed_s, 3),
        })  # fmt: skip
        return
    talk.say("")
    talk.text(_spelled(proof.judgement))
    talk.text(f"\nreport     {path}\n           sha256 {digest}")
    talk.say(f"\nCheck it anywhere: fastness perimeter verify {path.name} --key {settings.home / 'signing.pub'}")


def _spelled(judgement: Judgement) -> str:
    width, colour = reading_width(sys.stdout), wants_colour(sys.stdout)
    lines = []
    for line in judgement.lines:
        text = render.hanging(f"{line.claim.value:<10}", line.text, width)
        lines.append(render.paint(text[:10], _COLOURS[line.claim.value], colour) + text[10:])
    verdict = "nothing left the perimeter" if judgement.holds else "THE PROOF DOES NOT HOLD"
    return "\n".join([*lines, "", render.paint(verdict, "green" if judgement.holds else "red", colour)])


def _port(base_url: str) -> int:
    from urllib.parse import urlsplit

    return urlsplit(base_url).port or 0
