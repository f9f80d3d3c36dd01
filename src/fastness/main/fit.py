"""What replicas of the models of this installation take: their shapes, read once each, and the estimate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastness.config import EngineSettings
    from fastness.core.desired import Parameters
    from fastness.core.model import ModelCard
    from fastness.registry.library import ModelLibrary
    from fastness.scheduling.fit import ModelShape


class ReplicaSizes:
    """Remembers the shape of each model by the digest of its weights, which cannot change."""

    def __init__(self, library: ModelLibrary) -> None:
        self._library = library
        self._shapes: dict[str, ModelShape | str] = {}

    def device_bytes(self, card: ModelCard, parameters: Parameters, devices: int) -> int:
        """See DeviceBytes; raises FitUnknown. The first time for a model it reads the header of the weights (0.1 s)."""
        from fastness.scheduling.memory import replica_memory

        return replica_memory(self._shape(card), parameters, devices).device_bytes

    def configured(self, engine: EngineSettings) -> Callable[[ModelCard], int | None]:
        """Return what says how much a replica takes as configuration runs it; None where that cannot be told."""
        from fastness.control.configured import configured_parameters
        from fastness.registry.folder import is_folder
        from fastness.scheduling.fit import FitUnknown

        def told(card: ModelCard) -> int | None:
            if is_folder(card):  # the embedded engine, which is what configuration runs, does not read it
                return None
            try:
                return self.device_bytes(card, configured_parameters(engine), 1)
            except FitUnknown:
                return None

        return told

    def is_laid_down(self, card: ModelCard) -> bool:
        """Tell whether the weights are there to be looked at."""
        return self._library.weights(card).exists()

    def _shape(self, card: ModelCard) -> ModelShape:
        from fastness.registry.folder import is_folder
        from fastness.registry.folder_shape import folder_shape
        from fastness.registry.shape import model_shape
        from fastness.scheduling.fit import FitUnknown

        found = self._shapes.get(card.digest)
        if found is None:
            try:
                shape = folder_shape if is_folder(card) else model_shape
                found = replace(shape(self._library.weights(card)), kind=card.kind)
            except FitUnknown as error:
                if not self.is_laid_down(card):
                    raise
                found = str(error)
            self._shapes[card.digest] = found
        if isinstance(found, str):
            raise FitUnknown(found)
        return found
