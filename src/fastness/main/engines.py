"""Engines as this node runs them: which weights they get, what is executed, and how it is sealed."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from fastness.config import Settings

if TYPE_CHECKING:
    from fastness.core.desired import DeploymentSpec, WantedAdapter
    from fastness.core.gang import Seat
    from fastness.core.model import ModelCard
    from fastness.core.observation import Assignment
    from fastness.engines.port import EngineAdapter, EngineTask, Launch
    from fastness.fleet.adopted import Starter
    from fastness.fleet.keeper import Execution
    from fastness.perimeter.port import Confinement, Gang, Perimeter
    from fastness.registry.library import ModelLibrary


Obtain = Callable[[str, Callable[[], bool], Callable[[str], None]], Awaitable[None]]
"""Brings weights by digest from another host; see WantedModels.obtain."""


class Engines:
    """Prepares replicas for the node: see fleet.node.Workshop. Nothing is prepared before `allowed` is set.

    `obtain` brings models that are not here; None: there is nobody to bring any.
    """

    def __init__(
        self,
        settings: Settings,
        run: Path,
        perimeter: Perimeter,
        library: ModelLibrary,
        allowed: asyncio.Event,
        *,
        unsealed: bool,
        starter: Starter | None = None,
        obtain: Obtain | None = None,
    ) -> None:
        from fastness.registry.shared_copies import SharedCopies

        self._settings, self._run, self._perimeter, self._library = settings, run, perimeter, library
        self._allowed, self._unsealed, self._obtain, self._starter = allowed, unsealed, obtain, starter
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
            card, path = await self._present(spec, tell)
            copies = await self._copies.take(assignment.replica, card, path)
            adapters = tuple([await self._adapter(assignment, one, tell) for one in spec.adapters])
        except ModelRefused as error:
            self.release(assignment.replica)
            raise CannotRun(Diagnosis("model_refused", str(error), "")) from None
        except (ModelUnavailable, CardError) as error:
            self.release(assignment.replica)
            raise CannotRun(Diagnosis("model_unavailable", str(error), "")) from None
        try:
            return self._execution(assignment, card, copies, adapters)
        except ValueError as error:
            self.release(assignment.replica)
            raise CannotRun(Diagnosis("engine_unusable", f"{error}.", "")) from None

    def release(self, replica: str) -> None:
        """See Workshop."""
        self._copies.release(replica)

    async def _present(self, spec: DeploymentSpec, tell: Callable[[str], None]) -> tuple[ModelCard, Path]:
        """Return a model that is on this disk; where it is not, and other hosts may have it, it is fetched first."""
        from fastness.registry.library import ModelUnavailable

        lacked = ""
        try:
            card, path = await asyncio.to_thread(self._found, spec)
            if self._obtain is None or path.exists():
                return card, path
        except ModelUnavailable as error:  # it comes with a distribution that is not installed here
            if self._obtain is None or not self._library.is_shipped(spec.model):
                raise
            lacked = f"{error} "
        await self._fetched(spec.model_digest, tell, lacked)
        return await asyncio.to_thread(self._found, spec)

    async def _fetched(self, digest: str, tell: Callable[[str], None], lacked: str = "") -> None:
        """Have weights brought from another host, unless they are here; raises ModelUnavailable."""
        from fastness.control.wanted_models import NobodyHasIt
        from fastness.registry.library import ModelUnavailable

        assert self._obtain is not None
        try:
            await self._obtain(digest, lambda: self._library.weights_of(digest).exists(), tell)
        except NobodyHasIt as error:
            raise ModelUnavailable(f"{lacked}{error}") from None
        tell("verify")

    async def _adapter(
        self, assignment: Assignment, wanted: WantedAdapter, tell: Callable[[str], None]
    ) -> EngineAdapter:
        """Return an adapter for the engine: a sealed copy, verified as it was made. Raises ModelRefused."""
        from fastness.engines.port import EngineAdapter
        from fastness.registry.library import ModelRefused
        from fastness.registry.sealed_copy import path_of

        card, path = await asyncio.to_thread(self._library.locate_adapter, wanted.name)
        spec = assignment.spec
        if (card.digest, card.base) != (wanted.digest, spec.model_digest):
            raise ModelRefused(
                f"{spec.name} wants the adapter {wanted.name} with SHA-256 {wanted.digest} on {spec.model_digest}; "
                f"admitted here is {card.digest} for {card.base}. It is not loaded. Apply the deployment anew."
            )
        if self._obtain is not None and not path.exists():
            await self._fetched(card.digest, tell)
            path = self._library.weights_of(card.digest)  # a folder is known as one once it is here
        copies = await self._copies.take(assignment.replica, card, path)
        return EngineAdapter(card.digest, card.size_bytes, tuple((name, path_of(one)) for name, one in copies.items()))

    def _found(self, spec: DeploymentSpec) -> tuple[ModelCard, Path]:
        from fastness.registry.library import ModelRefused

        card, path, _ = self._library.locate(spec.model)
        if card.digest != spec.model_digest:
            raise ModelRefused(
                f"{spec.name} wants {spec.model} with SHA-256 {spec.model_digest}; admitted here is {card.digest}. "
                "It is not loaded. Apply the deployment anew, or admit the model that it names."
            )
        return card, path

    def _execution(
        self, assignment: Assignment, card: ModelCard, copies: dict[str, int], adapters: tuple[EngineAdapter, ...]
    ) -> Execution:
        """The engine says what is executed, the perimeter how it is sealed. Raises ValueError when it cannot be run.

        `copies` are the descriptors of the sealed copy of its files, by their paths in the model. The engine gets them,
        and no way to the directory of models.
        """
        from fastness.engines.catalogue import build, engine
        from fastness.fleet.devices import device_environ
        from fastness.fleet.keeper import Execution

        spec = assignment.spec
        _check_gang(assignment, unsealed=self._unsealed)
        kind, scratch = engine(spec.parameters.engine), self._run / "engines" / assignment.replica
        task = replace(self._task(assignment, card, copies, scratch), adapters=adapters)
        launch = kind.launch(task)
        descriptors = self._copies.held_by(assignment.replica)
        confinement = self._confinement(launch, task, descriptors, assignment)
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
            descriptors=descriptors,
            node=assignment.part.node,
            deployment=spec.name,
            revision=assignment.revision,
            model_digest=spec.model_digest,
            term=assignment.term,
            build=build(kind.name),
            start=self._starter.start if launch.family and self._starter else None,
            adapters=tuple(one.digest for one in adapters),
        )

    def _task(self, assignment: Assignment, card: ModelCard, copies: dict[str, int], scratch: Path) -> EngineTask:
        from fastness.engines.port import EngineTask
        from fastness.fleet.devices import accelerators
        from fastness.registry.sealed_copy import path_of

        wanted = assignment.spec.parameters
        file = copies.get("")
        return EngineTask(
            card=card,
            weights=scratch / "model" if file is None else path_of(file),
            socket=scratch / "engine.sock",
            scratch=scratch,
            slots=wanted.slots,
            context_tokens=min(wanted.slot_context_tokens, card.context_tokens),
            threads=wanted.threads or max(1, len(os.sched_getaffinity(0)) - 1),
            cache_type=wanted.cache_type,
            files=tuple((name, path_of(one)) for name, one in copies.items() if name),
            accelerators=len(accelerators(assignment.part.devices)),
            python=self._settings.engine.vllm_python,
            seat=seat(assignment),
        )

    def _confinement(
        self, launch: Launch, task: EngineTask, descriptors: tuple[int, ...], assignment: Assignment
    ) -> Confinement:
        from fastness.fleet.device_files import device_files
        from fastness.perimeter.port import Confinement, Profile

        settings = self._settings.engine
        copied = {task.weights, *(path for one in task.adapters for _, path in one.files)}  # descriptors, not files
        return Confinement(
            readable=tuple(path for path in launch.readable if path not in copied),
            descriptors=descriptors,
            writable=(task.scratch,),
            memory_bytes_max=settings.memory_bytes_max or launch.memory_bytes_max,
            open_files_max=settings.open_files_max,
            processes_max=launch.processes_max,
            unsealed=self._unsealed,
            profile=Profile.FAMILY if launch.family else Profile.SINGLE,
            devices=device_files(assignment.part.devices) if launch.family else (),
            links=launch.links,
            gang=self._gang(assignment),
        )

    def _gang(self, assignment: Assignment) -> Gang | None:
        from fastness.core.gang import INTERFACE, MTU_BYTES, address_of
        from fastness.fleet.door.orders import GANGS
        from fastness.perimeter.port import Gang

        if not assignment.members:
            return None
        address = address_of(seat(assignment).rank)
        return Gang(self._run / GANGS, assignment.replica, INTERFACE, address, MTU_BYTES)


def seat(assignment: Assignment) -> Seat:
    """Return its place in its gang; a replica on one node is a gang of one."""
    from fastness.core.gang import ALONE, Seat

    members = assignment.members
    return Seat(members.index(assignment.part.node), len(members)) if members else ALONE


def _check_gang(assignment: Assignment, *, unsealed: bool) -> None:
    """Raise ValueError where a replica needs several nodes, and cannot run over them."""
    from fastness.engines.catalogue import SPANS

    nodes, engine = assignment.spec.needs.nodes, assignment.spec.parameters.engine
    if nodes == 1:
        return
    if engine not in SPANS:
        raise ValueError(f"it is for {nodes} nodes, and {engine} runs on one: nodes = 1, or engine = {min(SPANS)!r}")
    if len(assignment.members) != nodes:
        raise ValueError(f"it is for {nodes} nodes, and the head names {len(assignment.members)}: upgrade the head")
    if unsealed:
        raise ValueError(
            "a gang's network is part of the seal, and engines are unsealed here: start without --unsealed"
        )
