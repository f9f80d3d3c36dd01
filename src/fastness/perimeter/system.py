"""Which files of this machine a sealed Python needs to start: as few as will do."""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path
from typing import Final

import fastness

DEVICES: Final = (Path("/dev/null"),)
"""Writable for every sealed process."""

_SYSTEM: Final = (
    Path("/lib"),
    Path("/lib64"),
    Path("/usr/lib"),
    Path("/usr/lib64"),
    Path("/etc/ld.so.cache"),
    Path("/dev/urandom"),
    Path("/sys/devices/system/cpu"),  # how many cores there are: OpenMP and llama.cpp look
)


def system_readable() -> tuple[Path, ...]:
    """Return the files and directories that this Python and its libraries are read from; all of them exist.

    Of a virtual environment that is its packages and `pyvenv.cfg`; of the Python it was made from, the standard
    library and the shared libraries beside it. No home directory, no /etc, no /proc, no /tmp.
    """
    places = sysconfig.get_paths()
    wanted = [Path(places[name]) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    wanted += [Path(sys.prefix) / "pyvenv.cfg", *(Path(sys.base_prefix) / "lib").glob("lib*.so*")]
    wanted += [Path(fastness.__file__).resolve().parents[1], *_SYSTEM]
    found = sorted({path.resolve() for path in wanted if path.exists()})
    return tuple(path for path in found if not any(other in path.parents for other in found))
