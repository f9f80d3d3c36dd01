"""Who is trusted to say who somebody is, composed for the control process."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from fastness.config import ConfigError, Settings

if TYPE_CHECKING:
    from fastness.control.failures import Log
    from fastness.control.identities import Identities
    from fastness.control.policies import Policies
    from fastness.identity.authenticator import Authenticator
    from fastness.ledger.port import Ledger

FETCH_TIMEOUT_S = 8.0
"""One document by way of the broker: shorter than control waits for it, so that no thread is left behind."""


def identities(
    settings: Settings, run: Path, ledger: Ledger, log: Log, policies: Policies, authenticator: Authenticator
) -> Identities:
    """Build what keeps identity.json fresh; the broker connects to issuers, if anything may be connected to."""
    from fastness.control.identities import Identities, IdentityFiles
    from fastness.perimeter.addresses import parse_addresses
    from fastness.perimeter.broker_client import BrokerClient

    permitted = frozenset(map(str, parse_addresses(settings.perimeter.addresses)))
    return Identities(
        IdentityFiles.below(settings.home, run, settings.identity.file),
        ledger,
        log,
        time.time,
        BrokerClient(run / "broker.sock", timeout_s=FETCH_TIMEOUT_S).fetch if permitted else None,
        permitted,
        lambda: policies.lattice,
        lambda snapshot: authenticator.replace_identities(snapshot, time.time()),
    )


def check_identities(settings: Settings, run: Path) -> None:
    """Raise ConfigError, before anything starts, for an identity.toml that cannot be understood."""
    from fastness.control.identities import IdentityFiles

    found = IdentityFiles.below(settings.home, run, settings.identity.file).read()
    if found.services and not settings.gateway.tls_client_ca:
        raise ConfigError("identity.toml names services, but gateway.tls_client_ca is not set: none could come in")
