"""The fleet's commands and routes, composed."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from fastness.config import Settings
from fastness.main.fit import ReplicaSizes

if TYPE_CHECKING:
    from fastness.control.access import Access
    from fastness.control.deployments import Deployments
    from fastness.control.fleet_log import FleetLog
    from fastness.control.models_here import ModelFacts
    from fastness.control.policies import Policies
    from fastness.control.routes import ApiRoute
    from fastness.control.watching import Watching
    from fastness.registry.library import ModelLibrary
    from fastness.store.database import Database


class FleetControl:
    """Commands and routes of the fleet, over `log`. `watching` is the reconciler; None: what was reported last."""

    def __init__(
        self,
        settings: Settings,
        run: Path,
        log: FleetLog,
        database: Database,
        access: Access,
        policies: Policies,
        library: ModelLibrary,
        watching: Watching | None = None,
    ) -> None:
        from fastness.control.deployments import Deployments
        from fastness.control.fleet_api import ROUTES, FleetApi, FleetParts
        from fastness.control.guarantees import Guarantees
        from fastness.control.models_here import models_here
        from fastness.control.nodes import Nodes
        from fastness.control.routes import bound
        from fastness.control.watching import LastReports
        from fastness.engines.catalogue import ENGINES
        from fastness.store.admissions import SqlAdmissionStore

        directory, admitted = settings.home / "ledger/control", SqlAdmissionStore(database)

        def models() -> Mapping[str, ModelFacts]:
            return models_here(library.loadable(), admitted.admissions(), policies.lattice)

        seen = watching or LastReports(run, time.time)
        self.deployments: Deployments = Deployments(log, models, access, policies, seen, directory, ENGINES)
        parts = FleetParts(
            self.deployments,
            Nodes(log, seen),
            Guarantees(log, access, seen),
            seen,
            policies,
            ReplicaSizes(library).device_bytes,
            directory,
            time.time,
        )
        self.routes: tuple[ApiRoute, ...] = bound(ROUTES, FleetApi(parts))
