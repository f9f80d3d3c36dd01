"""`fastness up --drill unplugged`: the whole journey with no way out, timed, on an installation made for it."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Final

from fastness.cli import render
from fastness.cli.outcome import ExitCode, Failure
from fastness.cli.perimeter import said_why_not, tell_step
from fastness.cli.talk import Talk, wants_colour

DRILLS: Final = ("unplugged",)


def drill(talk: Talk, name: str, environ: Mapping[str, str]) -> ExitCode:
    """Run a drill and return the exit code: 0 when every step held. Raises Failure for a drill that there is not."""
    from fastness.perimeter.trial import trial

    if name not in DRILLS:
        raise Failure(ExitCode.USAGE, f"There is no drill {name[:40]!r}.", f"--drill {DRILLS[0]}")
    began = time.monotonic()
    talk.say("drill      a new installation, in a network of its own that has a loopback and no route\n")
    steps = []
    with said_why_not():
        for told in trial(environ, captured=False):
            steps.append(told["step"])
            tell_step(talk, told["step"])
    elapsed_s = time.monotonic() - began
    held = sum(step["held"] for step in steps)
    over = bool(steps) and steps[-1]["name"] == "stop"
    if talk.as_json:
        whole = {"drill": name, "held": held == len(steps) and over, "steps": steps, "elapsed_s": round(elapsed_s, 3)}
        talk.document(whole)
    else:
        verdict = f"{held} of {len(steps)} steps held with no way out, in {render.duration(elapsed_s)}"
        colour = "green" if held == len(steps) and over else "red"
        talk.text(render.paint(f"\n{verdict}", colour, wants_colour(sys.stdout)))
    return ExitCode.OK if held == len(steps) and over else ExitCode.FAILED
