"""The starter of engines that have processes, composed: started before the supervisor gives up its sockets."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import fastness
from fastness.config import Settings
from fastness.main.anew import Companions, companion

if TYPE_CHECKING:
    from fastness.fleet.adopted import Starter

_ROOT: Final = str(Path(fastness.__file__).resolve().parents[1])
_PROGRAM: Final = (
    f"import sys; sys.path.append({_ROOT!r}); from fastness.perimeter import starter; sys.exit(starter.main())"
)


@contextmanager
def starter(settings: Settings, companions: Companions, *, unsealed: bool) -> Iterator[Starter | None]:
    """Have a starter while it lasts, where an engine that needs one is configured; raises OSError.

    What it starts becomes the child of this process.
    """
    import socket

    from fastness.fleet.adopted import Starter

    if not settings.engine.vllm_python:
        yield None
        return
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    argv = (
        *(sys.executable, "-I", "-S", "-c", _PROGRAM),
        *(str(theirs.fileno()), str(os.getpid()), "unsealed" if unsealed else "sealed"),
    )
    with ours, theirs, companion(companions, "starter", argv, {"LANG": "C.UTF-8"}, (theirs.fileno(),), stderr=None):
        theirs.close()  # it is theirs alone: asking fails when nobody is left
        yield Starter(ours)
