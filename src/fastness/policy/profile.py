"""Profiles: a state's markings, caveats, jurisdictions and operators, read from TOML."""

from __future__ import annotations

from fastness.core.marking import Profile


def read_profile(text: str, where: str) -> Profile:
    """Read a profile; `where` names it in problems. Raises PolicyProblem."""
    raise NotImplementedError


def shipped_profile(name: str) -> Profile:
    """A profile of the package; raises PolicyProblem, which lists those there are."""
    raise NotImplementedError
