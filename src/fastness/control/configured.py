"""The first deployments: what configuration says is served, as commands by `configuration`.

A person's word counts more: a deployment that somebody else applied is left alone, and one that somebody removed stays
away until configuration says something new.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from fastness.config import EngineSettings, Settings
from fastness.control.declaration import Declaration
from fastness.control.fleet_log import FleetLog
from fastness.control.models_here import DeviceBytes
from fastness.core.desired import DeploymentSpec, Needs, Parameters, Scaling
from fastness.core.fleet_event import DeploymentApplied, DeploymentRemoved, FleetEvent
from fastness.core.fleet_state import Deployed, FleetState
from fastness.core.model import ModelCard, ModelKind
from fastness.core.tenant import DEFAULT_TENANT
from fastness.scheduling.revision import revision_of

CONFIGURATION: Final = "configuration"
"""The author of what configuration wants."""


def configured_specs(
    settings: Settings, declaration: Declaration, known: Callable[[str], ModelCard | None], device_bytes: DeviceBytes
) -> dict[str, DeploymentSpec | None]:
    """Return the deployments that configuration names, by name; None for one whose model may not be loaded here.

    Raises ValueError where it cannot be told how much memory one takes.
    """
    engine = settings.engine
    configured = configured_parameters(engine)
    found: dict[str, DeploymentSpec | None] = {}
    for name in filter(None, dict.fromkeys((engine.chat_model, engine.embedding_model))):
        card = known(name)
        if card is None:
            found[name] = None
            continue
        context_tokens = min(configured.slot_context_tokens, card.context_tokens)
        parameters = replace(configured, slot_context_tokens=context_tokens)
        replicas = engine.replicas if card.kind is ModelKind.CHAT else 1
        ceiling, node = declaration.ceiling, declaration.node.ceiling
        found[name] = DeploymentSpec(
            name=name,
            owner=DEFAULT_TENANT,
            model=name,
            model_digest=card.digest,
            kind=card.kind.value,
            ceiling=ceiling,
            needs=Needs(
                # What this machine is cleared for must do: a request above it is refused by policy, not by placement.
                ceiling=ceiling if declaration.lattice.dominates(node, ceiling) else node,
                device_bytes=device_bytes(card, parameters, 1),
                pool=settings.node.pool,
            ),
            parameters=parameters,
            scaling=Scaling(min=replicas, max=replicas),
            drain_timeout_s=settings.gateway.drain_timeout_s,
        )
    return found


def configured_parameters(engine: EngineSettings) -> Parameters:
    """Return how engines are run of which configuration says what they serve."""
    return Parameters(
        slots=engine.slots,
        slot_context_tokens=engine.slot_context_tokens,
        threads=engine.threads,
        cache_type=engine.cache_type,
    )


def last_configured(happened: Iterable[FleetEvent]) -> dict[str, DeploymentSpec | None]:
    """Return what configuration last said of each deployment; None: that it is not wanted any more."""
    found: dict[str, DeploymentSpec | None] = {}
    for event in happened:
        if isinstance(event, DeploymentApplied) and event.by == CONFIGURATION:
            found[event.spec.name] = event.spec
        elif isinstance(event, DeploymentRemoved) and event.by == CONFIGURATION:
            found[event.deployment] = None
    return found


Wanted = Mapping[str, DeploymentSpec | None]


@dataclass(slots=True)
class Configured:
    """What configuration wants beyond what it wanted before.

    `wanted` reads it, as the policy in force puts it, and returns the same object while nothing changed; None while it
    cannot be read. `last` is what it said last. What it names and may not be loaded now is left as it is.
    """

    wanted: Callable[[], Wanted | None]
    last: dict[str, DeploymentSpec | None]
    _settled: Wanted | None = None

    async def settle(self, log: FleetLog) -> None:
        """Bring the state in line with configuration, if it says anything new. Raises what FleetLog.decide raises."""
        specs = self.wanted()
        if specs is not None and specs is not self._settled:
            taken = await log.decide(lambda state: (*self._removed(state, specs), *self._applied(state, specs)))
            self.last |= last_configured(taken)
            self._settled = specs

    def _applied(self, state: FleetState, specs: Wanted) -> Iterable[FleetEvent]:
        for name, spec in specs.items():
            deployed = state.deployments.get(name)
            if spec is None or self.last.get(name) == spec or _is_anothers(deployed):
                continue
            yield DeploymentApplied(spec, revision_of(spec, deployed), CONFIGURATION)

    def _removed(self, state: FleetState, specs: Wanted) -> Iterable[FleetEvent]:
        for name, spec in self.last.items():
            deployed = state.deployments.get(name)
            if name in specs or spec is None or deployed is None or deployed.removed or _is_anothers(deployed):
                continue
            yield DeploymentRemoved(name, CONFIGURATION)


def _is_anothers(deployed: Deployed | None) -> bool:
    return deployed is not None and not deployed.removed and deployed.by != CONFIGURATION
