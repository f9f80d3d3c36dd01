"""Markings: how sensitive something is, and who may hold it. A profile says which there are; this is their algebra."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

CAVEATS_MAX: Final = 16
"""Caveats of one label."""
HEADER: Final = "fastness-marking"
"""The header a request may carry, and each response repeats."""


class UnknownMarking(ValueError):  # noqa: N818 - an outcome
    """A marking or caveat that the profile does not define; the message names it and those there are."""


@dataclass(frozen=True, slots=True)
class Label:
    """A marking with its caveats, sorted. On a request it is a need; as a ceiling or a clearance it is a permission."""

    marking: str
    caveats: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.marking}; {', '.join(self.caveats)}" if self.caveats else self.marking


@dataclass(frozen=True, slots=True)
class Marking:
    """One marking. `above` names those directly below it, so that a profile may be any partial order.

    `jurisdictions` are those a node must stand under to hold it (empty: any), and `owners` the jurisdictions that may
    own the node's operator (empty: any, also when nobody said who owns it).
    """

    name: str
    meaning: str
    above: tuple[str, ...] = ()
    jurisdictions: tuple[str, ...] = ()
    owners: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Caveat:
    """A handling caveat: it narrows who may hold something, at `lowest` or any marking above it."""

    name: str
    meaning: str
    lowest: str
    jurisdictions: tuple[str, ...] = ()
    owners: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Operator:
    """Who runs nodes. `owner` is the jurisdiction that owns it in the end, whatever country it is registered in."""

    id: str
    name: str
    owner: str


@dataclass(frozen=True, slots=True)
class Profile:
    """A state's markings, caveats, jurisdictions and operators. `default` marks what carries no marking.

    `jurisdictions` are pairs of code and name. The order of `markings` is only how they are listed; what dominates
    what is told by `above`.
    """

    name: str
    title: str
    markings: tuple[Marking, ...]
    caveats: tuple[Caveat, ...]
    jurisdictions: tuple[tuple[str, str], ...]
    operators: tuple[Operator, ...]
    default: str


@dataclass(frozen=True, slots=True)
class Node:
    """Where replicas run: under whose law, run by whom (`operator`), owned by whom (`owner`, a jurisdiction).

    An empty operator or owner was not declared. `ceiling` is the most that may be handled there.
    """

    name: str
    jurisdiction: str
    operator: str
    owner: str
    ceiling: Label


class Lattice:
    """What dominates what under one profile."""

    def __init__(self, profile: Profile) -> None:
        """Raises UnknownMarking for a profile that names a marking it does not define, or orders them in a circle."""
        self.profile = profile
        self._caveats = {one.name: one for one in profile.caveats}
        self._markings = {one.name: one for one in profile.markings}
        self._below: dict[str, frozenset[str]] = {}
        for one in profile.markings:
            self._descend(one.name, ())
        for caveat in profile.caveats:
            self._known(caveat.lowest)
        self._known(profile.default)

    def dominates(self, ceiling: Label, label: Label) -> bool:
        """Tell whether `ceiling` permits `label`: its marking is the same or above, and it has every caveat.

        A label that the profile does not define is permitted by nothing, and permits nothing.
        """
        below = self._below.get(ceiling.marking)
        return below is not None and label.marking in below and set(label.caveats) <= set(ceiling.caveats)

    def at_or_below(self, marking: str) -> frozenset[str]:
        """Return the marking and all below it; raises UnknownMarking."""
        self._known(marking)
        return self._below[marking]

    def read(self, text: str) -> Label:
        """Read `MARKING` or `MARKING; CAVEAT, CAVEAT`, in any case; raises UnknownMarking."""
        name, _, rest = text.partition(";")
        wanted = [one.strip() for one in rest.split(",") if one.strip()]
        if len(wanted) > CAVEATS_MAX:
            raise UnknownMarking(f"{len(wanted)} caveats came; {CAVEATS_MAX} are read at most")
        marking = _found(name.strip(), self._markings, "marking")
        caveats = tuple(sorted({_found(one, self._caveats, "caveat") for one in wanted}))
        for caveat in caveats:
            lowest = self._caveats[caveat].lowest
            if lowest not in self._below[marking]:
                raise UnknownMarking(f"the caveat {caveat} goes with {lowest} or above, not with {marking}")
        return Label(marking, caveats)

    def check(self, label: Label) -> Label:
        """Return the label as the profile writes it; raises UnknownMarking."""
        return self.read(str(label))

    def _known(self, name: str) -> None:
        if name not in self._markings:
            raise UnknownMarking(f"there is no marking {name!r}; there are {', '.join(self._markings)}")

    def _descend(self, name: str, path: tuple[str, ...]) -> frozenset[str]:
        self._known(name)
        if name in path:
            raise UnknownMarking(f"the markings are ordered in a circle: {' above '.join((*path, name))}")
        if name not in self._below:
            under = (self._descend(one, (*path, name)) for one in self._markings[name].above)
            self._below[name] = frozenset({name}).union(*under)
        return self._below[name]


def _found(text: str, known: dict[str, Marking] | dict[str, Caveat], kind: str) -> str:
    wanted = " ".join(text.upper().split())
    for name in known:
        if name.upper() == wanted:
            return name
    raise UnknownMarking(f"there is no {kind} {text[:80]!r}; there are {', '.join(known) or 'none'}")
