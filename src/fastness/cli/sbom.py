"""`fastness sbom`: what this installation is made of, for whoever has to know."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from fastness.cli.composition import Composition
from fastness.cli.outcome import ExitCode, Failure
from fastness.cli.talk import Json, Quiet, Talk

EXAMPLES = """\
fastness sbom --output sbom.cdx.json
fastness sbom --json | jq -r '.components[] | [.name, .version] | @tsv'"""


def sbom(
    ctx: typer.Context,
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write it there instead of on stdout; an old one is replaced.")
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write the bill of materials: CycloneDX 1.6, as JSON.

    It names every installed distribution with its licence, the hashes that were accepted for it and whether its files
    are still those that were installed; the interpreter; and the models here by digest. Nothing is asked of a network.
    """
    from fastness.registry.card import CardError
    from fastness.registry.materials.bill import materials_of

    talk = Talk(as_json, quiet)
    composition: Composition = ctx.obj
    settings, _ = composition.load_settings({})
    try:
        bill = materials_of(settings.home, time.time())
    except CardError as error:
        raise Failure(ExitCode.FAILED, f"A model here cannot be described: {error}", "fastness doctor") from None
    if output is not None:
        _write(output, json.dumps(bill, indent=1, ensure_ascii=False) + "\n")
    elif as_json:
        talk.document(bill)
    else:
        talk.text(json.dumps(bill, indent=1, ensure_ascii=False))
    for line in troubles(bill):
        talk.say(line)
    talk.say(f"{len(bill['components'])} components{f' in {output}' if output else ''}; {bill['serialNumber']}")


def troubles(bill: dict[str, Any]) -> list[str]:
    """Return a line for each component that is not what was installed."""
    found = []
    for one in (bill["metadata"]["component"], *bill["components"]):
        files = [each["value"] for each in one.get("properties", ()) if each["name"] == "fastness:file-changed"]
        if files:
            found.append(f"{one['name']} is not as it was installed: {', '.join(files[:3])}")
    return found


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, "utf-8")
    except OSError as error:
        raise Failure(ExitCode.FAILED, f"{path} cannot be written: {error.strerror}.", "another --output") from None
