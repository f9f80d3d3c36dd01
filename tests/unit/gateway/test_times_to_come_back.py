"""Whoever is refused for a reason that passes is told when to come back: read from the source, none left out."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from fastness.core.error import ERROR_CODES

SOURCE = Path(__file__).parents[3] / "src/fastness"
ROOMS = ("gateway", "batches", "identity", "policy")
PASSES = {429, 503}
NOBODY_KNOWS_WHEN = {"identity_unavailable", "policy_unavailable"}
"""An operator has to do something first."""


def refusals() -> Iterator[tuple[str, str, bool]]:
    """Where a refusal with a code in plain text is made, the code, and whether it says when."""
    for room in ROOMS:
        for path in (SOURCE / room).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("Refusal", "EngineFailed"):
                    code = node.args[0]
                    if isinstance(code, ast.Constant):
                        says = any(one.arg == "retry_after_s" for one in node.keywords)
                        yield f"{path.relative_to(SOURCE)}:{node.lineno}", str(code.value), says


def test_every_refusal_that_passes_says_when() -> None:
    found = list(refusals())
    assert len(found) > 50
    silent = [
        (where, code)
        for where, code, says in found
        if ERROR_CODES[code].status in PASSES and not says and code not in NOBODY_KNOWS_WHEN
    ]
    assert silent == []
