"""What one policy permits that another does not: who gains, who loses what."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from fastness.core.deployment import Deployment
from fastness.core.marking import Node
from fastness.core.policy import PolicyBundle
from fastness.core.tenant import Principal


@dataclass(frozen=True, slots=True)
class ChangedRight:
    """One right gained or lost. `change` is `gains` or `loses`; `labels` are the labels it is about, as text.

    `deployment` and `node` are empty for actions on the installation. `rule` decided before or after: the one that
    denies. `why` is that rule's reason.
    """

    principal: str
    tenant: str
    change: str
    action: str
    deployment: str
    node: str
    labels: tuple[str, ...]
    rule: str
    why: str


def difference(
    before: PolicyBundle,
    after: PolicyBundle,
    principals: Iterable[Principal],
    deployments: Iterable[Deployment],
    nodes: Iterable[Node],
) -> list[ChangedRight]:
    """List every right that changes; raises PolicyProblem."""
    raise NotImplementedError
