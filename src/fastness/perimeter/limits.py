"""The limits layer: bounds on memory, files, threads and core dumps."""

from __future__ import annotations

import contextlib
import resource

from fastness.perimeter.bounds import Bounds
from fastness.perimeter.kernel import Kernel

FILE_BYTES_MAX = 1 << 30
"""The largest file a sealed process may write."""


def set_limits(bounds: Bounds, kernel: Kernel) -> None:
    """Set the rlimits of a sealed process.

    RLIMIT_NPROC counts the threads of a user *in its user namespace*: it binds where we made one, and only there
    (the kernel never applies it to uid 0), so that it cannot count another process's threads against an engine.
    """
    set_open_limits(bounds, kernel)
    kernel.setrlimit(resource.RLIMIT_NPROC, bounds.processes_max)
    kernel.setrlimit(resource.RLIMIT_FSIZE, FILE_BYTES_MAX)


def set_open_limits(bounds: Bounds, kernel: Kernel) -> None:
    """Set the rlimits that an unsealed process gets too: memory, open files, and no core dump of anybody's prompts."""
    kernel.setrlimit(resource.RLIMIT_NOFILE, bounds.open_files_max)
    # A limit of 0 does not stop a dump that is piped to a crash reporter; 1 byte stops that and the file alike.
    kernel.setrlimit(resource.RLIMIT_CORE, 1)
    with contextlib.suppress(FileNotFoundError):  # on a kernel that cannot dump core at all
        kernel.write("/proc/self/coredump_filter", "0")  # and should one be made, it has no memory in it
    kernel.setrlimit(resource.RLIMIT_AS, bounds.memory_bytes_max)
