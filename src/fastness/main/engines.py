"""Engines as this node runs them: which weights they get, what is executed, and how it is sealed."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from fastness.config import Settings

if TYPE_CHECKING:
    from fastness.core.desired import DeploymentSpec
    from fastness.core.model import ModelCard
    from fastness.core.observation import Assignment
    from fastness.fleet.keeper import Execution
    from fastness.perimeter.port import Perimeter
    from fastness.registry.library import ModelLibrary


class Engines:
    """Prepares replicas for the node: see fleet.node.Workshop. Nothing is prepared before `allowed` is set."""

    def __init__(
        self,
        settings: Settings,
        run: Path,
        perimeter: Perimeter,
        library: ModelLibrary,
        allowed: asyncio.Event,
        *,
        unsealed: bool,
    ) -> None:
        from fastness.registry.shared_copies import SharedCopies

        self._settings, self._run, self._perimeter, self._library = settings, run, perimeter, library
        self._allowed, self._unsealed = allowed, unsealed
        self._copies = SharedCopies()

    async def prepare(self, assignment: Assignment, tell: Callable[[str], None]) -> Execution:
        """See Workshop."""
        from fastness.core.replica import Diagnosis
        from fastness.fleet.node import CannotRun
        from fastness.registry.card import CardError
        from fastness.registry.library import ModelRefused, ModelUnavailable

        spec = assignment.spec
        await self._allowed.wait()
        tell("verify")
        try:
            card, path = await asyncio.to_thread(self._found, spec)
            weights = await self._copies.take(assignment.replica, card, path)
        except ModelRefused as error:
            raise CannotRun(Diagnosis("model_refused", str(error), "")) from None
        except (ModelUnavailable, CardError) as error:
            raise CannotRun(Diagnosis("model_unavailable", str(error), "")) from None
        return self._execution(assignment, card, weights)

    def release(self, replica: str) -> None:
        """See Workshop."""
        self._copies.release(replica)

    def _found(self, spec: DeploymentSpec) -> tuple[ModelCard, Path]:
        from fastness.registry.library import ModelRefused

        card, path, _ = self._library.locate(spec.model)
        if card.digest != spec.model_digest:
            raise ModelRefused(
                f"{spec.name} wants {spec.model} with SHA-256 {spec.model_digest}; admitted here is {card.digest}. "
                "It is not loaded. Apply the deployment anew, or admit the model that it names."
            )
        return card, path

    def _execution(self, assignment: Assignment, card: ModelCard, weights: int) -> Execution:
        """The engine says what is executed, the perimeter how it is sealed.

        `weights` is the descriptor of their sealed copy. The engine gets it, and no way to the directory of models.
        """
        from fastness.engines.catalogue import build, engine
        from fastness.engines.port import EngineTask
        from fastness.fleet.devices import device_environ
        from fastness.fleet.keeper import Execution
        from fastness.perimeter.port import Confinement
        from fastness.registry.sealed_copy import path_of

        spec, settings = assignment.spec, self._settings.engine
        wanted, kind = spec.parameters, engine(spec.parameters.engine)
        scratch = self._run / "engines" / assignment.replica
        task = EngineTask(
            card=card,
            weights=path_of(weights),
            socket=scratch / "engine.sock",
            scratch=scratch,
            slots=wanted.slots,
            context_tokens=min(wanted.slot_context_tokens, card.context_tokens),
            threads=wanted.threads or max(1, len(os.sched_getaffinity(0)) - 1),
            cache_type=wanted.cache_type,
        )
        launch = kind.launch(task)
        confinement = Confinement(
            readable=tuple(path for path in launch.readable if path != task.weights),
            descriptors=(weights,),
            writable=(scratch,),
            memory_bytes_max=settings.memory_bytes_max or launch.memory_bytes_max,
            open_files_max=settings.open_files_max,
            unsealed=self._unsealed,
        )
        return Execution(
            id=assignment.replica,
            model=card.name,
            engine=kind.name,
            argv=self._perimeter.sealed_argv(launch.argv, confinement),
            environ=launch.environ | device_environ(assignment.part.devices),
            socket=task.socket,
            scratch=scratch,
            slots=task.slots,
            context_tokens=task.context_tokens,
            health_path=kind.health(),
            sealed=not self._unsealed,
            diagnose=kind.diagnose,
            descriptors=(weights,),
            node=assignment.part.node,
            deployment=spec.name,
            revision=assignment.revision,
            model_digest=spec.model_digest,
            term=assignment.term,
            build=build(kind.name),
        )
