"""The perimeter of this machine: every process seals itself with what its own kernel has."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Final

import fastness
from fastness.perimeter import proof
from fastness.perimeter.bounds import write_bounds
from fastness.perimeter.port import Confinement, ProbeReport, SealUnavailable
from fastness.perimeter.system import DEVICES, system_readable

_ROOT: Final = str(Path(fastness.__file__).resolve().parents[1])
# Isolated and without site packages: until the seal is set, nothing runs but this package and the standard library.
_LAUNCH: Final = (
    f"import sys; sys.path.append({_ROOT!r}); from fastness.perimeter import kernel, launch; "
    "sys.exit(launch.main(sys.argv[1:], kernel.Kernel()))"
)
_PROBE: Final = f"import sys; sys.path.append({_ROOT!r}); from fastness.perimeter import probe; sys.exit(probe.main())"


class LocalPerimeter:
    """Implements Perimeter. `python` is the interpreter that seals; by default the one that runs this."""

    def __init__(self, python: str = sys.executable) -> None:
        self._python = (python, "-I", "-S", "-c")

    def sealed_argv(self, argv: tuple[str, ...], confinement: Confinement) -> tuple[str, ...]:
        """Return an argv that seals itself, then executes `argv`. Raises ValueError for a relative path."""
        paths = (Path(argv[0]), *confinement.readable, *confinement.writable)
        if relative := [str(path) for path in paths if not path.is_absolute()]:
            raise ValueError(f"a sealed process is told absolute paths only; came {', '.join(relative)}")
        whole = replace(
            confinement,
            readable=(*confinement.readable, *system_readable()),
            writable=(*confinement.writable, *DEVICES),
        )
        return (*self._python, _LAUNCH, write_bounds(whole, os.getpid()), "--", *argv)

    def prove(self) -> ProbeReport:
        """Try what must not be possible; raises SealUnavailable when a layer cannot be set."""
        return proof.prove(self.probe_argv)

    def probe_argv(self, confinement: Confinement) -> tuple[str, ...]:
        """Return an argv that runs the probe program under `confinement`."""
        return self.sealed_argv((*self._python, _PROBE), confinement)

    def check(self) -> ProbeReport:
        """Return the proof; raises SealUnavailable naming every probe that passed."""
        report = self.prove()
        if report.passed:
            leaks = "; ".join(f"{result.id} ({result.attempt}: {result.answer})" for result in report.passed)
            raise SealUnavailable(f"the seal does not hold on this machine, {report.summary()}: {leaks}")
        return report
        return report
