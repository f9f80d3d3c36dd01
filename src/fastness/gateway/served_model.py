"""One model of a deployment, as a gateway serves it: its card, what it may be used for, and its replicas."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from fastness.core.deployment import Deployment
from fastness.core.error import Refusal
from fastness.core.marking import Node
from fastness.core.model import ModelCard
from fastness.core.replica import Replica, ReplicaState
from fastness.traffic.fair_queue import Usable

ENDING: Final = (ReplicaState.DRAINING, ReplicaState.STOPPED)
"""States of replicas that will never get anything again."""


class Superseded(Refusal):
    """What was prepared cannot run any more, and something else can: the request is to be prepared anew."""


@dataclass(slots=True)
class ServedModel:
    """One model of a deployment, with what it may be used for; there are two while one takes the place of the other.

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
    _usable: dict[tuple[frozenset[str], int], Usable] = field(default_factory=dict)
    _context: dict[Usable, int] = field(default_factory=dict)

    def place(self, deployment: Deployment, replicas: dict[str, Replica], nodes: dict[str, Node], alone: bool) -> None:
        """Take what a snapshot says of it; `alone`: these are all the replicas of the deployment."""
        self.replicas, self.alone = replicas, alone
        under = tuple(nodes[name] for name in sorted({one.node for one in replicas.values()}))
        if under != self.nodes:
            self.nodes = under
        if deployment != self.deployment:
            self.deployment = deployment
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
