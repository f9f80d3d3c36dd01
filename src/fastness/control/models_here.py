"""The models that a deployment may name: what is known of each, and the most that it was admitted for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from fastness.core.admission import Admission, AdmissionState
from fastness.core.desired import Parameters
from fastness.core.marking import Label, Lattice, UnknownMarking
from fastness.core.model import ModelCard

DeviceBytes = Callable[[ModelCard, Parameters, int], int]
"""Memory that one replica takes on each device, of so many devices (0: a slot of the processor, said to be one).

Raises ValueError where it cannot be told.
"""


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """A model that may be deployed. `ceiling` is what it was admitted for."""

    card: ModelCard
    ceiling: Label


def models_here(
    cards: Iterable[ModelCard], admissions: Iterable[Admission], lattice: Lattice
) -> Mapping[str, ModelFacts]:
    """Return what may be deployed, by name. A ceiling that the profile does not define permits nothing."""
    admitted = {one.artefact.name: one.ceiling for one in admissions if one.state is AdmissionState.ADMITTED}
    return {card.name: ModelFacts(card, _ceiling(admitted.get(card.name), lattice)) for card in cards}


def _ceiling(admitted: Label | None, lattice: Lattice) -> Label:
    if admitted is None:
        return Label(lattice.profile.default)
    try:
        return lattice.check(admitted)
    except UnknownMarking:
        return admitted
