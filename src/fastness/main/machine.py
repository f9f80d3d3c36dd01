"""What `doctor` needs of the other rooms."""

from __future__ import annotations

import time

from fastness.cli.composition import Finding
from fastness.config import Settings

RENEW_BEFORE_S = 30 * 86_400
"""So long before a host's certificate ends somebody should renew it."""


def machine_facts(settings: Settings) -> list[Finding]:
    """What `doctor` needs of the other rooms: the seal's proof, if gangs can run, what the host is certified as."""
    return [*_seal(), *_gangs(), *_certificate(settings)]


def _seal() -> list[Finding]:
    from fastness.cli.composition import Verdict
    from fastness.perimeter.local import LocalPerimeter
    from fastness.perimeter.port import SealUnavailable

    why = "An engine that is not sealed could send what it reads anywhere."
    try:
        report = LocalPerimeter().check()
        return [Finding("seal", Verdict.OK, f"proved: {report.summary()}", why)]
    except SealUnavailable as error:
        return [Finding("seal", Verdict.FAIL, str(error), why, "enable what is named; --unsealed is for trials only")]


def _gangs() -> list[Finding]:
    """A note: who has no model over several hosts lacks nothing."""
    from fastness.cli.composition import Verdict
    from fastness.perimeter import gang

    trouble = gang.interface_trouble()
    if not trouble:
        why = "A model over several hosts speaks through it. A service or container has to be given it, too."
        return [Finding("gangs", Verdict.OK, f"{gang.TUN} can be opened", why)]
    found = f"models over several hosts cannot run here: {gang.TUN} cannot be opened ({trouble})"
    why = "An engine that is one part of such a model is reached through it; nothing else needs it."
    hint = "modprobe tun; give it to the service or container (docs/how-to/run-vllm.md#over-several-nodes)"
    return [Finding("gangs", Verdict.WARN, found, why, hint)]


def _certificate(settings: Settings) -> list[Finding]:
    """Nothing on a host that belongs to no cluster."""
    from fastness.cli.composition import Verdict
    from fastness.identity.cluster.certificate import NotTrusted
    from fastness.identity.cluster.folder import cluster_folder
    from fastness.identity.cluster.membership import Membership

    folder = cluster_folder(settings.home)
    if not folder.exists():
        return []
    why = "Other hosts believe this one by its certificate alone."
    try:
        own = Membership(folder)
        own.check(own.certificate_der, time.time())
    except NotTrusted as error:
        return [Finding("certificate", Verdict.FAIL, str(error), why, "docs/how-to/join-a-node.md")]
    left_s, claims = own.certificate.not_after_s - time.time(), own.claims
    found = f"{claims.name}, {claims.role}, for another {int(left_s // 86_400)} days"
    if left_s < RENEW_BEFORE_S:
        hint = f"on the head: fastness node invite {claims.name}; here: fastness node join --install FILE"
        return [Finding("certificate", Verdict.WARN, found, why, hint)]
    return [Finding("certificate", Verdict.OK, found, why)]
