"""`fastness witness`: the small program that another department runs, so that no log can be rewritten in secret."""

from __future__ import annotations

import json
import signal
import ssl
import sys
import threading
import time
from functools import partial
from pathlib import Path
from typing import Annotated, Final

import typer

from fastness.cli import render
from fastness.cli.outcome import ExitCode, Failure
from fastness.cli.render import Column
from fastness.cli.talk import Json, Quiet, Talk

INIT_EXAMPLES = """\
fastness witness init /var/lib/witness --name audit-office.example/w1 --logs trust.txt
fastness witness init ./witness --name w2 --json"""
SERVE_EXAMPLES = """\
fastness witness serve /var/lib/witness --listen 10.0.0.7:8090
fastness witness serve /var/lib/witness --tls-certificate w1.pem --tls-key w1.key"""
SHOW_EXAMPLES = """\
fastness witness show /var/lib/witness
fastness witness show /var/lib/witness --json"""

COLUMNS: Final = (Column("LOG"), Column("ENTRIES SEEN", right=True), Column("ROOT", spare=1))
Directory = Annotated[
    Path, typer.Argument(metavar="DIRECTORY", help="Where the witness keeps its key and what it saw.")
]


def init(
    directory: Directory,
    name: Annotated[str, typer.Option(metavar="NAME", help="What it signs under, such as audit-office.example/w1.")],
    logs: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Keys of the logs it watches, or what `ledger trust` printed.")
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Make a new witness with a key of its own, and print the key's public half for policies."""
    from fastness.ledger.note import NoteInvalid, parse_key
    from fastness.ledger.witness.state import StateUnusable, begin

    words = logs.read_text().split() if logs else []
    try:
        keys = tuple(parse_key(word) for word in words if word.count("+") >= 2 and "/" in word)
        made = begin(directory, name, keys)
    except (NoteInvalid, StateUnusable) as error:
        raise Failure(ExitCode.USAGE, str(error)) from None
    talk = Talk(as_json, quiet)
    if as_json:
        talk.document({"key": str(made.verifier), "logs": [str(key) for key in keys]})
        return
    talk.text(str(made.verifier))
    talk.say(f"It watches {len(keys)} logs; their keys are in {directory / 'logs'}. fastness witness serve {directory}")


def serve(
    directory: Directory,
    listen: Annotated[str, typer.Option(metavar="HOST:PORT", help="Where it listens; port 0 takes a free one.")] = (
        "127.0.0.1:8090"
    ),
    tls_certificate: Annotated[Path | None, typer.Option(metavar="FILE", help="PEM; turns TLS on.")] = None,
    tls_key: Annotated[Path | None, typer.Option(metavar="FILE", help="PEM; the certificate's key.")] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Cosign what logs submit, if it grew out of what was seen before; until SIGTERM."""
    from fastness.ledger.witness.judge import Judge
    from fastness.ledger.witness.server import WitnessServer
    from fastness.ledger.witness.state import StateUnusable, WitnessState

    host, _, port = listen.rpartition(":")
    if not host or not port.isdigit():
        raise Failure(ExitCode.USAGE, f"{listen} is not where one can listen.", "--listen HOST:PORT")
    context = None
    if tls_certificate is not None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(tls_certificate, tls_key)
    try:
        state = WitnessState(directory)
    except (StateUnusable, FileNotFoundError) as error:
        raise Failure(ExitCode.FAILED, str(error), f"fastness witness init {directory} --name NAME") from None
    tell = partial(_tell, as_json=as_json, quiet=quiet)
    try:
        server = WitnessServer((host.strip("[]"), int(port)), Judge(state, time.time, tell), context)
    except OSError as error:
        state.close()
        raise Failure(ExitCode.FAILED, f"Cannot listen on {listen}: {error.strerror}.") from None
    ending = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ending.set())
    thread = threading.Thread(target=server.serve_forever, name="witness", daemon=True)
    thread.start()
    where = f"{'https' if context else 'http'}://{host}:{server.server_address[1]}"
    tell(f"witness {state.key.verifier.name} at {where} watches {len(state.logs)} logs")
    ending.wait()
    server.shutdown()
    thread.join()
    server.server_close()
    state.close()


def show(directory: Directory, as_json: Json = False, quiet: Quiet = False) -> None:
    """Show a witness's public key, what it saw of each log, and how many contradictions it keeps."""
    from fastness.ledger.witness.state import StateUnusable, WitnessState

    talk = Talk(as_json, quiet)
    try:
        state = WitnessState(directory, exclusive=False)
        seen = {origin: state.seen(origin) for origin in state.logs}
        forks, key = state.forks, str(state.key.verifier)
    except (StateUnusable, OSError) as error:
        raise Failure(ExitCode.FAILED, str(error)) from None
    state.close()
    shown = {origin: (one[0].size, one[0].root.hex()) if one else (0, "") for origin, one in seen.items()}
    if as_json:
        logs = [{"log": origin, "size": size, "root": root} for origin, (size, root) in shown.items()]
        talk.document({"key": key, "logs": logs, "forks": forks})
        return
    talk.text(key)
    rows = [(origin, render.count(size), f"{root[:16]}…" if root else "") for origin, (size, root) in shown.items()]
    talk.table(COLUMNS, rows, "It knows no logs: put their keys into the file `logs`.")
    if forks:
        talk.text(f"{forks} contradictions: {directory / 'forks'} holds what was signed. Ask the installation.")


def _tell(text: str, *, as_json: bool, quiet: bool) -> None:
    """Write a line at once: a service's log is read as it grows. `quiet` leaves out all but trouble."""
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    if not quiet or text.startswith("NOT "):
        typer.echo(json.dumps({"time": at, "said": text}) if as_json else f"{at} {text}")
        sys.stdout.flush()
