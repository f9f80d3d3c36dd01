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
    from fastness.control.models_here import AdapterFacts, DeviceBytes, ModelFacts
    from fastness.control.policies import Policies
    from fastness.control.routes import ApiRoute
    from fastness.control.watching import Watching
    from fastness.core.desired import Parameters
    from fastness.core.model import ModelCard
    from fastness.registry.library import ModelLibrary
    from fastness.store.database import Database


class FleetControl:
    """Commands and routes of the fleet, over `log`. `watching` is the reconciler; None: what was reported last.

    `device_bytes` None: by the shape of each model in `library`.
    """

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
        device_bytes: DeviceBytes | None = None,
    ) -> None:
        from fastness.control.deployments import Deployments
        from fastness.control.fleet_api import ROUTES, FleetApi, FleetParts
        from fastness.control.guarantees import Guarantees
        from fastness.control.models_here import adapters_here, models_here
        from fastness.control.nodes import Nodes
        from fastness.control.routes import bound
        from fastness.control.watching import LastReports
        from fastness.engines.catalogue import ENGINES, READS, SPANS
        from fastness.store.admissions import SqlAdmissionStore

        directory, admitted = settings.home / "ledger/control", SqlAdmissionStore(database)

        def models() -> Mapping[str, ModelFacts]:
            return models_here(library.loadable(), admitted.admissions(), policies.lattice)

        def adapters() -> Mapping[str, AdapterFacts]:
            return adapters_here(admitted.admissions())

        seen = watching or LastReports(run, time.time)
        self.deployments: Deployments = Deployments(
            log, models, access, policies, seen, directory, ENGINES, READS, SPANS, adapters
        )
        parts = FleetParts(
            self.deployments,
            Nodes(log, seen),
            Guarantees(log, access, seen),
            seen,
            policies,
            device_bytes or _laid_down_sizes(library),
            directory,
            time.time,
        )
        self.routes: tuple[ApiRoute, ...] = bound(ROUTES, FleetApi(parts))


def _laid_down_sizes(library: ModelLibrary) -> DeviceBytes:
    """Return what replicas take. A shipped model whose weights were never needed is laid down to be looked at."""
    from fastness.registry.library import ModelRefused, ModelUnavailable

    sizes = ReplicaSizes(library)

    def device_bytes(card: ModelCard, parameters: Parameters, devices: int) -> int:
        if not sizes.is_laid_down(card):
            try:
                library.ensure(card.name, lambda _stage, _done_bytes, _total_bytes: None)
            except (ModelUnavailable, ModelRefused) as error:
                raise ValueError(str(error)) from None
        return sizes.device_bytes(card, parameters, devices)

    return device_bytes
