"""What stays in the foreground: `up` and `node join`, until they are told to end."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

import typer

from fastness.cli.outcome import ExitCode, Failure
from fastness.cli.progress import Progress
from fastness.perimeter.port import SealUnavailable


def stay(progress: Progress, run: Callable[[], int]) -> NoReturn:
    """Run until it ends, and exit with its code; raises Failure where engines cannot be sealed."""
    try:
        code = run()
    except SealUnavailable as error:
        raise Failure(
            ExitCode.REFUSED,
            f"This machine cannot seal an engine, so none is started: {error}",
            "fastness doctor shows each layer; --unsealed runs without, for trials, and is recorded",
        ) from None
    finally:
        progress.close()
    raise typer.Exit(code)
