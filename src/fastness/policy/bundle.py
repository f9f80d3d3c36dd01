"""Whole policies: a profile and files of rules, named by a digest."""

from __future__ import annotations

from pathlib import Path

from fastness.core.marking import Profile
from fastness.core.policy import PolicyBundle


def shipped_bundle(profile: Profile) -> PolicyBundle:
    """The rules of the package, under `profile`."""
    raise NotImplementedError


def bundle_from_directory(directory: Path) -> PolicyBundle:
    """Read `profile.toml` and every `*.cedar` of a directory; raises PolicyProblem."""
    raise NotImplementedError
