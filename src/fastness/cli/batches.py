"""`fastness batches` and `fastness files`: what tenants have under way and keep, for operators."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any
from urllib.parse import quote

import typer

from fastness.cli import render
from fastness.cli.client import management_of
from fastness.cli.render import Column
from fastness.cli.talk import Json, Quiet, Talk, Yes

LIST_EXAMPLES = """\
fastness batches
fastness batches list --tenant health --json"""
SHOW_EXAMPLES = """\
fastness batches show batch_0123456789abcdef01234567
fastness batches show batch_0123456789abcdef01234567 --json"""
CANCEL_EXAMPLES = """\
fastness batches cancel batch_0123456789abcdef01234567
fastness batches cancel batch_0123456789abcdef01234567 --yes"""
FILES_EXAMPLES = """\
fastness files
fastness files list --tenant health --json"""

BATCH_COLUMNS = (
    Column("BATCH"),
    Column("TENANT"),
    Column("MARKING", spare=2),
    Column("ENDPOINT", spare=3),
    Column("DONE"),
    Column("FAILED", spare=1),
    Column("CREATED", spare=4),
    Column("STATUS"),
)
FILE_COLUMNS = (
    Column("FILE"),
    Column("TENANT"),
    Column("MARKING", spare=1),
    Column("PURPOSE", spare=2),
    Column("SIZE"),
    Column("CREATED", spare=3),
    Column("EXPIRES"),
)

Acts = dict[str, tuple[Callable[..., None], str]]
OfTenant = Annotated[str | None, typer.Option("--tenant", metavar="ID", help="Only those of this tenant.")]
BatchId = Annotated[str, typer.Argument(metavar="ID", help="As fastness batches lists it.")]


def listing(ctx: typer.Context, tenant: OfTenant = None, as_json: Json = False, quiet: Quiet = False) -> None:
    """List the batches of all tenants, the oldest first."""
    talk = Talk(as_json, quiet)
    answer = _get(ctx, "/batches", tenant)
    if as_json:
        talk.document(answer)
    else:
        talk.table(BATCH_COLUMNS, [_batch_row(batch) for batch in answer["batches"]], "No batches.")


def show(ctx: typer.Context, batch: BatchId, as_json: Json = False, quiet: Quiet = False) -> None:
    """Show one batch: on whose behalf, how far, which files."""
    talk = Talk(as_json, quiet)
    answer = _get(ctx, f"/batches/{quote(batch, safe='')}", None)
    if as_json:
        talk.document(answer)
        return
    told = {
        name: render.moment(value) if name.endswith("_s") else render.plain(value) for name, value in answer.items()
    }
    talk.text(render.pairs([(name.removesuffix("_s"), value) for name, value in told.items()], talk.width))


def cancel(ctx: typer.Context, batch: BatchId, as_json: Json = False, quiet: Quiet = False, yes: Yes = False) -> None:
    """Cancel a batch. What was answered stays in its output; the other lines are in its error file."""
    talk = Talk(as_json, quiet, yes)
    talk.confirm(f"Cancel {batch}?")
    with management_of(ctx) as api:
        answer = api.post(f"/batches/{quote(batch, safe='')}/cancel")
    if as_json:
        talk.document(answer)
    talk.say(f"{batch} is {answer['status']}.")


def files(ctx: typer.Context, tenant: OfTenant = None, as_json: Json = False, quiet: Quiet = False) -> None:
    """List the files of all tenants, the oldest first. What they are called and contain is not shown."""
    talk = Talk(as_json, quiet)
    answer = _get(ctx, "/files", tenant)
    if as_json:
        talk.document(answer)
    else:
        talk.table(FILE_COLUMNS, [_file_row(file) for file in answer["files"]], "No files.")


def _get(ctx: typer.Context, path: str, tenant: str | None) -> Any:
    with management_of(ctx) as api:
        return api.get(path, tenant=tenant)


def _batch_row(batch: dict[str, Any]) -> tuple[str, ...]:
    return (
        batch["id"],
        batch["tenant"],
        batch["marking"],
        batch["endpoint"],
        f"{batch['completed'] + batch['failed']}/{batch['total']}",
        render.count(batch["failed"]),
        render.moment(batch["created_s"]),
        batch["status"],
    )


def _file_row(file: dict[str, Any]) -> tuple[str, ...]:
    return (
        file["id"],
        file["tenant"],
        file["marking"],
        file["purpose"],
        render.size(file["size_bytes"]),
        render.moment(file["created_s"]),
        render.moment(file["expires_s"]),
    )


ACTS: Acts = {"list": (listing, LIST_EXAMPLES), "show": (show, SHOW_EXAMPLES), "cancel": (cancel, CANCEL_EXAMPLES)}
FILE_ACTS: Acts = {"list": (files, FILES_EXAMPLES)}
