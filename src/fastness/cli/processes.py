"""The hidden verbs `gateway`, `control` and `door`: the processes that `fastness up` starts beneath itself."""

from __future__ import annotations

import typer

from fastness.cli.composition import Composition


def gateway(ctx: typer.Context) -> None:
    """Serve the OpenAI API from the snapshots in the run directory; started by `fastness up`."""
    composition: Composition = ctx.obj
    settings, _ = composition.load_settings({})
    raise typer.Exit(composition.run_gateway(settings))


def control(ctx: typer.Context) -> None:
    """Serve the management API on the control socket; started by `fastness up`."""
    composition: Composition = ctx.obj
    settings, _ = composition.load_settings({})
    raise typer.Exit(composition.run_control(settings))


def door(ctx: typer.Context) -> None:
    """Be the door of this host, through which others of the cluster reach it; started by the supervisor."""
    composition: Composition = ctx.obj
    settings, _ = composition.load_settings({})
    raise typer.Exit(composition.run_door(settings))
