"""The launcher: `python -I -m fastness.perimeter.launch CONFINEMENT -- PROGRAM …` seals itself and becomes PROGRAM.

It imports before it seals, and holds nothing that the program should not have. Standard library only.
"""

from __future__ import annotations

import os
import sys

from fastness.perimeter.bounds import read_bounds
from fastness.perimeter.kernel import Kernel
from fastness.perimeter.seal import EXIT_STATUS, NotSealed, layers_of, seal

NOT_EXECUTABLE = 127
"""Exit status when the seal held, but the program could not be executed (as shells have it)."""


def main(arguments: list[str], kernel: Kernel) -> int:
    """Seal and execute; returns an exit status only when that failed, after one line on stderr."""
    try:
        confinement, dashes, program, *_ = arguments
        if dashes != "--" or not program.startswith("/"):
            raise ValueError("the program is an absolute path after `--`")  # noqa: TRY301 - one message for all
        bounds = read_bounds(confinement, program)
    except ValueError as error:
        return _fail(EXIT_STATUS, f"not sealed, nothing executed: the confinement cannot be read: {error}")
    try:
        seal(layers_of(bounds), bounds, kernel)
    except NotSealed as error:
        return _fail(EXIT_STATUS, f"not sealed, nothing executed: {error}")
    except Exception as error:  # noqa: BLE001 - whatever happened, nothing may run half sealed
        return _fail(EXIT_STATUS, f"not sealed, nothing executed: {type(error).__name__}: {error}")
    try:
        os.execv(program, arguments[2:])  # noqa: S606 - to become the program is what a launcher is for
    except OSError as error:
        return _fail(NOT_EXECUTABLE, f"sealed, but {program} cannot be executed: {error.strerror}")


def _fail(status: int, line: str) -> int:
    os.write(2, f"fastness: {line}\n".encode())
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], Kernel()))
