"""`fastness verify`: what an auditor verifies alone, with the same file that they may copy away."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from fastness.cli.outcome import ExitCode, Failure
from fastness.cli.talk import Json, Quiet, Talk

EXAMPLES = """\
fastness verify receipt.json --answer answer.txt --prompt prompt.txt --trust trust.txt
fastness verify evidence.zip --trust trust.txt"""

Given = Annotated[
    Path | None, typer.Option(metavar="FILE", help="What you sent or got; it must be that to the letter.")
]


def verify(
    file: Annotated[Path | None, typer.Argument(metavar="FILE", help="A receipt, or an evidence bundle.")] = None,
    trust: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The keys you believe (fastness ledger trust); not from the same source."),
    ] = None,
    bundle: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Follow a receipt further, with the entries of a bundle.")
    ] = None,
    prompt: Given = None,
    answer: Given = None,
    request: Given = None,
    parameters: Given = None,
    copy_to: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the program that verifies, one file, to be carried away.")
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Verify a receipt or an evidence bundle, offline.

    Each line of it is proved, or asserted by somebody, or unknown, or refuted. Needs nothing to be running, and trusts
    nothing that runs. Ends with 6 when nothing is false, and it is still not proved by keys that you trust.
    """
    from fastness.ledger import verify_alone

    talk = Talk(as_json, quiet)
    if copy_to is not None:
        copy_to.write_bytes(Path(verify_alone.__file__).read_bytes())
        talk.say(f"{copy_to} needs Python and the package `cryptography`, and nothing else: python {copy_to} --help")
        return
    if file is None:
        raise Failure(ExitCode.USAGE, "Nothing to verify was named.", "fastness verify receipt.json --trust trust.txt")
    files = {"request": request, "prompt": prompt, "parameters": parameters, "answer": answer}
    try:
        given = {name: path.read_bytes() for name, path in files.items() if path}
        claims, code = verify_alone.verify(file, trust, bundle, given)
    except (verify_alone.Unreadable, OSError) as error:
        raise Failure(ExitCode.USAGE, f"It cannot be read: {error}") from None
    if as_json:
        talk.document({"claims": [_document(one) for one in claims]})
    else:
        talk.text("\n".join(f"{one.verdict:<10}{one.text}{one.by and f'   ({one.by})'}" for one in claims))
    if code:
        raise typer.Exit(code)


def _document(claim: Any) -> dict[str, str]:
    return dict(claim._asdict())
