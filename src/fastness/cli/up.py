"""`fastness up`: start everything here and stay in the foreground."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fastness.cli.composition import Composition
from fastness.cli.drill import drill as run_drill
from fastness.cli.foreground import stay
from fastness.cli.outcome import ExitCode, Failure
from fastness.cli.progress import Progress
from fastness.cli.running import find_running, refuse_beside_a_joined
from fastness.cli.talk import Json, Quiet, Talk
from fastness.config import Settings

EXAMPLES = """\
fastness up
fastness up --json --port 0 > ready.json"""


def up(
    ctx: typer.Context,
    host: Annotated[str | None, typer.Option(metavar="ADDRESS", help="Address to listen on (gateway.host).")] = None,
    port: Annotated[
        int | None, typer.Option(metavar="PORT", help="Port to listen on; 0 picks a free one (gateway.port).")
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Be the head of a cluster; its Ray listens on this address of ours (ray.address).",
        ),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Settings file, instead of config.toml in FASTNESS_HOME.")
    ] = None,
    unsealed: Annotated[
        bool, typer.Option("--unsealed", help="Run engines without their seal. For trials only; it is recorded.")
    ] = False,
    drill: Annotated[
        str | None,
        typer.Option("--drill", metavar="unplugged", help="Instead: the whole journey with no network, then exit."),
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Start everything here and stay in the foreground.

    That is the sealed engines, the gateway and the management API. Prints the address, an admin key (once), and
    examples to paste. With --json: one line of JSON once it is ready, and nothing else on stdout. SIGTERM or Ctrl-C
    lets running answers finish and then ends everything.
    """
    composition: Composition = ctx.obj
    if drill is not None:
        raise typer.Exit(run_drill(Talk(as_json, quiet), drill, composition.environ))
    settings, _ = composition.load_settings({"gateway.host": host, "gateway.port": port, "ray.address": ray}, config)
    _refuse_a_second(settings)
    progress = Progress(Talk(as_json, quiet))
    stay(progress, lambda: composition.run_up(settings, progress, unsealed))


def _refuse_a_second(settings: Settings) -> None:
    running = find_running(settings)
    if running:
        raise Failure(
            ExitCode.FAILED,
            f"fastness already runs for {settings.home}: {running.base_url} (pid {running.pid}).",
            "fastness stop; or another FASTNESS_HOME and --port for a second installation",
        )
    refuse_beside_a_joined(settings)
