"""Retention, composed: the sealed store, the keys of tenants, and the routes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from fastness.config import Settings

if TYPE_CHECKING:
    from fastness.control.access import Access
    from fastness.control.failures import Log
    from fastness.control.ledger_entries import LedgerLine
    from fastness.control.policies import Policies
    from fastness.control.routes import ApiRoute
    from fastness.ledger.port import Ledger
    from fastness.sealed.port import TenantKeys
    from fastness.store.database import Database

Companion = Callable[[], AbstractAsyncContextManager[object]]


def retention(
    settings: Settings, run: Path, database: Database, ledger: Ledger, access: Access, policies: Policies, log: Log
) -> tuple[tuple[ApiRoute, ...], Companion]:
    """Build the routes, and what keeps gateways supplied with keys while the control process runs."""
    from fastness.control.disclosing import Disclosing
    from fastness.control.disclosures import Disclosures, Parts
    from fastness.control.retention import Retentions
    from fastness.control.retention_api import ROUTES, RetentionApi
    from fastness.control.routes import bound
    from fastness.control.sealing import Sealing, keep_sealing
    from fastness.perimeter.signing import signing_key
    from fastness.sealed.keyring import Keyring
    from fastness.sealed.safe import Safe
    from fastness.store.disclosures import SqlDisclosureStore

    bounds = settings.retention
    safe = Safe(Keyring(settings.home / "sealed", tenant_keys(settings)))
    sealing = Sealing(safe, access, ledger, run / "sealing.json", bounds.store_bytes_max, time.time)
    parts = Parts(
        store=SqlDisclosureStore(database),
        access=access,
        policies=policies,
        ledger=ledger,
        safe=safe,
        disclosure_s=bounds.disclosure_s,
        clock=time.time,
        entropy=os.urandom,
    )
    disclosures = Disclosures(parts)
    disclosing = Disclosing(
        disclosures, sealing, settings.home, partial(signing_key, settings.home), partial(_prove, settings.home)
    )
    api = RetentionApi(Retentions(access, sealing, disclosures), disclosures, disclosing, time.time)
    return bound(ROUTES, api), partial(keep_sealing, sealing, log)


def _prove(home: Path, line: LedgerLine) -> bytes | None:
    """Prove that an entry is in its log; None while no checkpoint covers it."""
    from fastness.ledger.port import LedgerCorrupt
    from fastness.ledger.stored_log import StoredLog
    from fastness.ledger.stored_tree import TreeDamaged

    try:
        return str(StoredLog(home / "ledger" / line.log).prove(line.index)).encode()
    except (IndexError, ValueError, OSError, LedgerCorrupt, TreeDamaged):
        return None


def tenant_keys(settings: Settings) -> TenantKeys:
    """Return where the keys of tenants are, as configured; raises ConfigError."""
    from fastness.config import ConfigError
    from fastness.sealed.key_files import KeyFiles
    from fastness.sealed.port import SealedUnavailable

    chosen = settings.retention
    if chosen.keys == "pkcs11":
        from fastness.sealed.key_token import token_keys

        try:
            return token_keys(chosen.pkcs11_module, chosen.pkcs11_token, chosen.pkcs11_pin_file)
        except SealedUnavailable as error:
            raise ConfigError(f"{error}") from None
    return KeyFiles(settings.home / "secrets/tenants")
