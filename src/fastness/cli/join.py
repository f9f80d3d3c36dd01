"""`fastness node join`: make this host a node of a cluster, and run what its head orders."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Final

import typer

from fastness.cli import render
from fastness.cli.composition import Composition, NodeJoined
from fastness.cli.foreground import stay
from fastness.cli.outcome import ExitCode, Failure
from fastness.cli.progress import Progress
from fastness.cli.running import refuse_beside_a_joined
from fastness.cli.talk import Json, Quiet, Talk
from fastness.identity.cluster.certificate import NotTrusted
from fastness.identity.cluster.folder import cluster_folder
from fastness.identity.cluster.invitation import INVITATION_BYTES_MAX, install_invitation

EXAMPLES: Final = """\
fastness node join bristol-07.invitation
fastness node join"""


def join(
    ctx: typer.Context,
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="The invitation; not needed again once it is installed.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Settings file, instead of config.toml in FASTNESS_HOME.")
    ] = None,
    install: Annotated[
        bool, typer.Option("--install", help="Install the invitation, and start nothing: a service will.")
    ] = False,
    unsealed: Annotated[
        bool, typer.Option("--unsealed", help="Run engines without their seal. For trials only; it is recorded.")
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Make this host a node of a cluster, and run what its head orders, in the foreground.

    It runs engines and a door, and no gateway. When the head is away for longer than a lease (ray.lease_s) it ends its
    engines; they start again when the head is back. With --json: one line of JSON once the head has answered.
    """
    composition: Composition = ctx.obj
    settings, _ = composition.load_settings({}, config)
    talk = Talk(as_json, quiet)
    if file is not None:
        _install(talk, file, cluster_folder(settings.home))
    if install:
        return
    refuse_beside_a_joined(settings)
    progress = Progress(talk)

    def joined(one: NodeJoined) -> None:
        if as_json:
            talk.document({"node": one.node, "head": one.head, "pid": one.pid, "sealed": one.sealed})
        talk.say(f"\n{one.node} runs what {one.head} orders. Joined in {render.duration(one.elapsed_s)}.")

    stay(progress, lambda: composition.run_node(settings, progress, unsealed, joined))


def _install(talk: Talk, file: Path, folder: Path) -> None:
    try:
        with file.open("rb") as invitation:
            content = invitation.read(INVITATION_BYTES_MAX + 1)
    except OSError as error:
        raise Failure(
            ExitCode.USAGE, f"{file} cannot be read: {error.strerror}.", "fastness node invite NAME, on the head"
        ) from None
    try:
        certificate = install_invitation(content, folder, time.time())
    except NotTrusted as error:
        raise Failure(ExitCode.REFUSED, str(error), "fastness node invite NAME, on the head") from None
    ends = render.moment(certificate.not_after_s)
    talk.say(f"This host is {certificate.claims.name}, until {ends}. {file} is not needed any more: delete it.")
