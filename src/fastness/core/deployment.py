"""A deployment: a model served under a name, with what it may be used for."""

from __future__ import annotations

from dataclasses import dataclass, replace

from fastness.core.marking import Label


@dataclass(frozen=True, slots=True)
class Adapter:
    """A LoRA on a model: its own name, digest, ceiling, and the digest of the base it was admitted for.

    `tenants` limits who may use it; None: whoever may use the deployment.
    """

    name: str
    digest: str
    base: str
    ceiling: Label
    tenants: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Deployment:
    """What callers name. `model` is the name of a model card; `model_ceiling` is what that model was admitted for.

    `ceiling` is the deployment's own. `tenants` limits who may use it; None: whoever policy permits. `model_digest`
    is the SHA-256 of the model's weights in hex: an adapter whose `base` is another is not cleared for anything.
    `wakes`: it may have no replica while nobody asks, and a request brings one. `hedges`: where policy permits it, too,
    a second replica may be asked when the first is late to begin.
    """

    name: str
    model: str
    ceiling: Label
    model_ceiling: Label
    adapters: tuple[Adapter, ...] = ()
    tenants: tuple[str, ...] | None = None
    model_digest: str = ""
    wakes: bool = False
    hedges: bool = False

    def faces(self) -> dict[str, Deployment]:
        """Return what policy is asked about, by the adapter that a request names; "": none.

        Of one with adapters, a request runs on the model with one of them, or on the model alone: its face has that
        adapter, or none, and is for those tenants whom both are for.
        """
        found = {"": replace(self, adapters=())} if self.adapters else {"": self}
        for one in self.adapters:
            found[one.name] = replace(self, adapters=(one,), tenants=_both(self.tenants, one.tenants))
        return found


def named(deployment: str, adapter: str = "") -> str:
    """Return what callers name: a deployment, or one of its adapters as `deployment:adapter`."""
    return f"{deployment}:{adapter}" if adapter else deployment


def parted(name: str) -> tuple[str, str]:
    """Return the deployment and the adapter that a caller's name means; no adapter: ""."""
    deployment, _, adapter = name.partition(":")
    return deployment, adapter


def _both(some: tuple[str, ...] | None, others: tuple[str, ...] | None) -> tuple[str, ...] | None:
    if some is None or others is None:
        return others if some is None else some
    return tuple(one for one in some if one in others)
