"""The fleet in the control process, composed: its log, its nodes, and the reconciler between them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from fastness.config import ConfigError, Settings
from fastness.main.fit import ReplicaSizes
from fastness.main.process import milliseconds

if TYPE_CHECKING:
    from fastness.control.configured import Wanted
    from fastness.control.fleet_log import FleetLog
    from fastness.control.policies import Policies
    from fastness.control.reconciler import Reconciler
    from fastness.core.desired import DeploymentSpec
    from fastness.core.fleet_state import FleetState
    from fastness.core.marking import Lattice
    from fastness.ledger.port import Ledger
    from fastness.registry.library import ModelLibrary
    from fastness.scheduling.plan import PlanBounds
    from fastness.telemetry.log import JsonLog

LAPSED_S = 0.5
"""From the end of a lease to when nothing runs under it any more: killing takes milliseconds, and clocks may differ."""


class HostedFleet:
    """What of the fleet lives in the control process. Nothing is read from the ledger before it is needed."""

    def __init__(
        self, settings: Settings, run: Path, ledger: Ledger, policies: Policies, library: ModelLibrary, log: JsonLog
    ) -> None:
        self._settings, self._run, self._ledger = settings, run, ledger
        self._policies, self._library, self._log = policies, library, log
        self._configured_before: dict[str, DeploymentSpec | None] = {}  # filled when the log is read

    @cached_property
    def log(self) -> FleetLog:
        """The state and its decisions. Whoever asks for the state first blocks, and may hear of LedgerCorrupt."""
        from fastness.control.fleet_log import FleetLog

        return FleetLog(self._ledger, self._decided_before, milliseconds)

    def _decided_before(self) -> FleetState:
        from fastness.control.configured import last_configured
        from fastness.control.fleet_log import history
        from fastness.core.fleet_state import fold

        happened = [event for _, event in history(self._settings.home / "ledger/control")]
        self._configured_before |= last_configured(happened)
        return fold(happened)

    @cached_property
    def reconciler(self) -> Reconciler:
        """The reconciler of the nodes that are reached through the run directory."""
        from fastness.control.configured import Configured
        from fastness.control.gateway_reports import GatewayReports
        from fastness.control.node_files import NodeFiles
        from fastness.control.reconciler import Reconciler
        from fastness.fleet.local import LocalFleet

        files = NodeFiles(self._run)
        fleet = LocalFleet(files.reports, files.send)
        log, gateways = self.log, GatewayReports(self._run, milliseconds)
        wanted = _wanted(self._settings, self._policies, self._library)
        configured = Configured(wanted, self._configured_before)
        return Reconciler(
            fleet,
            log,
            gateways.read,
            milliseconds,
            self._log,
            configured.settle,
            lambda: self._policies.lattice.dominates,
            _bounds(self._settings),
        )

    @asynccontextmanager
    async def reconciling(self) -> AsyncIterator[None]:
        """Reconcile until the block ends: a companion of the control process."""
        await asyncio.to_thread(lambda: self.log.state)
        async with self.reconciler.running():
            yield


def _bounds(settings: Settings) -> PlanBounds:
    """A node of a cluster is lost once its lease has certainly lapsed, and its engines have been killed."""
    from fastness.scheduling.plan import PlanBounds

    return PlanBounds(lost_after_s=settings.ray.lease_s + LAPSED_S) if settings.ray.address else PlanBounds()


def _wanted(settings: Settings, policies: Policies, library: ModelLibrary) -> Callable[[], Wanted | None]:
    """Read configuration anew under each policy; what cannot be read under one stays as it was."""
    from fastness.control.configured import configured_specs
    from fastness.control.declaration import declare
    from fastness.core.model import ModelCard
    from fastness.scheduling.fit import FitUnknown

    under: Lattice | None = None
    wanted: Wanted | None = None
    sizes = ReplicaSizes(library)

    def card(name: str) -> ModelCard | None:
        found = library.known(name)
        return None if found is None else found[0]

    def named() -> list[ModelCard]:
        names = filter(None, (settings.engine.chat_model, settings.engine.embedding_model))
        return list(filter(None, map(card, names)))

    def read() -> Wanted | None:
        nonlocal under, wanted
        lattice = policies.lattice
        if lattice is under or not all(map(sizes.is_laid_down, named())):
            return wanted
        under = lattice
        with suppress(ConfigError, FitUnknown):  # the supervisor, which reads the same, says so
            wanted = configured_specs(settings, declare(settings, lattice), card, sizes.device_bytes)
        return wanted

    return read
