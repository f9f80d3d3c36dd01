"""A replica: one running copy of a deployment; the unit of health and routing. And the snapshot gateways read."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from fastness.core.deployment import Deployment
from fastness.core.gateways import FIRST
from fastness.core.marking import Node
from fastness.core.model import ModelCard


class ReplicaState(StrEnum):
    """The life of a replica. Only `READY` may be routed to (law 8)."""

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    BACKING_OFF = "backing_off"
    FAILED = "failed"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What an engine's stderr means: a code from engines/diagnosis.py, evidence lines, and what to try."""

    code: str
    summary: str
    hint: str
    evidence: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Replica:
    """One replica as observed. `epoch` grows with every start of its engine; `memory_bytes` is its resident size.

    `deployment` is what callers name, `model_digest` what is loaded: an answer goes on only where that is the same.
    `term` is that of the order it was started for. `build` names the very program that its engine is, as far as known.
    `adapters` are the digests of the LoRAs that its engine has loaded, in the engine's order.
    """

    id: str
    model: str
    engine: str
    state: ReplicaState
    socket: str
    slots: int
    context_tokens: int
    epoch: int
    sealed: bool
    pid: int | None = None
    restarts: int = 0
    since_s: float = 0.0
    memory_bytes: int | None = None
    diagnosis: Diagnosis | None = None
    node: str = "local"
    deployment: str = ""
    revision: int = 0
    model_digest: str = ""
    term: int = 0
    build: str = ""
    adapters: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RoutingSnapshot:
    """All a gateway needs to route: the deployments served here and their replicas. `version` grows with each change.

    Callers name a deployment, or one of its adapters. While a new model or other adapters take the place of others
    there are two deployments of one name, the stable one first, each with its own ceilings, and `models` has the cards
    of both. A replica whose deployment, model, adapters or node are not described here is not routed to. `gateways` are
    all that route by this, by name: slots are dealt out among them. `wanted` says how many replicas of each deployment
    there should be.
    """

    version: int
    models: tuple[ModelCard, ...]
    replicas: tuple[Replica, ...]
    deployments: tuple[Deployment, ...] = ()
    nodes: tuple[Node, ...] = ()
    gateways: tuple[str, ...] = (FIRST,)
    wanted: tuple[tuple[str, int], ...] = ()
