"""Admission, composed: artefacts are inspected in a sealed process of their own."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from fastness.config import Settings

if TYPE_CHECKING:
    from fastness.control.admissions import Admissions
    from fastness.control.policies import Policies
    from fastness.control.routes import ApiRoute
    from fastness.ledger.port import Ledger
    from fastness.registry.library import ModelLibrary
    from fastness.store.database import Database
    from fastness.telemetry.log import JsonLog

PROCESSES_MAX = 64


def admission(
    settings: Settings, database: Database, ledger: Ledger, policies: Policies, library: ModelLibrary, log: JsonLog
) -> tuple[tuple[ApiRoute, ...], Callable[[], AbstractAsyncContextManager[None]]]:
    """Build the routes on what is imported, and the companion that finishes at start what a crash cut off."""
    from fastness.control.artefacts import artefact_routes, finished

    commands = admissions(settings, database, ledger, policies, library)
    return artefact_routes(commands), partial(finished, commands, log)


def admissions(
    settings: Settings, database: Database, ledger: Ledger, policies: Policies, library: ModelLibrary
) -> Admissions:
    """Build the commands on what is imported."""
    from fastness.control.admissions import Admissions, Parts
    from fastness.perimeter.local import LocalPerimeter
    from fastness.perimeter.port import Confinement
    from fastness.registry.inspection.sealed import SealedInspector
    from fastness.store.admissions import SqlAdmissionStore

    perimeter = LocalPerimeter()

    def seal(argv: tuple[str, ...], readable: tuple[Path, ...], memory_bytes_max: int) -> tuple[str, ...]:
        confinement = Confinement(readable, (), memory_bytes_max, settings.engine.open_files_max, PROCESSES_MAX)
        return perimeter.sealed_argv(argv, confinement)

    (settings.home / "trust").mkdir(exist_ok=True, mode=0o700)
    return Admissions(
        Parts(
            home=settings.home,
            settings=settings.registry,
            store=SqlAdmissionStore(database),
            ledger=ledger,
            policies=policies,
            library=library,
            inspector=SealedInspector(seal, settings.registry),
            clock=time.time,
        )
    )
