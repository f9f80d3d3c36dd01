"""What a family sees of the file system: what its confinement names, and nothing else, not even closed.

Its processes may connect to Unix sockets, which no other layer judges by path. So they get a root of their own, in
which there are no others: a bus, a container engine and the other replicas' sockets do not exist.
"""

from __future__ import annotations

import errno
import os
import stat

from fastness.perimeter.bounds import Bounds
from fastness.perimeter.kernel import Kernel
from fastness.perimeter.landlock import PROCESSES, SHARED_MEMORY, executables

MS_NOSUID, MS_NODEV, MS_NOEXEC = 2, 4, 8
MS_BIND, MS_REC, MS_PRIVATE = 4_096, 16_384, 1 << 18
MNT_DETACH = 2
SHARED_MEMORY_OPTIONS = "size=8g,mode=700"
_ROOT_OPTIONS = "size=1m,mode=755"
_OLD = "/.old"


def enter_view(bounds: Bounds, kernel: Kernel) -> None:
    """Make the first writable directory the place of a new root, lay out in it what is named, and go there.

    Its /proc shows the family, and nobody else. It needs to be in the family's own mount and process namespaces. Raises
    OSError; FileNotFoundError and the like name the path.
    """
    kernel.mount("", "/", "", MS_REC | MS_PRIVATE)
    place, named = bounds.writable[0], _named(bounds)
    sources = [(path, os.open(path, os.O_PATH | os.O_CLOEXEC)) for path in named]
    kernel.mount("tmpfs", place, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, _ROOT_OPTIONS)
    try:
        for name in os.listdir("/"):
            if os.path.islink(f"/{name}"):  # /lib64, by which programs name their loader
                os.symlink(os.readlink(f"/{name}"), f"{place}/{name}")
        for path, source in sources:
            # Not with what is mounted below the place itself: that is the root in the making.
            _lay_out(place + path, path, source, kernel, MS_BIND if path == place else MS_BIND | MS_REC)
    finally:
        for _, source in sources:
            os.close(source)
    for path, target in bounds.links:
        _link(place + path, target)
    for folder, kind, options in ((SHARED_MEMORY, "tmpfs", SHARED_MEMORY_OPTIONS), (PROCESSES, "proc", "")):
        os.makedirs(place + folder, exist_ok=True)
        kernel.mount(kind, place + folder, kind, MS_NOSUID | MS_NODEV | MS_NOEXEC, options)
    os.mkdir(place + _OLD)
    kernel.pivot_root(place, place + _OLD)
    os.chdir("/")
    kernel.unmount(_OLD, MNT_DETACH)
    os.rmdir(_OLD)


def _link(path: str, target: str) -> None:
    """Link to a descriptor by the number of this process, which keeps it open: others of the family do not have it."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    os.symlink(target.replace(f"{PROCESSES}/self/", f"{PROCESSES}/{os.getpid()}/", 1), path)


def view_remedy(error: int) -> str:
    """Say what the view needs."""
    if error in (errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.ELOOP):
        return "every allowed path must exist, and be reachable"
    return (
        "allow mounts in a user namespace, or start as root; a container's security profile has to permit mount, and "
        "its /proc must not be masked in part"
    )


def _named(bounds: Bounds) -> list[str]:
    """Return all that may be touched, outermost first, without what lies below another."""
    wanted = {*bounds.readable, *bounds.writable, *bounds.devices, *executables(bounds.program), bounds.program}
    wanted = {os.path.realpath(os.path.dirname(path)) + "/" + os.path.basename(path) for path in wanted}
    return [
        one
        for one in sorted(wanted)
        if not one.startswith(f"{PROCESSES}/") and not any(one.startswith(f"{other}/") for other in wanted)
    ]


def _lay_out(target: str, path: str, source: int, kernel: Kernel, flags: int) -> None:
    os.makedirs(os.path.dirname(target), exist_ok=True)
    if os.path.islink(path):  # its end is named by itself, or is not to be seen
        if not os.path.lexists(target):
            os.symlink(os.readlink(path), target)
        return
    if stat.S_ISDIR(os.fstat(source).st_mode):
        os.makedirs(target, exist_ok=True)
    else:
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    kernel.mount(f"/proc/self/fd/{source}", target, "", flags)
