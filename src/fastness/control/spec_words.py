"""What the checks of a deployment have in common: how a refusal is worded, and lists of tenants."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable
from typing import Final

from fastness.control.problem import Problem
from fastness.core.desired import DeploymentSpec

TENANTS_MAX: Final = 64
_PAGE: Final = "docs/reference/deployment-file.md says what each may be."


def near(text: str, known: Iterable[str]) -> str:
    """Say what may have been meant, or what there is."""
    names = sorted(known)
    found = difflib.get_close_matches(text, names, n=1)
    return f"Did you mean {found[0]}?" if found else f"There are: {', '.join(names[:20]) or 'none'}."


def invalid(spec: DeploymentSpec, place: str, found: str) -> Problem:
    """Return the problem of a value that may not be."""
    return Problem("invalid_value", f"`{spec.name[:80]}.{place}` is {found}.", _PAGE, param=place)


def check_tenants(spec: DeploymentSpec, tenants: tuple[str, ...] | None, place: str, known: Collection[str]) -> None:
    """Raise Problem unless these are tenants that live, and no more than may stand there; None: no list."""
    unknown = [one for one in tenants or () if one not in known]
    if unknown:
        raise Problem(
            "not_found",
            f"`{spec.name}.{place}`: there is no tenant {unknown[0][:80]!r}.",
            near(unknown[0], known),
            param=place,
        )
    if tenants is not None and not 0 < len(tenants) <= TENANTS_MAX:
        raise invalid(spec, place, f"{len(tenants)} names; 1 to {TENANTS_MAX} may stand there")
