"""`fastness retention verify`: whether an export, or the certificate of a shredding, is what it says. Offline."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fastness.cli import render
from fastness.cli.outcome import ExitCode, Failure
from fastness.cli.render import Column
from fastness.cli.talk import Json, Quiet, Talk

if TYPE_CHECKING:
    from fastness.cli.composition import Composition
    from fastness.ledger.note import VerifierKey

VERIFY_EXAMPLES = """\
fastness retention verify citizen-7.zip
fastness retention verify certificate.json --public-key signing.pub"""
CHECKED = (
    Column("REQUEST"),
    Column("ENTRY"),
    Column("LOG", spare=1),
    Column("IN THE LOG"),
    Column("ASKED"),
    Column("ANSWERED"),
)


def verify(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="An export, or a certificate.")],
    public_key: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Whose certificate: the installation's signing.pub.")
    ] = None,
    ledger_keys: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="Keys of the logs, as beside each; several are taken.")
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Verify an export, or the certificate of a shredding. Nothing needs to run.

    Without keys, those of the installation here are taken.
    """
    talk = Talk(as_json, quiet)
    composition: Composition = ctx.obj
    home = composition.load_settings({})[0].home
    content = read(file)
    if content.startswith(b"{"):
        _certificate(talk, content, public_key or home / "signing.pub")
    else:
        _export(talk, content, _keys(ledger_keys or sorted(home.glob("ledger/*/keys"))))


def read(path: Path) -> bytes:
    """Read a file; raises Failure."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise Failure(ExitCode.USAGE, f"{path} cannot be read: {error.strerror}.") from None


def _certificate(talk: Talk, content: bytes, public_key: Path) -> None:
    from fastness.control.shred_certificate import CertificateRefused
    from fastness.control.shred_certificate import verify as verify_certificate
    from fastness.perimeter.signing import KeyUnusable, read_public_key

    try:
        body = verify_certificate(content, read_public_key(public_key))
    except (CertificateRefused, KeyUnusable, OSError) as error:
        raise Failure(ExitCode.FAILED, f"The certificate is not one: {error}.") from None
    what = "all keys" if body.everything else "the keys"
    facts = (
        ("destroyed", f"{what} of {body.requests_total:,} requests of {body.tenant}"),
        ("opened after", f"{body.opened_after} of them"),
        ("by", f"{body.asked_by}, approved by {body.approved_by}, {render.moment(body.at_ms / 1_000)}"),
        ("entry", f"{body.index} of the log {body.log}: fastness ledger show {body.log} {body.index}"),
        ("signature", f"good, by {public_key}"),
    )
    if talk.as_json:
        talk.document({"holds": True, "disclosure": body.disclosure, "log": body.log, "index": body.index})
    else:
        talk.text(render.pairs(facts, talk.width))


def _export(talk: Talk, content: bytes, keys: list[VerifierKey]) -> None:
    from fastness.control.export_check import ExportRefused, check_export

    try:
        checked = check_export(content, keys)
    except ExportRefused as error:
        raise Failure(ExitCode.FAILED, f"The export is not whole: {error}.") from None
    rows = [
        (one.request_id, render.count(one.index), one.log or "-", one.entry, one.request, one.answer) for one in checked
    ]
    if talk.as_json:
        names = ("request_id", "log", "index", "entry", "request", "answer")
        talk.document({"requests": [{name: getattr(one, name) for name in names} for one in checked]})
    else:
        talk.table(CHECKED, rows, "It holds no request.")
    unproved = [one for one in checked if one.entry != "proved"]
    if unproved:
        raise Failure(ExitCode.FAILED, f"{len(unproved):,} of {len(checked):,} entries are not proved.")
    talk.say(f"Every member is as the manifest says, and all {len(checked):,} entries are proved.")


def _keys(paths: list[Path]) -> list[VerifierKey]:
    from fastness.ledger.note import NoteInvalid
    from fastness.ledger.vouching import read_keys

    try:
        return [key for path in paths for key in read_keys(path)]
    except (NoteInvalid, ValueError, OSError) as error:
        raise Failure(ExitCode.USAGE, f"The keys of the logs cannot be read: {error}.") from None
