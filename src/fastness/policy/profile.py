"""Profiles: a state's markings, caveats, jurisdictions and operators, read from TOML."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import resources
from typing import Final

import msgspec

from fastness.core.marking import Caveat, Lattice, Marking, Operator, Profile, UnknownMarking
from fastness.policy.port import PolicyProblem

PROFILE_BYTES_MAX: Final = 262_144
MARKINGS_MAX: Final = 64
CAVEATS_MAX: Final = 256
JURISDICTIONS_MAX: Final = 300
OPERATORS_MAX: Final = 1_024
TEXT_CHARACTERS_MAX: Final = 1_024
"""Meanings, titles and names of operators."""

_NAME: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9 ./+_-]{0,62}[A-Za-z0-9])?")
"""Names go into a header: visible ASCII without the `;` and `,` that part a label."""


class _Marking(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    meaning: str
    above: tuple[str, ...] = ()
    jurisdictions: tuple[str, ...] = ()
    owners: tuple[str, ...] = ()


class _Caveat(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    meaning: str
    lowest: str
    jurisdictions: tuple[str, ...] = ()
    owners: tuple[str, ...] = ()


class _Operator(msgspec.Struct, forbid_unknown_fields=True):
    id: str
    name: str
    owner: str


class _Profile(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    title: str
    default: str
    marking: list[_Marking]
    caveat: list[_Caveat] = []
    operator: list[_Operator] = []
    jurisdictions: dict[str, str] = {}


def read_profile(text: str, where: str) -> Profile:
    """Read a profile; `where` names it in problems. Raises PolicyProblem."""
    size_bytes = len(text.encode(errors="replace"))
    if size_bytes > PROFILE_BYTES_MAX:
        raise PolicyProblem(f"{where}: {size_bytes} bytes; a profile has {PROFILE_BYTES_MAX} at most")
    try:
        raw = msgspec.toml.decode(text, type=_Profile)
    except (ValueError, RecursionError) as error:
        raise PolicyProblem(f"{where}: {error}") from None
    profile = Profile(
        name=raw.name,
        title=raw.title,
        markings=tuple(Marking(one.name, one.meaning, one.above, one.jurisdictions, one.owners) for one in raw.marking),
        caveats=tuple(Caveat(one.name, one.meaning, one.lowest, one.jurisdictions, one.owners) for one in raw.caveat),
        jurisdictions=tuple(raw.jurisdictions.items()),
        operators=tuple(Operator(one.id, one.name, one.owner) for one in raw.operator),
        default=raw.default,
    )
    check_profile(profile, where)
    return profile


def shipped_profile(name: str) -> Profile:
    """Read a profile of the package; raises PolicyProblem, which lists those there are."""
    names = shipped_profiles()
    if name not in names:
        raise PolicyProblem(f"no profile {name[:80]!r} is shipped; there are {', '.join(names)}, or give a TOML file")
    return read_profile((resources.files(__package__) / "profiles" / f"{name}.toml").read_text(), f"{name}.toml")


def shipped_profiles() -> tuple[str, ...]:
    """List the names of the package's profiles."""
    files = (resources.files(__package__) / "profiles").iterdir()
    return tuple(sorted(one.name.removesuffix(".toml") for one in files if one.name.endswith(".toml")))


def check_profile(profile: Profile, where: str) -> Lattice:
    """Return the profile's lattice once everything in it holds together; raises PolicyProblem."""
    problem = next(_problems(profile), None)
    if problem is not None:
        raise PolicyProblem(f"{where}: {problem}")
    try:
        return Lattice(profile)
    except UnknownMarking as error:
        raise PolicyProblem(f"{where}: {error}") from None


def _problems(profile: Profile) -> Iterator[str]:
    markings = [one.name for one in profile.markings]
    caveats = [one.name for one in profile.caveats]
    codes = [code for code, _ in profile.jurisdictions]
    operators = [one.id for one in profile.operators]
    yield from _names("marking", markings, MARKINGS_MAX)
    yield from _names("caveat", caveats, CAVEATS_MAX)
    yield from _names("jurisdiction", codes, JURISDICTIONS_MAX)
    yield from _names("operator", operators, OPERATORS_MAX)
    yield from _names("profile name", [profile.name], 1)
    if not markings:
        yield "there is no [[marking]]; at least one is needed"
    asking: list[Marking | Caveat] = [*profile.markings, *profile.caveats]
    for one in asking:
        for code in (*one.jurisdictions, *one.owners):
            if code not in codes:
                yield f"{one.name} asks for the jurisdiction {code[:80]!r}, which [jurisdictions] does not list"
    for operator in profile.operators:
        if operator.owner not in codes:
            yield f"operator {operator.id} has the owner {operator.owner[:80]!r}, which [jurisdictions] does not list"
    for text in (
        profile.title,
        *(one.meaning for one in asking),
        *(name for _, name in profile.jurisdictions),
        *(operator.name for operator in profile.operators),
    ):
        if len(text) > TEXT_CHARACTERS_MAX or not text.isprintable():
            yield f"{text[:40]!r}: a meaning or name is one line of at most {TEXT_CHARACTERS_MAX} characters"


def _names(kind: str, names: list[str], most: int) -> Iterator[str]:
    if len(names) > most:
        yield f"{len(names)} of the kind {kind} came; there may be {most}"
    seen: set[str] = set()
    for name in names:
        if _NAME.fullmatch(name) is None:
            yield f"{kind} {name[:80]!r}: a name has 1 to 64 letters, digits, inner spaces and ./+_-"
        # Labels are read in any case, so names that differ only by case would be one.
        if name.upper() in seen:
            yield f"{kind} {name!r} is there twice"
        seen.add(name.upper())
