"""Who is placed first, where not all can be: the promised, the urgent, the missing, the hardest."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from fastness.core.desired import Needs
from fastness.scheduling.account import Holder
from fastness.scheduling.offer_index import OfferIndex
from fastness.scheduling.placement import Placement, Unplaced, place
from fastness.scheduling.shares import LAST, Shares


@dataclass(frozen=True, slots=True)
class Wish:
    """One replica that is wanted and has no place. `there` is how many its deployment has, or wishes for before it."""

    deployment: str
    owner: str
    needs: Needs
    digest: str
    there: int = 0
    urgent: bool = False

    @property
    def devices(self) -> int:
        """How many it takes in all."""
        return self.needs.devices_in_all


def ordered(wishes: Iterable[Wish], index: OfferIndex, shares: Shares) -> tuple[Wish, ...]:
    """Return the order in which to place.

    First who is within its guarantee, then who borrows inside its department, then who borrows. Among these the urgent;
    then deployments that have nothing before those that want more; then the hardest: those that take most devices, and
    of equals those with the fewest devices to choose from and the most memory. How far a guarantee reaches is counted
    in that order, too.
    """
    choices: dict[Needs, int] = {}
    for one in (wishes := tuple(wishes)):
        if one.needs not in choices:
            groups = (group for alike in index.eligible(one.needs) for group in alike)
            choices[one.needs] = sum(group.size * group.total for group in groups)

    def hardness(one: Wish) -> tuple[object, ...]:
        needs = one.needs
        tight = (-one.devices, -needs.devices, choices[needs], -needs.device_bytes)
        return not one.urgent, one.there > 0, *tight, one.there, one.deployment

    hardest = sorted(wishes, key=hardness)
    levels = shares.levels((one.owner, one.needs.pool, one.devices) for one in hardest)
    return tuple(one for _, one in sorted(zip(levels, hardest, strict=True), key=lambda pair: pair[0]))


def place_all(
    wishes: Sequence[Wish], index: OfferIndex, shares: Shares, domains: Mapping[str, Collection[str]] | None = None
) -> Iterator[tuple[Wish, Placement | Unplaced]]:
    """Place one wish after the other, in the order given, and tell index and shares of each that has found its place.

    `domains` are where deployments have replicas already. When a wish is refused, so are those of its deployment that
    need the same: nothing becomes free meanwhile.
    """
    taken = {name: set(there) for name, there in (domains or {}).items()}
    hopeless: dict[tuple[str, Needs], Unplaced] = {}
    for number, one in enumerate(wishes):
        key, there = (one.deployment, one.needs), taken.setdefault(one.deployment, set())
        found = hopeless.get(key) or place(one.needs, one.deployment, one.digest, index, there)
        if isinstance(found, Unplaced):
            hopeless[key] = found
        else:
            index.take(one.deployment, found.parts, one.needs.device_bytes)
            there.update(index.bins[part.node].domain for part in found.parts)
            shares.take(
                Holder(
                    f"wish {number}", one.owner, one.needs.pool, one.devices, found.parts, one.needs.device_bytes,
                    LAST + number, one.urgent,
                )
            )  # fmt: skip
        yield one, found
