"""Engines as the fleet starts them: what is executed, and how it is sealed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from fastness.config import Settings

if TYPE_CHECKING:
    from fastness.control.site import Model
    from fastness.fleet.port import ReplicaOrder
    from fastness.perimeter.port import Perimeter


def orders(
    settings: Settings, run: Path, perimeter: Perimeter, model: Model, weights: int, *, unsealed: bool
) -> Iterator[ReplicaOrder]:
    """Say how each replica of a model is executed: the engine says what, the perimeter how it is sealed.

    `weights` is the descriptor of their sealed copy. The engine gets it, and no way to the directory of models.
    """
    from fastness.core.model import ModelKind
    from fastness.engines.catalogue import engine
    from fastness.engines.port import EngineTask
    from fastness.fleet.port import ReplicaOrder
    from fastness.perimeter.port import Confinement
    from fastness.registry.sealed_copy import path_of

    wanted, kind = settings.engine, engine("llamacpp")
    chats = model.card.kind is ModelKind.CHAT
    for number in range(wanted.replicas if chats else 1):
        replica_id = f"{model.card.name}-{number}"
        scratch = run / "engines" / replica_id
        task = EngineTask(
            card=model.card,
            weights=path_of(weights),
            socket=scratch / "engine.sock",
            scratch=scratch,
            slots=wanted.slots,
            context_tokens=min(wanted.slot_context_tokens, model.card.context_tokens),
            threads=wanted.threads or max(1, len(os.sched_getaffinity(0)) - 1),
        )
        launch = kind.launch(task)
        confinement = Confinement(
            readable=tuple(path for path in launch.readable if path != task.weights),
            descriptors=(weights,),
            writable=(scratch,),
            memory_bytes_max=wanted.memory_bytes_max or launch.memory_bytes_max,
            open_files_max=wanted.open_files_max,
            unsealed=unsealed,
        )
        yield ReplicaOrder(
            id=replica_id,
            model=model.card.name,
            engine=kind.name,
            argv=perimeter.sealed_argv(launch.argv, confinement),
            environ=launch.environ,
            socket=task.socket,
            scratch=scratch,
            slots=task.slots,
            context_tokens=task.context_tokens,
            health_path=kind.health(),
            sealed=not unsealed,
            diagnose=kind.diagnose,
            descriptors=(weights,),
            node=settings.node.name,
        )
