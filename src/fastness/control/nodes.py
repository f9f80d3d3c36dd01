"""Commands on nodes: cordon, drain, forget, and what they are labelled with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from fastness.control.fleet_log import FleetLog
from fastness.control.problem import Problem
from fastness.control.spec_checks import LABELS_MAX, check_label
from fastness.control.spec_words import near
from fastness.control.watching import Watching, nodes_of
from fastness.core.fleet_event import FleetEvent, NodeCordoned, NodeForgotten, NodeLabelled, NodeUncordoned
from fastness.core.fleet_state import FleetState, NodeWish

REASON_CHARS_MAX: Final = 200

Labels = tuple[tuple[str, str], ...]


class Nodes:
    """The commands. A node is known when it was seen, or something was decided of it."""

    def __init__(self, log: FleetLog, watching: Watching) -> None:
        self._log, self._watching = log, watching

    async def cordon(self, name: str, by: str, reason: str = "", *, drain: bool = False) -> NodeWish:
        """Place nothing new on a node; with `drain`, what is there moves elsewhere, too. Raises Problem."""
        _check_reason(reason)

        def decide(state: FleetState) -> list[FleetEvent]:
            self._check_known(state, name)
            wish = state.nodes.get(name, NodeWish())
            if (wish.cordoned, wish.draining, wish.reason) == (True, drain, reason):
                return []
            return [NodeCordoned(name, drain, by, reason)]

        await self._log.decide(decide)
        return self._wish(name)

    async def uncordon(self, name: str, by: str) -> NodeWish:
        """Open a node again; one that is open stays so. Raises Problem."""

        def decide(state: FleetState) -> list[FleetEvent]:
            self._check_known(state, name)
            return [NodeUncordoned(name, by)] if state.nodes.get(name, NodeWish()).cordoned else []

        await self._log.decide(decide)
        return self._wish(name)

    async def forget(self, name: str, by: str) -> None:
        """Take a lost node for gone, with all that it held; again is harmless. Raises Problem."""

        def decide(state: FleetState) -> list[FleetEvent]:
            wish = state.nodes.get(name, NodeWish())
            if wish.forgotten:
                return []
            self._check_known(state, name)
            if not wish.lost:
                raise Problem(
                    "conflict",
                    f"{name} is not lost, and what runs there may still hold its devices.",
                    f"Turn it off, then: fastness nodes drain {name} says that it is gone, and it is lost in seconds.",
                )
            return [NodeForgotten(name, by)]

        await self._log.decide(decide)

    async def label(self, name: str, by: str, put: Mapping[str, str], remove: Sequence[str] = ()) -> Labels:
        """Change labels of a node, in the place of those it declares; returns all it has then. Raises Problem."""
        for key, value in put.items():
            check_label(f"{key}={value}" if value else key, "labels")
        both = sorted(set(put) & set(remove))
        if both:
            raise Problem(
                "invalid_value", f"The label {both[0]!r} would be put and removed.", "Do one of them.", param="labels"
            )

        def decide(state: FleetState) -> list[FleetEvent]:
            self._check_known(state, name)
            before = self.labels(state, name)
            after = {key: value for key, value in (dict(before) | dict(put)).items() if key not in remove}
            if len(after) > LABELS_MAX:
                raise Problem(
                    "limit_exceeded",
                    f"{name} would have {len(after)} labels; {LABELS_MAX} are the most.",
                    f"fastness nodes label {name} KEY- takes one away.",
                    param="labels",
                )
            changed = tuple(sorted(after.items()))
            return [] if changed == before else [NodeLabelled(name, changed, by)]

        await self._log.decide(decide)
        return self.labels(self._log.state, name)

    def labels(self, state: FleetState, name: str) -> Labels:
        """Return the labels that count for a node: those given here, or else those it declares."""
        given = state.nodes.get(name, NodeWish()).labels
        if given is not None:
            return given
        declared = next((one.labels for one in nodes_of(self._watching.seen()) if one.name == name), ())
        return tuple(sorted(declared))

    def known(self, state: FleetState) -> frozenset[str]:
        """Return the names of nodes that were seen, or of which something was decided, and that are not forgotten."""
        seen = {one.name for one in nodes_of(self._watching.seen())}
        held = {part.node for one in state.replicas.values() for part in one.parts}
        forgotten = {name for name, wish in state.nodes.items() if wish.forgotten}
        return frozenset((seen | held | set(state.nodes)) - forgotten)

    def _wish(self, name: str) -> NodeWish:
        return self._log.state.nodes.get(name, NodeWish())

    def _check_known(self, state: FleetState, name: str) -> None:
        known = self.known(state)
        if name not in known:
            raise Problem(
                "not_found", f"No node {name[:80]!r} has ever reported here.", near(name, known), param="name"
            )


def _check_reason(reason: str) -> None:
    if len(reason) > REASON_CHARS_MAX or not reason.isprintable():
        raise Problem(
            "invalid_value",
            f"`reason` may have {REASON_CHARS_MAX} printable characters; {len(reason)} came.",
            "One line such as `firmware` will do; it is shown wherever the node refuses something.",
            param="reason",
        )
