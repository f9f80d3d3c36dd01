"""Receipts and witnesses, composed."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fastness.config import Settings
from fastness.main.process import SALT_DAYS, SALTS_BEFORE, WITNESSED, milliseconds
from fastness.main.retention import tenant_keys

if TYPE_CHECKING:
    from fastness.control.failures import Log
    from fastness.control.receipts import ReceiptDesk
    from fastness.control.routes import ApiRoute
    from fastness.core.model import ModelCard
    from fastness.ledger.port import Ledger
    from fastness.ledger.witness.policy import WitnessPolicy

WITNESS_TIMEOUT_S: Final = 10.0
Companion = Callable[[], AbstractAsyncContextManager[object]]


def receipts(
    settings: Settings, run: Path, ledger: Ledger, shipped: tuple[ModelCard, ...], log: Log
) -> tuple[tuple[ApiRoute, ...], tuple[Companion, ...]]:
    """Build the desk where receipts are made and what has logs cosigned: routes, and what runs beside.

    `shipped` are the models that come with Fastness: `ledger` gets an entry for each that it has none for.

    Raises ConfigError for a policy of witnesses that cannot be read, OSError.
    """
    from fastness import __version__
    from fastness.control.receipts import ROUTES
    from fastness.control.routes import bound
    from fastness.control.shipped_models import record_shipped

    desk = receipt_desk(settings, log)
    recording = partial(record_shipped, desk.knows, ledger, shipped, __version__, time.time, log)
    return bound(ROUTES, desk), (desk.keep_index, recording, *witnessing(settings, run, log))


def receipt_desk(settings: Settings, log: Log) -> ReceiptDesk:
    """Build the desk; raises ConfigError, OSError."""
    from fastness.control.receipts import ReceiptDesk
    from fastness.ledger.receipts.receipt import Archive
    from fastness.ledger.receipts.salt_secrets import DAY_MS, SaltSecrets, load_or_begin
    from fastness.sealed.keyring import Keyring
    from fastness.sealed.port import SealedUnavailable
    from fastness.sealed.safe import Safe

    home, safe = settings.home, Safe(Keyring(settings.home / "sealed", tenant_keys(settings)))
    load_or_begin(home / SALT_DAYS, milliseconds() // DAY_MS)

    def record_key(tenant: str, place: str, request_id: str) -> bytes | None:
        try:
            return safe.record_key(tenant, place, request_id)
        except SealedUnavailable as error:
            raise OSError(f"{error}") from None

    places = home / "ledger", home / "receipts", home / "cosigned"
    secrets = SaltSecrets(home / SALT_DAYS, home / SALTS_BEFORE, settings.ledger.receipt_days, record_key)
    archive = Archive(*places, secrets.of, partial(manifest_of, home))
    return ReceiptDesk(archive, lambda: secrets.forget(milliseconds() // DAY_MS), log)


def witnessing(settings: Settings, run: Path, log: Log) -> tuple[Companion, ...]:
    """Build what has logs cosigned, if any witness is named; raises ConfigError for a policy that cannot be read."""
    from fastness.control.witnessing import Places, Witnessing
    from fastness.perimeter.broker_client import BrokerClient, NotFetched
    from fastness.perimeter.conversation import Conversations

    policy = witness_policy(settings)
    if policy is None:
        return ()
    home = settings.home
    places = Places(home / "ledger", home / "cosigned", run / WITNESSED)
    talk = Conversations(BrokerClient(run / "broker.sock", timeout_s=WITNESS_TIMEOUT_S), WITNESS_TIMEOUT_S)
    interval_s = settings.ledger.witness_interval_s
    rounds = Witnessing(policy, places, talk.post, (NotFetched,), interval_s, time.time, log)
    return (rounds.keep_cosigned,)


def witness_policy(settings: Settings) -> WitnessPolicy | None:
    """Return the policy that the settings name, None if they name none; raises ConfigError."""
    from fastness.config import ConfigError
    from fastness.ledger.witness.policy import PolicyUnreadable, read_policy

    if not settings.ledger.witness_policy:
        return None
    path = settings.home / settings.ledger.witness_policy
    try:
        return read_policy(path.read_bytes())
    except (OSError, PolicyUnreadable) as error:
        raise ConfigError(f"ledger.witness_policy, {path}: {error}") from error


def manifest_of(home: Path, weights: str) -> str | None:
    """Return the manifest of the admitted artefact that has this SHA-256, or a file with it; None: there is none."""
    from fastness.registry.admission.record import Records

    try:
        admitted = [record.admission.artefact for record in Records(home).all()]
    except (OSError, ValueError):
        return None
    for artefact in admitted:
        if weights in {artefact.digest, *(file.digest for file in artefact.files)}:
            files = sorted(artefact.files, key=lambda file: file.path)
            return "".join(f"{file.digest}  {file.path}\n" for file in files)
    return None
