"""One variant of a deployment, as a gateway serves it: a model with adapters, what these are for, and its replicas."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from fastness.core.deployment import Adapter, Deployment
from fastness.core.error import Refusal
from fastness.core.marking import Node
from fastness.core.model import ModelCard
from fastness.core.replica import Replica, ReplicaState
from fastness.traffic.fair_queue import Usable

ENDING: Final = (ReplicaState.DRAINING, ReplicaState.STOPPED)
"""States of replicas that will never get anything again."""


Variant = tuple[str, ...]
"""The digest of a model, and those of the adapters that are loaded with it."""


def variant_of(card: ModelCard, deployment: Deployment) -> Variant:
    """Return what replicas of a deployment's model have loaded."""
    return (card.digest, *(one.digest for one in deployment.adapters))


class Superseded(Refusal):
    """What was prepared cannot run any more, and something else can: the request is to be prepared anew."""


@dataclass(slots=True)
class ServedModel:
    """A model with the adapters loaded beside it, and what they may be used for.

    There are two of a deployment while one takes the place of the other. `faces` are what policy is asked about, by
    the adapter that a request names; "": none.

    `replicas` are those on a node that is named; `nodes` are these nodes. Both tuple and deployment stay the same
    objects until they change, so that decisions about them are found again quickly. `last` is a replica of it that
    there is or was: it tells how the model is run while there is none.
    """

    card: ModelCard
    deployment: Deployment
    replicas: dict[str, Replica] = field(default_factory=dict)
    nodes: tuple[Node, ...] = ()
    last: Replica | None = None
    alone: bool = True
    least_context: int = 0
    faces: dict[str, Deployment] = field(default_factory=dict)
    _usable: dict[tuple[frozenset[str], int], Usable] = field(default_factory=dict)
    _context: dict[Usable, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.faces = self.deployment.faces()

    @property
    def variant(self) -> Variant:
        """What tells it from another of the same deployment."""
        return variant_of(self.card, self.deployment)

    def adapter(self, name: str) -> Adapter | None:
        """The adapter of that name; None for no name."""
        return self.faces[name].adapters[0] if name else None

    def place(self, deployment: Deployment, replicas: dict[str, Replica], nodes: dict[str, Node], alone: bool) -> None:
        """Take what a snapshot says of it; `alone`: these are all the replicas of the deployment."""
        self.replicas, self.alone = replicas, alone
        under = tuple(nodes[name] for name in sorted({one.node for one in replicas.values()}))
        if under != self.nodes:
            self.nodes = under
        if deployment != self.deployment:
            self.deployment, self.faces = deployment, deployment.faces()
        self._usable.clear()
        self._context.clear()
        lasting = self._lasting(None)
        self.last = next(iter(lasting), self.last)
        self.least_context = min((one.context_tokens for one in lasting), default=self.context_tokens())

    def usable(self, nodes: frozenset[str], context_tokens: int = 0) -> Usable:
        """The replicas on these nodes with that much context; raises Superseded when there are some, but with less."""
        wanted = context_tokens if context_tokens > self.least_context else 0
        try:
            return self._usable[nodes, wanted]
        except KeyError:
            on = frozenset(name for name, one in self.replicas.items() if one.node in nodes)
            if wanted:
                on = self._with_context(on, wanted)
            everywhere = self.alone and bool(on) and len(on) == len(self.replicas)
            self._usable[nodes, wanted] = usable = None if everywhere else on
            return usable

    def context_tokens(self, usable: Usable = None) -> int:
        """The longest context that a usable replica offers; what one offered last, or the model's own, without any."""
        found = self._context.get(usable)
        if found is None:
            otherwise = self.last.context_tokens if self.last else self.card.context_tokens
            offered = [one.context_tokens for one in self._lasting(usable)]
            found = self._context[usable] = max(offered, default=otherwise)
        return found

    def any_replica(self, usable: Usable = None) -> Replica | None:
        """Any replica whatever its state, for what depends on its engine only; None when there never was one."""
        if usable is None or (self.last is not None and self.last.id in usable):
            return self.last
        return next((one for name, one in self.replicas.items() if name in usable), self.last)

    def ready_replica(self, usable: Usable = None) -> Replica | None:
        """Any ready replica, for questions that take no slot; None when there is none."""
        return next((one for one in self._lasting(usable) if one.state is ReplicaState.READY), None)

    def _with_context(self, on: frozenset[str], context_tokens: int) -> frozenset[str]:
        enough = frozenset(name for name in on if self.replicas[name].context_tokens >= context_tokens)
        if not enough and self._lasting(on):
            raise Superseded("no_replica_ready", "The context of the replicas has changed. Try again.", retry_after_s=1)
        return enough

    def _lasting(self, usable: Usable) -> list[Replica]:
        return [
            one for name, one in self.replicas.items() if one.state not in ENDING and (usable is None or name in usable)
        ]
