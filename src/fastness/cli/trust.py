"""`fastness ledger trust`: the keys of this installation, for whoever is to verify what it says."""

from __future__ import annotations

from pathlib import Path

import typer

from fastness.cli.composition import Composition
from fastness.cli.outcome import ExitCode, Failure
from fastness.cli.talk import Json, Quiet, Talk

EXAMPLES = """\
fastness ledger trust > trust.txt
fastness ledger trust --json | jq -r '.logs[]'"""


def trust(ctx: typer.Context, as_json: Json = False, quiet: Quiet = False) -> None:
    """Print whom to believe to verify receipts: keys of the logs, of the witnesses, and how many of these.

    Carry it to auditors and witnesses on another way than receipts come: it is what all of their proofs rest on.
    """
    from fastness.ledger.note import NoteInvalid, SignatureType, parse_key
    from fastness.ledger.witness.policy import PolicyUnreadable, WitnessPolicy, read_policy

    composition: Composition = ctx.obj
    settings, _ = composition.load_settings({})
    ledger = settings.home / "ledger"
    try:
        named = settings.ledger.witness_policy
        policy = read_policy((settings.home / named).read_bytes()) if named else WitnessPolicy()
        policy.logs = [
            key
            for path in sorted(ledger.glob("*/keys"))
            for key in map(parse_key, _words(path))
            if key.type is SignatureType.ED25519
        ]
    except (OSError, PolicyUnreadable, NoteInvalid) as error:
        raise Failure(ExitCode.FAILED, str(error)) from None
    if not policy.logs:
        raise Failure(ExitCode.NOT_FOUND, f"No log in {ledger} has a key yet.", "fastness up begins them")
    talk = Talk(as_json, quiet)
    if as_json:
        witnesses = {name: str(one.key) for name, one in policy.witnesses.items()}
        talk.document({"logs": [str(key) for key in policy.logs], "witnesses": witnesses, "quorum": policy.quorum})
    else:
        talk.text(str(policy).rstrip())


def _words(path: Path) -> list[str]:
    with path.open("rb") as file:
        return file.read(65_536).decode().split()
