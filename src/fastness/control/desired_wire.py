"""Deployments as people write them, in a file or to the management API, and the specs that they mean."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import msgspec

from fastness.control.model_lookup import NamedModel, named_adapter, named_model
from fastness.control.models_here import AdapterFacts, DeviceBytes, ModelFacts
from fastness.control.problem import Problem
from fastness.core.desired import DeploymentSpec, Needs, Parameters, Rollout, Scaling, WantedAdapter
from fastness.core.marking import Label, Lattice, UnknownMarking
from fastness.core.node import POOL, DeviceKind
from fastness.core.tenant import DEFAULT_TENANT
from fastness.scheduling.memory_adapters import adapters_memory

_PARAMETERS, _SCALING, _ROLLOUT = Parameters(), Scaling(), Rollout()
"""What stands where nothing is said; a file leaves out what should follow from the model."""


class GivenParameters(msgspec.Struct, forbid_unknown_fields=True, frozen=True, omit_defaults=False):
    """How each replica's engine is run. `slot_context_tokens` null: 2,048, or the model's own where that is less."""

    engine: str = _PARAMETERS.engine
    slots: int = _PARAMETERS.slots
    slot_context_tokens: int | None = None
    threads: int = _PARAMETERS.threads
    cache_type: str = _PARAMETERS.cache_type


class GivenNeeds(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """What a replica must have. `device_bytes` null: what it takes follows from the model and the parameters."""

    devices: int = 1
    nodes: int = 1
    accelerator: str = ""
    pool: str = POOL
    labels: tuple[str, ...] = ()
    jurisdictions: tuple[str, ...] = ()
    operators: tuple[str, ...] = ()
    apart: bool = False
    device_bytes: int | None = None


class GivenScaling(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """How many replicas, and when more or fewer."""

    min: int = _SCALING.min
    max: int | None = None
    queue_wait_s: float = _SCALING.queue_wait_s
    busy_part: float = _SCALING.busy_part
    tokens_per_s: float = _SCALING.tokens_per_s
    down_s: float = _SCALING.down_s
    idle_s: float = _SCALING.idle_s


class GivenRollout(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """How a new revision takes the place of the old."""

    surge: int = _ROLLOUT.surge
    canary_percent: int = _ROLLOUT.canary_percent
    hold_s: float = _ROLLOUT.hold_s
    error_percent_max: float = _ROLLOUT.error_percent_max
    ttft_ratio_max: float = _ROLLOUT.ttft_ratio_max
    samples_min: int = _ROLLOUT.samples_min


class GivenAdapter(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """An adapter: its name, or `name@sha256:` and first digits of its digest; and the tenants that may use it."""

    name: str
    tenants: tuple[str, ...] | None = None


class GivenDeployment(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """One deployment. `model` is a name, or `name@sha256:` and the first digits of the digest that it must have.

    `adapters` are named in the same way.
    """

    name: str
    model: str
    adapters: tuple[str | GivenAdapter, ...] = ()
    owner: str = DEFAULT_TENANT
    ceiling: str | None = None
    tenants: tuple[str, ...] | None = None
    urgent: bool = False
    hedges: bool = False
    drain_timeout_s: float = 30.0
    parameters: GivenParameters = GivenParameters()
    needs: GivenNeeds = GivenNeeds()
    scaling: GivenScaling = GivenScaling()
    rollout: GivenRollout = GivenRollout()


_SECTIONS: Final = (GivenDeployment, GivenAdapter, GivenParameters, GivenNeeds, GivenScaling, GivenRollout)
FIELDS: Final = tuple(dict.fromkeys(name for kind in _SECTIONS for name in kind.__struct_fields__))
"""Every name that may stand in a file of deployments."""


@dataclass(frozen=True, slots=True)
class SpecReader:
    """Turns what people write into specs, by the models there are and the markings in force."""

    models: Mapping[str, ModelFacts]
    lattice: Lattice
    device_bytes: DeviceBytes
    adapters: Mapping[str, AdapterFacts] = field(default_factory=dict)

    def read(self, given: GivenDeployment, before: DeploymentSpec | None = None) -> DeploymentSpec:
        """Return the spec; raises Problem. `before` is the deployment as it is: its model need not be here any more."""
        found = named_model(given.model, self.models, before)
        ceiling = self._ceiling(given)
        tokens = given.parameters.slot_context_tokens
        parameters = Parameters(
            given.parameters.engine,
            given.parameters.slots,
            _slot_context_tokens(found) if tokens is None else tokens,
            given.parameters.threads,
            given.parameters.cache_type,
        )
        adapters = self._adapters(given, before)
        scaling = msgspec.structs.asdict(given.scaling)
        if given.scaling.max is None:
            scaling["max"] = max(1, given.scaling.min)
        return DeploymentSpec(
            name=given.name,
            owner=given.owner,
            model=found.name,
            model_digest=found.digest,
            kind=found.kind,
            ceiling=ceiling,
            needs=self._needs(given, parameters, ceiling, before, adapters),
            parameters=parameters,
            scaling=Scaling(**scaling),
            rollout=Rollout(**msgspec.structs.asdict(given.rollout)),
            drain_timeout_s=given.drain_timeout_s,
            tenants=None if given.tenants is None else _sorted(given.tenants),
            urgent=given.urgent,
            hedges=given.hedges,
            adapters=adapters,
        )

    def _adapters(self, given: GivenDeployment, before: DeploymentSpec | None) -> tuple[WantedAdapter, ...]:
        known = {one.name: one for one in before.adapters} if before is not None else {}
        wanted = []
        for each in given.adapters:
            one = GivenAdapter(each) if isinstance(each, str) else each
            name, digest = named_adapter(one.name, self.adapters, known)
            wanted.append(WantedAdapter(name, digest, None if one.tenants is None else _sorted(one.tenants)))
        return tuple(sorted(wanted, key=lambda one: one.name))

    def _needs(
        self,
        given: GivenDeployment,
        parameters: Parameters,
        ceiling: Label,
        before: DeploymentSpec | None,
        adapters: tuple[WantedAdapter, ...],
    ) -> Needs:
        needs, facts = given.needs, self.models.get(given.model.partition("@")[0])
        if needs.device_bytes is not None:
            size_bytes = needs.device_bytes
        elif facts is None:  # it is what it was, or the check that follows refuses it
            size_bytes = before.needs.device_bytes if before else 0
        else:
            # On a slot of the processor a model lies in the memory of the node; see DeviceBytes.
            devices = 0 if needs.accelerator == DeviceKind.CPU else max(1, needs.devices) * max(1, needs.nodes)
            try:
                sizes = [self.adapters[one.name].size_bytes for one in adapters if one.name in self.adapters]
                size_bytes = self.device_bytes(facts.card, parameters, devices)
                size_bytes += adapters_memory(sizes, parameters.engine)
            except ValueError as error:
                raise Problem(
                    "invalid_value",
                    f"`{given.name}`: how much memory a replica takes cannot be told: {error}.",
                    "Say it yourself: `device_bytes` under `needs`.",
                    param="needs.device_bytes",
                ) from None
        labels, jurisdictions, operators = map(_sorted, (needs.labels, needs.jurisdictions, needs.operators))
        return Needs(
            ceiling, size_bytes, needs.devices, needs.nodes, needs.accelerator, needs.pool, labels, jurisdictions,
            operators, needs.apart, needs.device_bytes is not None,
        )  # fmt: skip

    def _ceiling(self, given: GivenDeployment) -> Label:
        if given.ceiling is None:
            return Label(self.lattice.profile.default)
        try:
            return self.lattice.read(given.ceiling)
        except UnknownMarking as error:
            raise Problem(
                "unknown_marking",
                f"`{given.name[:80]}.ceiling`: {error}.",
                "fastness policy show lists the markings.",
                param="ceiling",
            ) from None


def given_of(spec: DeploymentSpec) -> GivenDeployment:
    """Return what one would write for a spec, whole: read again, it is the same spec."""
    parameters, needs = spec.parameters, spec.needs
    return GivenDeployment(
        name=spec.name,
        model=f"{spec.model}@sha256:{spec.model_digest}",
        owner=spec.owner,
        ceiling=str(spec.ceiling),
        tenants=spec.tenants,
        urgent=spec.urgent,
        hedges=spec.hedges,
        adapters=tuple(map(_given_adapter, spec.adapters)),
        drain_timeout_s=spec.drain_timeout_s,
        parameters=GivenParameters(
            parameters.engine,
            parameters.slots,
            parameters.slot_context_tokens,
            parameters.threads,
            parameters.cache_type,
        ),
        needs=GivenNeeds(
            needs.devices, needs.nodes, needs.accelerator, needs.pool, needs.labels, needs.jurisdictions,
            needs.operators, needs.apart, needs.device_bytes if needs.bytes_said else None,
        ),
        scaling=GivenScaling(
            spec.scaling.min, spec.scaling.max, spec.scaling.queue_wait_s, spec.scaling.busy_part,
            spec.scaling.tokens_per_s, spec.scaling.down_s, spec.scaling.idle_s,
        ),
        rollout=GivenRollout(
            spec.rollout.surge, spec.rollout.canary_percent, spec.rollout.hold_s, spec.rollout.error_percent_max,
            spec.rollout.ttft_ratio_max, spec.rollout.samples_min,
        ),
    )  # fmt: skip


def _given_adapter(one: WantedAdapter) -> str | GivenAdapter:
    name = f"{one.name}@sha256:{one.digest}"
    return name if one.tenants is None else GivenAdapter(name, one.tenants)


def _slot_context_tokens(model: NamedModel) -> int:
    usual = _PARAMETERS.slot_context_tokens
    return min(usual, model.context_tokens or usual)


def _sorted(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted(set(names)))


def with_near_name(problem: Problem) -> Problem:
    """Say which field may have been meant, of one that there is not."""
    leaf = (problem.param or "").rpartition(".")[2]
    near = difflib.get_close_matches(leaf, FIELDS, n=1)
    if problem.code != "unknown_field" or not near:
        return problem
    hint = f"Did you mean `{near[0]}`? docs/reference/deployment-file.md lists every name."
    return Problem(problem.code, problem.message, hint, param=problem.param)
