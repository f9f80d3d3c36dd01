"""The models that a deployment may name: what is known of each, and the most that it was admitted for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from fastness.core.admission import Admission, AdmissionState
from fastness.core.desired import Parameters
from fastness.core.marking import Label, Lattice, UnknownMarking
from fastness.core.model import ModelCard

DeviceBytes = Callable[[ModelCard, Parameters, int], int]
"""Memory that one replica takes on each device, of so many devices; raises ValueError where it cannot be told."""

_OVERHEAD_BYTES: Final = 536_870_912
_WEIGHTS_PART: Final = 1.2
_TOKEN_BYTES: Final = 65_536


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


def assumed_device_bytes(card: ModelCard, parameters: Parameters, devices: int) -> int:
    """Assume, where the shape of a model is not known: weights and a fifth, 64 KiB a token of context, and 512 MiB."""
    context = parameters.slots * parameters.slot_context_tokens * _TOKEN_BYTES
    return -(-int(card.size_bytes * _WEIGHTS_PART + context) // devices) + _OVERHEAD_BYTES


def _ceiling(admitted: Label | None, lattice: Lattice) -> Label:
    if admitted is None:
        return Label(lattice.profile.default)
    try:
        return lattice.check(admitted)
    except UnknownMarking:
        return admitted
