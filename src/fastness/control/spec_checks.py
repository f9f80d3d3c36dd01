"""What a deployment may be: pure checks of a spec against models, tenants, markings and nodes, each with its reason."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from fastness.control.adapter_checks import check_adapters
from fastness.control.fleet_record import VALUE_CHARS_MAX, json_text
from fastness.control.models_here import AdapterFacts, ModelFacts
from fastness.control.problem import Problem
from fastness.control.spec_words import check_tenants, invalid, near
from fastness.core.desired import DeploymentSpec
from fastness.core.ids import is_name
from fastness.core.marking import Lattice
from fastness.core.model import ModelKind
from fastness.scheduling.fit import CACHE_TYPES

REPLICAS_MAX: Final = 1_000
LABELS_MAX: Final = 64
LABEL_CHARS_MAX: Final = 128
LABEL_PATTERN: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._/-]*[A-Za-z0-9])?")
"""A label's key, and its value where it has one."""
BOUNDS: Final[Mapping[str, tuple[float, float]]] = MappingProxyType(
    {
        "drain_timeout_s": (0, 3_600),
        "parameters.slots": (1, 256),
        "parameters.slot_context_tokens": (128, 1_048_576),
        "parameters.threads": (0, 1_024),
        "needs.devices": (1, 64),
        "needs.nodes": (1, 64),
        "needs.device_bytes": (1, 10**13),
        "scaling.min": (0, REPLICAS_MAX),
        "scaling.max": (1, REPLICAS_MAX),
        "scaling.queue_wait_s": (0.01, 3_600),
        "scaling.busy_part": (0.05, 1),
        "scaling.tokens_per_s": (0, 1_000_000),
        "scaling.down_s": (1, 86_400),
        "scaling.idle_s": (1, 604_800),
        "rollout.surge": (1, REPLICAS_MAX),
        "rollout.canary_percent": (0, 100),
        "rollout.hold_s": (0, 86_400),
        "rollout.error_percent_max": (0, 100),
        "rollout.ttft_ratio_max": (1, 1_000),
        "rollout.samples_min": (1, 1_000_000),
    }
)
"""The least and the most of each number, by its place in the file."""
NAME_DEVICES: Final = frozenset({"vllm"})
"""Engines that take memory of other kinds on other devices, so that these have to be named."""


@dataclass(frozen=True, slots=True)
class Ground:
    """What a spec is checked against. `tenants` are those that live; `engines` those that there are.

    `reads` is the format of models that each of them reads; one that is not in it reads any. `spans` are those of which
    one replica can run over several nodes. `adapters` are those that may be deployed.
    """

    models: Mapping[str, ModelFacts]
    lattice: Lattice
    tenants: Collection[str]
    engines: Collection[str] = field(default=("llamacpp",))
    reads: Mapping[str, str] = field(default_factory=dict)
    spans: Collection[str] = ()
    adapters: Mapping[str, AdapterFacts] = field(default_factory=dict)


def check_spec(spec: DeploymentSpec, ground: Ground, before: DeploymentSpec | None, *, replaces: bool) -> None:
    """Raise Problem unless the deployment can be wanted. `replaces`: with new replicas, so its model must be here."""
    _check_names(spec, ground)
    for place, (low, high) in BOUNDS.items():
        _check_number(spec, place, low, high)
    if spec.scaling.min > spec.scaling.max:
        raise invalid(spec, "scaling.min", f"{spec.scaling.min}, and `scaling.max` is {spec.scaling.max}")
    _check_parameters(spec, ground)
    _check_gang(spec, ground)
    _check_needs(spec, ground)
    if replaces or (before is not None and spec.ceiling != before.ceiling):
        _check_model(spec, ground)
    check_adapters(spec, ground.adapters, ground.tenants, ground.reads, replaces=replaces)
    if len(json_text(spec)) > VALUE_CHARS_MAX:
        raise Problem(
            "limit_exceeded",
            f"`{spec.name}` has {len(json_text(spec)):,} characters as the ledger writes it, of {VALUE_CHARS_MAX:,}.",
            "Name fewer tenants and labels.",
            param="name",
        )


def check_label(text: str, param: str) -> None:
    """Raise Problem unless `text` may be a label, `key` or `key=value`."""
    key, has_value, value = text.partition("=")
    fits = LABEL_PATTERN.fullmatch(key) and (not has_value or LABEL_PATTERN.fullmatch(value))
    if not fits or len(text) > LABEL_CHARS_MAX:
        raise Problem(
            "invalid_value",
            f"`{param}`: {text[:80]!r} is no label; it needs `key` or `key=value`, of letters, digits and `._/-`, "
            f"{LABEL_CHARS_MAX} characters at most.",
            "Labels like gpu=h100, rack=b7 or spot will do.",
            param=param,
        )


def _check_names(spec: DeploymentSpec, ground: Ground) -> None:
    if not is_name(spec.name):
        raise Problem(
            "invalid_value",
            f"`name` is {spec.name[:80]!r}; it needs 1 to 63 lower-case letters, digits or hyphens, none at an end.",
            "Names like chat-large or embed-2 will do; callers send it as `model`.",
            param="name",
        )
    check_owner(spec.owner, ground.tenants)
    check_tenants(spec, spec.tenants, "tenants", ground.tenants)


def check_owner(owner: str, tenants: Collection[str]) -> None:
    """Raise Problem unless `owner` is a tenant that lives, or a team of one."""
    department, has_team, team = owner.partition("/")
    if not is_name(department) or (has_team and not is_name(team)):
        raise Problem(
            "invalid_value",
            f"`owner` is {owner[:80]!r}; it needs a tenant's id, or `department/team`.",
            "Owners like health or health/triage will do.",
            param="owner",
        )
    if department not in tenants:
        raise Problem(
            "not_found",
            f"`owner` is {owner[:80]!r}, and there is no tenant {department!r} to charge.",
            f"{near(department, tenants)} fastness tenants create {department} makes it.",
            param="owner",
        )


def _check_number(spec: DeploymentSpec, place: str, low: float, high: float) -> None:
    section, _, leaf = place.rpartition(".")
    value = getattr(getattr(spec, section) if section else spec, leaf)
    if not low <= value <= high:  # written so that nan is outside every range
        raise invalid(spec, place, f"{value:,}; it may be from {low:,} to {high:,}")


def _check_parameters(spec: DeploymentSpec, ground: Ground) -> None:
    parameters = spec.parameters
    if parameters.engine not in ground.engines:
        there = ", ".join(sorted(ground.engines))
        raise invalid(spec, "parameters.engine", f"{parameters.engine[:80]!r}; there are {there}")
    if parameters.cache_type not in CACHE_TYPES:
        raise invalid(
            spec, "parameters.cache_type", f"{parameters.cache_type[:80]!r}; it may be one of {', '.join(CACHE_TYPES)}"
        )
    facts = ground.models.get(spec.model)
    wanted = ground.reads.get(parameters.engine)
    if facts and wanted not in (None, facts.card.format):
        others = [name for name, format_ in ground.reads.items() if format_ == facts.card.format]
        raise invalid(
            spec,
            "parameters.engine",
            f"{parameters.engine}, which reads {wanted}; {spec.model} is here as {facts.card.format}, for "
            f"{', '.join(others) or 'no engine here'}",
        )
    if parameters.engine in NAME_DEVICES and not spec.needs.accelerator:
        raise invalid(
            spec,
            "needs.accelerator",
            f"empty, and what a replica takes on {parameters.engine} depends on it; it needs a type of device as "
            "`fastness nodes` lists them, or cpu",
        )
    if facts and parameters.slot_context_tokens > facts.card.context_tokens:
        raise invalid(
            spec,
            "parameters.slot_context_tokens",
            f"{parameters.slot_context_tokens:,}; {spec.model} was made for {facts.card.context_tokens:,}",
        )


def _check_gang(spec: DeploymentSpec, ground: Ground) -> None:
    """One replica over several nodes: only where its engine can be parted, and only for answers."""
    nodes, engine = spec.needs.nodes, spec.parameters.engine
    if nodes == 1:
        return
    if engine not in ground.spans:
        able = ", ".join(sorted(ground.spans)) or "no engine here"
        raise invalid(
            spec,
            "needs.nodes",
            f"{nodes}, for one replica on {engine}, which runs on one node; over several runs {able}. For more copies "
            "of the model, each on a node of its own, it needs nodes = 1, apart = true and scaling.min",
        )
    if spec.kind != ModelKind.CHAT:
        raise invalid(spec, "needs.nodes", f"{nodes}, and {spec.model} makes no answers ({spec.kind}): it needs 1")


def _check_needs(spec: DeploymentSpec, ground: Ground) -> None:
    needs, profile = spec.needs, ground.lattice.profile
    if len(needs.labels) > LABELS_MAX:
        raise invalid(spec, "needs.labels", f"{len(needs.labels)} labels; {LABELS_MAX} are the most")
    for label in needs.labels:
        check_label(label.removeprefix("!"), "needs.labels")
    for text, place in ((needs.pool, "needs.pool"), (needs.accelerator or "any", "needs.accelerator")):
        if not is_name(text):
            raise invalid(spec, place, f"{text[:80]!r}; it needs lower-case letters, digits and hyphens")
    codes, operators = [code for code, _ in profile.jurisdictions], [one.id for one in profile.operators]
    for wanted, known, place in (
        (needs.jurisdictions, codes, "needs.jurisdictions"),
        (needs.operators, operators, "needs.operators"),
    ):
        for one in wanted:
            if one not in known:
                there = ", ".join(known) or "none"
                raise invalid(spec, place, f"{one[:80]!r}; the profile {profile.name} has {there}")


def _check_model(spec: DeploymentSpec, ground: Ground) -> None:
    facts = ground.models.get(spec.model)
    if facts is None or facts.card.digest != spec.model_digest:
        what = "is not here any more" if facts is None else f"is here as {facts.card.digest[:12]}… only"
        raise Problem(
            "model_not_found",
            f"`{spec.name}`: new replicas are needed of {spec.model}, {spec.model_digest[:12]}…, which {what}.",
            f"fastness models lists what may be loaded. {near(spec.model, ground.models)}",
            param="model",
        )
    if not ground.lattice.dominates(facts.ceiling, spec.ceiling):
        raise Problem(
            "marking_not_cleared",
            f"`{spec.name}` would be for {spec.ceiling}; {spec.model} was admitted for {facts.ceiling}.",
            f'Deploy it with ceiling = "{facts.ceiling}", or have the model admitted for more: fastness models admit',
            param="ceiling",
        )
