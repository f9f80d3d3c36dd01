"""What a verb says: data on stdout (text or JSON), talk on stderr, colour only where a person looks."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, TextIO

import typer

from fastness.cli import render
from fastness.cli.outcome import ExitCode, Failure

Json = Annotated[bool, typer.Option("--json", help="Write JSON on stdout, for scripts.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing on stderr but errors.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]


READABLE_COLUMNS: Final = 100


@dataclass(frozen=True, slots=True)
class Talk:
    """How one invocation speaks, by its `--json`, `--quiet` and `--yes`."""

    as_json: bool = False
    quiet: bool = False
    yes: bool = False

    @property
    def width(self) -> int:
        """Columns of the terminal on stdout; without one, wide enough never to fold a line."""
        return terminal_width(sys.stdout)

    def document(self, value: Any) -> None:
        """Write one JSON document on stdout, on one line."""
        typer.echo(json.dumps(value, ensure_ascii=False, separators=(",", ":")))

    def text(self, text: str) -> None:
        """Write data for people on stdout."""
        typer.echo(text, color=wants_colour(sys.stdout))

    def table(self, columns: Sequence[render.Column], rows: Sequence[Sequence[str]], none: str) -> None:
        """Write a table on stdout; for no rows, say `none` on stderr."""
        if rows:
            self.text(render.table(columns, rows, self.width, wants_colour(sys.stdout)))
        else:
            self.say(none)

    def say(self, text: str) -> None:
        """Write talk on stderr, unless `--quiet`."""
        if not self.quiet:
            typer.echo(text, err=True, color=wants_colour(sys.stderr))

    def confirm(self, question: str) -> None:
        """Ask before something that cannot be undone; raises Failure when the answer is no or nobody can be asked."""
        if self.yes:
            return
        if not sys.stdin.isatty():
            raise Failure(ExitCode.USAGE, f"{question} Nobody can be asked here.", "the same command with --yes")
        typer.echo(f"{question} [y/N] ", nl=False, err=True)
        if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
            raise Failure(ExitCode.FAILED, "Nothing was changed.")


def terminal_width(stream: TextIO) -> int:
    """Return the columns of the terminal behind `stream`, or UNBOUNDED when there is none."""
    return max(40, shutil.get_terminal_size().columns) if stream.isatty() else render.UNBOUNDED


def reading_width(stream: TextIO) -> int:
    """Return where running text is wrapped on `stream`: never beyond a readable line, and not at all off a terminal."""
    return min(terminal_width(stream), READABLE_COLUMNS) if stream.isatty() else render.UNBOUNDED


def wants_colour(stream: TextIO) -> bool:
    """Tell whether to colour `stream`: only a terminal, and only if NO_COLOR is unset or empty."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def tell_failure(failure: Failure) -> None:
    """Write a failure on stderr: what is wrong, the facts, what to try."""
    colour, width = wants_colour(sys.stderr), reading_width(sys.stderr)
    typer.echo(render.paint(render.hanging("error  ", failure.summary, width), "red", colour), err=True, color=colour)
    for line in failure.lines:
        typer.echo(render.hanging("       ", line, width), err=True)
    if failure.hint:
        typer.echo(render.hanging("try    ", failure.hint, width), err=True)
