"""The models and adapters that a deployment may name: what is known of each, and what it was admitted for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from fastness.core.admission import Admission, AdmissionState, Artefact, ArtefactKind
from fastness.core.desired import Parameters
from fastness.core.marking import Label, Lattice, UnknownMarking
from fastness.core.model import ModelCard
from fastness.registry.admission.record import weights_of

DeviceBytes = Callable[[ModelCard, Parameters, int], int]
"""Memory that one replica takes on each device, of so many devices (0: a slot of the processor, said to be one).

Raises ValueError where it cannot be told.
"""


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """A model that may be deployed. `ceiling` is what it was admitted for."""

    card: ModelCard
    ceiling: Label


@dataclass(frozen=True, slots=True)
class AdapterFacts:
    """An adapter that may be deployed: its digest and size, the digest of its base, and its format."""

    digest: str
    size_bytes: int
    base: str
    format: str


def models_here(
    cards: Iterable[ModelCard], admissions: Iterable[Admission], lattice: Lattice
) -> Mapping[str, ModelFacts]:
    """Return what may be deployed, by name. A ceiling that the profile does not define permits nothing."""
    admitted = {one.artefact.name: one.ceiling for one in admissions if one.state is AdmissionState.ADMITTED}
    return {card.name: ModelFacts(card, _ceiling(admitted.get(card.name), lattice)) for card in cards}


def adapters_here(admissions: Iterable[Admission]) -> Mapping[str, AdapterFacts]:
    """Return the adapters that may be deployed, by name."""
    return {
        one.artefact.name: _adapter(one.artefact)
        for one in admissions
        if one.artefact.kind is ArtefactKind.ADAPTER and one.state is AdmissionState.ADMITTED
    }


def _adapter(artefact: Artefact) -> AdapterFacts:
    weights = weights_of(artefact)
    return AdapterFacts(weights.digest, weights.size_bytes, artefact.base or "", artefact.format)


def _ceiling(admitted: Label | None, lattice: Lattice) -> Label:
    if admitted is None:
        return Label(lattice.profile.default)
    try:
        return lattice.check(admitted)
    except UnknownMarking:
        return admitted
