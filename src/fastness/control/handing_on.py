"""What the head hands on to a node about models: who has them, and the records of their admission."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from fastness.core.desired import DeploymentSpec
from fastness.core.node import FleetNode
from fastness.core.observation import NodeOrders
from fastness.fleet.door.orders import HostPlace, WantedModel


@dataclass(frozen=True, slots=True)
class ModelHost:
    """A host whose door gives models away: its name, its door as `address:port`, what fails with it, what it has."""

    name: str
    place: str
    domain: str
    digests: tuple[str, ...]


class ModelsKnown(Protocol):
    """The models and adapters of the head. All block for as long as reading a small file takes."""

    def size_bytes(self, model: str, digest: str) -> int | None:
        """Return the size of a model or adapter, if it is admitted with that digest; None: it is not."""
        ...

    def record(self, model: str) -> str:
        """Return the record of a model's admission, as JSON; empty where there is none."""
        ...

    def here(self) -> ModelHost:
        """Return what this host has itself."""
        ...


class NoModels:
    """A head that knows of no model, and hands nothing on."""

    def size_bytes(self, model: str, digest: str) -> int | None:  # noqa: ARG002 - see ModelsKnown
        """See ModelsKnown."""
        return None

    def record(self, model: str) -> str:  # noqa: ARG002 - see ModelsKnown
        """See ModelsKnown."""
        return ""

    def here(self) -> ModelHost:
        """See ModelsKnown."""
        return ModelHost("", "", "", ())


def missing_models(
    node: FleetNode, orders: NodeOrders | None, others: Iterable[ModelHost], known: ModelsKnown
) -> tuple[WantedModel, ...]:
    """Return what a node lacks of what it was ordered to run, and who has it: its own domain first, the head last."""
    lacked = dict(each for one in orders.assignments for each in _loaded(one.spec)) if orders else {}
    for digest in node.digests:
        lacked.pop(digest, None)
    if not lacked:
        return ()
    near = sorted(others, key=lambda one: (not one.domain or one.domain != node.domain, one.name))
    found = []
    for digest, model in sorted(lacked.items()):
        size_bytes = known.size_bytes(model, digest)
        sources = tuple(HostPlace(one.name, one.place) for one in (*near, known.here()) if digest in one.digests)
        if size_bytes is not None:
            found.append(WantedModel(digest, size_bytes, sources))
    return tuple(found)


def records_of(orders: NodeOrders | None, known: ModelsKnown) -> tuple[str, ...]:
    """Return the records of the models and adapters that a node was ordered to run."""
    names = {name for one in orders.assignments for _, name in _loaded(one.spec)} if orders else set()
    return tuple(filter(None, (known.record(name) for name in sorted(names))))


def _loaded(spec: DeploymentSpec) -> Iterator[tuple[str, str]]:
    """Everything that a replica loads: the digest and name of each."""
    yield spec.model_digest, spec.model
    for one in spec.adapters:
        yield one.digest, one.name
