"""A deployment: a model served under a name, with what it may be used for."""

from __future__ import annotations

from dataclasses import dataclass

from fastness.core.marking import Label


@dataclass(frozen=True, slots=True)
class Adapter:
    """A LoRA on a model: its own name, digest, ceiling, and the digest of the base it was admitted for."""

    name: str
    digest: str
    base: str
    ceiling: Label


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
