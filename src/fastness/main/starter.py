"""The starter of engines that have processes, composed: started before the supervisor gives up its sockets."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import fastness
from fastness.config import Settings

if TYPE_CHECKING:
    from fastness.fleet.adopted import Starter

_ROOT: Final = str(Path(fastness.__file__).resolve().parents[1])
_PROGRAM: Final = (
    f"import sys; sys.path.append({_ROOT!r}); from fastness.perimeter import starter; sys.exit(starter.main())"
)


@contextmanager
def starter(settings: Settings, *, unsealed: bool) -> Iterator[Starter | None]:
    """Have a starter while it lasts, where an engine that needs one is configured; raises OSError.

    What it starts becomes the child of this process.
    """
    import socket

    from fastness.fleet.adopted import Starter
    from fastness.perimeter.kernel import PR_SET_CHILD_SUBREAPER, Kernel

    if not settings.engine.vllm_python:
        yield None
        return
    Kernel().prctl(PR_SET_CHILD_SUBREAPER, 1)
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            process = subprocess.Popen(
                (
                    *(sys.executable, "-I", "-S", "-c", _PROGRAM),
                    *(str(theirs.fileno()), str(os.getpid()), "unsealed" if unsealed else "sealed"),
                ),
                env={"LANG": "C.UTF-8"},
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
            )
        try:
            yield Starter(ours)
        finally:
            process.terminate()
            process.wait()
