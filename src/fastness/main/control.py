"""The control process, composed; and the same API in the process of a verb, for when nothing runs."""

from __future__ import annotations

import os
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from fastness.cli.composition import AsgiApp
from fastness.config import Explanation, Settings, load
from fastness.main.batches import HostedBatches
from fastness.main.cluster import cluster_routes
from fastness.main.fit import ReplicaSizes
from fastness.main.process import (
    die_with_supervisor,
    log_place,
    open_log,
    prepare_directories,
    signing,
    stay_local,
    write_no_core,
)
from fastness.main.proofs import evidence_routes, proof_routes
from fastness.main.reconciling import HostedFleet

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fastness.control.api import ControlDeps
    from fastness.control.declaration import Served
    from fastness.control.policies import Policies
    from fastness.control.routes import ApiRoute
    from fastness.core.marking import Lattice
    from fastness.core.policy import PolicyBundle
    from fastness.ledger.port import Ledger
    from fastness.registry.library import ModelLibrary
    from fastness.store.sql import SqlStore


def run_control(settings: Settings) -> int:
    """Run a control process until SIGTERM: it waits while another one leads, and then leads itself."""
    import uvloop

    from fastness.control.leading import lead, patiently
    from fastness.control.process import serve

    write_no_core()
    die_with_supervisor()
    stay_local()
    run = prepare_directories(settings)

    lead(settings.home, _wait)  # the lock is kept until this process ends
    deps = patiently(lambda: control_deps(settings, run, process=True))
    uvloop.run(serve(deps, run / "control.sock"))
    return 0


def _wait(leader: int | None) -> None:
    """Say what is waited for, and have at hand what will be needed then: loading it takes longer than all the rest."""
    import sys
    from importlib import import_module
    from pkgutil import iter_modules

    print(f"Another control process leads ({leader}): this one waits to take over.", file=sys.stderr, flush=True)
    for room in ("control", "store", "sealed", "batches", "main"):
        for module in iter_modules(import_module(f"fastness.{room}").__path__, f"fastness.{room}."):
            import_module(module.name)


def local_api(settings: Settings) -> AsgiApp:
    """Build the management API in this process, for verbs that work while nothing runs."""
    from fastness.control.api import build_app

    run = prepare_directories(settings)
    return build_app(control_deps(settings, run))


def control_deps(settings: Settings, run: Path, *, process: bool = False) -> ControlDeps:
    """Build what the management API stands on; with `process`, also what the control process does by itself."""
    from fastness import __version__
    from fastness.control.access import Access
    from fastness.control.api import ControlDeps
    from fastness.control.identities import keep_identities
    from fastness.identity.authenticator import Authenticator
    from fastness.identity.pepper import load_or_create
    from fastness.ledger.file import FileLedger
    from fastness.main.admission import admission
    from fastness.main.fleet import FleetControl
    from fastness.main.identities import identities
    from fastness.main.limits import limits
    from fastness.main.receipts import Companion, receipts
    from fastness.main.retention import retention
    from fastness.registry.library import ModelLibrary
    from fastness.store.database import store_url
    from fastness.store.sql import SqlStore

    explained = load(os.environ)[1]
    store = SqlStore.open(store_url(settings.store.url, settings.home))
    ledger = FileLedger.open(*log_place(settings, "control"), signing=signing(settings))
    pepper = load_or_create(settings.home / "secrets/pepper")
    library = ModelLibrary(settings.home)
    policies = _policies(settings, run, store, ledger)
    authenticator, log = Authenticator(pepper, settings.identity), open_log(settings, "control")
    trusted = identities(settings, run, ledger, log, policies, authenticator)
    identities_kept = partial(keep_identities, trusted, settings.identity.refresh_s)
    batches = HostedBatches(settings, run, pepper, ledger, log)
    fleet = HostedFleet(settings, run, ledger, policies, library, log)

    routes, finishing = admission(settings, store.database, ledger, policies, library, log)

    access = Access(store, ledger, run / "access.json", pepper, time.time, os.urandom)
    limit_routes, counting = limits(settings.home, store, access, ledger, log)
    kept_routes, sealing = retention(settings, run, store.database, ledger, access, policies, log)
    watching = fleet.reconciler if process else None
    receipt_routes, proving = receipts(settings, run, ledger, library.shipped(), log)
    commands = FleetControl(settings, run, fleet.log, store.database, access, policies, library, watching)
    offered = (*routes, *limit_routes, *kept_routes, *commands.routes, *batches.routes(), *receipt_routes)
    running: tuple[Companion, ...] = (identities_kept, counting, sealing, batches.serve, fleet.reconciling, *proving)
    return ControlDeps(
        access=access,
        policies=policies,
        authenticator=authenticator,
        run_directory=run,
        logs_directory=settings.home / "logs",
        ledger_directory=settings.home / "ledger",
        settings=explained,
        version=__version__,
        clock=time.time,
        entropy=os.urandom,
        log=log,
        admitted=library.cards,
        declared=partial(_served, settings, store, library),
        replica_bytes=ReplicaSizes(library).configured(settings.engine),
        extra_routes=(*offered, *_proving(settings, store, ledger, explained, policies)),
        companions=(finishing, *(running if process else ())),
    )


def _proving(
    settings: Settings, store: SqlStore, ledger: Ledger, explained: Mapping[str, Explanation], policies: Policies
) -> tuple[ApiRoute, ...]:
    evidence = evidence_routes(settings.home, store.database, ledger, explained)
    return (*proof_routes(settings.home, ledger), *evidence, *cluster_routes(settings, ledger, policies))


def _served(settings: Settings, store: SqlStore, library: ModelLibrary, lattice: Lattice) -> Served:
    from fastness.control.declaration import declare
    from fastness.store.admissions import SqlAdmissionStore

    return declare(settings, lattice).served(library.cards(), SqlAdmissionStore(store.database).admissions())


def _policies(settings: Settings, run: Path, store: SqlStore, ledger: Ledger) -> Policies:
    from fastness.control.declaration import chosen_profile
    from fastness.control.policies import Policies
    from fastness.policy.bundle import shipped_bundle
    from fastness.store.policies import SqlPolicyStore

    def first() -> PolicyBundle:
        return shipped_bundle(chosen_profile(settings))

    return Policies(SqlPolicyStore(store.database), ledger, run / "policy.json", first, time.time)
