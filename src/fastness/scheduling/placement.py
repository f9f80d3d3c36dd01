"""Where a replica goes: filter, fit, score, with the reason of every refusal."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from fastness.core.desired import Needs
from fastness.core.fleet_event import Part
from fastness.core.node import DeviceKind
from fastness.scheduling.offers import Offer as Offer


@dataclass(frozen=True, slots=True)
class NodeRefusal:
    """Why a node cannot take it: `what` was needed of it is in the sentence."""

    node: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Placement:
    """Where it goes, and why there."""

    parts: tuple[Part, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class Unplaced:
    """It fits nowhere now; one refusal for each node of its pool, and one for the whole where no node is to blame."""

    refusals: tuple[NodeRefusal, ...]


def place(
    needs: Needs,
    deployment: str,  # noqa: ARG001 - for the score
    digest: str,  # noqa: ARG001 - for the score
    offers: Sequence[Offer],
    domains: Collection[str] = (),  # noqa: ARG001 - for `apart`
) -> Placement | Unplaced:
    """Choose devices for one replica. `domains` are the failure domains where its deployment has replicas already."""
    refusals = []
    for offer in offers:
        fit = [one for one in offer.devices if one.kind is DeviceKind.CPU or one.memory_bytes >= needs.device_bytes]
        if offer.closed:
            refusals.append(NodeRefusal(offer.node.name, offer.closed))
        elif len(fit) < needs.devices:
            refusals.append(NodeRefusal(offer.node.name, f"{len(fit)} devices free, needs {needs.devices}"))
        else:
            part = Part(offer.node.name, tuple(one.id for one in fit[: needs.devices]))
            return Placement((part,), "the first that fits")
    return Unplaced(tuple(refusals))
