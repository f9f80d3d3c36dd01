"""Which of the places where a replica fits is the best, and why there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from fastness.core.desired import Needs
from fastness.scheduling.filters import refused_label
from fastness.scheduling.offer_index import OfferIndex
from fastness.scheduling.shelves import Group, Rows, Shelf


class Score(NamedTuple):
    """What speaks against a node, the weightiest first; the least is the best.

    Replicas of the same deployment in its failure domain; whether it is cleared for more than is needed, which others
    may need; replicas of the deployment on it; whether a node is broken up that was wholly free; whether the model must
    be fetched; how many devices would be left free beside it; its place by name.
    """

    in_domain: int
    above: bool
    on_node: int
    breaks: bool
    fetches: bool
    left: int
    order: int


Found = tuple[Score, Shelf]


class Search:
    """The search for one replica: what it needs, and what its deployment has where. Nothing in it changes the index."""

    def __init__(self, index: OfferIndex, needs: Needs, deployment: str, digest: str, domains: Collection[str]) -> None:
        """`domains` are where nothing more may be placed when replicas are to be apart."""
        self.index, self.needs, self.digest = index, needs, digest
        self.on_node: Mapping[str, int] = index.deployments.get(deployment, {})
        self.in_domain: dict[str, int] = {}
        for name, count in self.on_node.items():
            domain = index.bins[name].domain
            self.in_domain[domain] = self.in_domain.get(domain, 0) + count
        self._barred = frozenset(domains) if needs.apart else frozenset()
        self._crowded: dict[int, list[str]] = {}
        for domain in sorted(self.in_domain.keys() - self._barred):
            self._crowded.setdefault(self.in_domain[domain], []).append(domain)
        self._used: set[int] = set()

    def shelves(self) -> Sequence[Shelf]:
        """Return the best shelf for each part, all of one type of device; none when there are too few.

        Parts of one replica go to one failure domain when one has room for all: they talk to each other all the time.
        """
        for groups in self.index.eligible(self.needs):
            if self.needs.nodes > 1 and (found := self._together(groups)):
                return found
            if found := self._pick(groups, None):
                return found
        return ()

    def score(self, shelf: Shelf) -> Score:
        """Say what speaks against a shelf that has room."""
        devices, free = self.needs.devices, len(shelf.free)
        return Score(
            self.in_domain.get(shelf.domain, 0),
            not self.index.clears(self.needs.ceiling, shelf.bin.offer.node.place.ceiling),
            self.on_node.get(shelf.name, 0),
            devices < free == shelf.total,
            self.digest not in shelf.bin.digests,
            free - devices,
            shelf.order,
        )

    def _together(self, groups: Sequence[Group]) -> Sequence[Shelf]:
        roomy = Counter[str]()
        for group in groups:
            for row in group.all.rows[self.needs.devices :]:
                for domain, orders in row.orders.items():
                    roomy[domain] += len(orders)
        domains = [one for one, count in roomy.items() if count >= self.needs.nodes and one not in self._barred]
        found = [chosen for domain in domains if (chosen := self._pick(groups, domain))]
        return min(found, key=lambda chosen: [self.score(one) for one in chosen], default=())

    def _pick(self, groups: Sequence[Group], domain: str | None) -> Sequence[Shelf]:
        """Choose a shelf for each part, the best first; in one failure domain, or in any."""
        chosen: list[Shelf] = []
        self._used = set()
        while len(chosen) < self.needs.nodes:
            found = [one for group in groups if (one := self._best(group, domain))]
            if not found:
                return ()
            _, shelf = min(found)
            chosen.append(shelf)
            self._used.add(shelf.order)
        return chosen

    def _best(self, group: Group, domain: str | None) -> Found | None:
        """Return the best of a group: the best of all, or of those that have the model, which are few."""
        found = self._best_of(group.all, domain)
        if found is None or not found[0].fetches or self.digest not in group.with_model:
            return found
        has = self._best_of(group.with_model[self.digest], domain)
        return found if has is None else min(found, has)

    def _best_of(self, rows: Rows, domain: str | None) -> Found | None:
        """Look first where the deployment has nothing, then in the domains where it has least."""
        if domain is not None:
            return self._best_in(rows, domain)
        for row in rows.rows[self.needs.devices :]:
            for one in row.domains:
                if one not in self.in_domain and one not in self._barred:
                    for order in row.orders[one]:
                        if self._may(shelf := self.index.shelves[order]):
                            return self.score(shelf), shelf
        for count in sorted(self._crowded):
            if found := [best for one in self._crowded[count] if (best := self._best_in(rows, one))]:
                return min(found)
        return None

    def _best_in(self, rows: Rows, domain: str) -> Found | None:
        """Look from the fullest shelf to the emptiest; the first without this deployment is best, but for the model.

        What is passed over is chosen from only where every shelf with room has this deployment already.
        """
        passed: list[Shelf] = []
        for row in rows.rows[self.needs.devices :]:
            for order in row.orders.get(domain, ()):
                if self._may(shelf := self.index.shelves[order]):
                    if shelf.name not in self.on_node:
                        return self.score(shelf), shelf
                    passed.append(shelf)
        return min(((self.score(one), one) for one in passed), default=None)

    def _may(self, shelf: Shelf) -> bool:
        if shelf.order in self._used or not shelf.has_memory(self.needs):
            return False
        return not self.needs.labels or not refused_label(self.needs.labels, shelf.bin.offer.node.labels)


def reason(search: Search, chosen: Sequence[Shelf]) -> str:
    """Say why there, before it is taken: what was found for it, and what is left."""
    said = []
    for shelf in chosen:
        score = search.score(shelf)
        points = [f"{shelf.name} has {score.left} of {shelf.total} devices left"]
        points += [] if score.fetches else ["the model is on its disk"]
        points += [f"{score.on_node} of the deployment there already"] if score.on_node else []
        said.append(", ".join(points))
    return "; ".join(said)
