"""`fastness evidence`: what an auditor gets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from fastness.cli import render
from fastness.cli.client import management_of
from fastness.cli.moments import From, To, milliseconds
from fastness.cli.talk import Json, Quiet, Talk

EXPORT_EXAMPLES = """\
fastness evidence export --from 2026-11-01 --to 2026-12-01 -o bundle.zip
fastness evidence export -o bundle.zip --json"""
PATIENCE_S = 3_600.0
"""A ledger of millions of entries is read and hashed within it."""


def export(
    ctx: typer.Context,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="The bundle to write; nothing is overwritten.")
    ],
    from_: From = None,
    to: To = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write a signed bundle of evidence: entries, proofs, policies, models, materials, drafts of records.

    It holds no content and no secret; whoever gets it verifies it alone. Without times: everything until now.
    """
    talk = Talk(as_json, quiet)
    period = {"from_ms": milliseconds(from_, "--from") or 0, "to_ms": milliseconds(to, "--to")}
    wish = {"output": str(output.absolute()), **period}
    with management_of(ctx) as api:
        answer = api.post("/evidence", wish, timeout_s=PATIENCE_S)
    if as_json:
        talk.document(answer)
        return
    facts = (
        ("bundle", f"{output}  {render.size(answer['size_bytes'])}, {answer['members']:,} members"),
        ("period", f"{render.moment(answer['from_ms'] / 1_000)} to {render.moment(answer['to_ms'] / 1_000)}"),
        ("sha256", answer["sha256"]),
        *(("lacks", f"{one['what']}: {one['why']}") for one in answer["unknown"]),
    )
    talk.text(render.pairs(facts, talk.width))


ACTS: dict[str, tuple[Callable[..., None], str]] = {"export": (export, EXPORT_EXAMPLES)}
