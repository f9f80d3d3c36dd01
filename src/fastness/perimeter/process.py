"""The layers that concern the process itself: its lifeline, its session, its open descriptors, its privileges."""

from __future__ import annotations

import errno
import os
import signal
import stat

from fastness.perimeter import kernel as k
from fastness.perimeter.bounds import Bounds
from fastness.perimeter.kernel import Kernel

_AF_UNIX = 1
_SOL_SOCKET, _SO_DOMAIN = 1, 39
_CAPABILITIES_MAX = 64
# No capability for uid 0, none kept or gained by changing uid, none raised as ambient; each with its lock.
_SECUREBITS = 0b1110_1111


def hold_lifeline(bounds: Bounds, kernel: Kernel) -> None:
    """Have the kernel kill this process when its parent dies; raises ProcessLookupError when it has died already.

    The kernel watches the *thread* that started us. It forgets the wish when credentials change, hence a late layer.
    """
    kernel.prctl(k.PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != bounds.parent_pid:
        raise ProcessLookupError(errno.ESRCH, f"the parent is process {os.getppid()}, not {bounds.parent_pid}")


def own_session(_bounds: Bounds, _kernel: Kernel) -> None:
    """Leave the terminal and the process group of whoever started us; make new files private."""
    os.umask(0o077)
    if os.getpgrp() != os.getpid():  # a leader has a group of its own already
        os.setsid()
    for ignored in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores these, and exec would pass that on
        signal.signal(ignored, signal.SIG_DFL)


def close_descriptors(bounds: Bounds, _kernel: Kernel) -> None:
    """Close all but the standard three and those that `bounds` name.

    Raises OSError when one of the three is a socket that reaches the network, or when one that is named is not open or
    is anything but a file of which nothing can be changed through it.
    """
    for descriptor in bounds.descriptors:
        _refuse_all_but_content(descriptor)
    for descriptor in [int(name) for name in os.listdir("/proc/self/fd")]:  # noqa: PTH208 - pathlib is slow to import
        if descriptor in bounds.descriptors:
            continue
        if descriptor > 2:
            try:
                os.close(descriptor)
            except OSError as error:
                if error.errno != errno.EBADF:  # the listing's own descriptor is gone by now
                    raise
        elif stat.S_ISSOCK(os.fstat(descriptor).st_mode) and _family(descriptor) != _AF_UNIX:
            raise OSError(errno.EAFNOSUPPORT, f"descriptor {descriptor} is a socket of family {_family(descriptor)}")


def _refuse_all_but_content(descriptor: int) -> None:
    """Raise OSError unless `descriptor` is a regular (or memory) file, open for reading only or sealed for good."""
    import fcntl  # here, because most engines' starts are told of no descriptor

    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        raise OSError(errno.EINVAL, f"descriptor {descriptor} is not a file: only files may be passed on")
    flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
    if flags & os.O_ACCMODE == os.O_RDONLY and not flags & os.O_PATH:
        return
    try:
        seals = fcntl.fcntl(descriptor, fcntl.F_GET_SEALS)
    except OSError:  # a file of a disk, which has no seals
        seals = 0
    wanted = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW
    if seals & wanted != wanted:
        raise OSError(errno.EACCES, f"descriptor {descriptor} can be written: pass on what is read-only or sealed")


def drop_capabilities(_bounds: Bounds, kernel: Kernel) -> None:
    """Give up every capability, and every way to have one again."""
    for capability in range(_CAPABILITIES_MAX):
        try:
            held = kernel.prctl(k.PR_CAPBSET_READ, capability)
        except OSError as error:
            if error.errno == errno.EINVAL:  # past the last one this kernel knows
                break
            raise
        if held:
            kernel.prctl(k.PR_CAPBSET_DROP, capability)
    kernel.prctl(k.PR_CAP_AMBIENT, k.PR_CAP_AMBIENT_CLEAR_ALL)
    kernel.prctl(k.PR_SET_SECUREBITS, _SECUREBITS)
    kernel.drop_capabilities()


def refuse_privileges(_bounds: Bounds, kernel: Kernel) -> None:
    """Let nothing executed from here on gain a privilege (set-uid files, file capabilities)."""
    kernel.prctl(k.PR_SET_NO_NEW_PRIVS, 1)


def _family(descriptor: int) -> int:
    import socket  # here, because it costs 5 ms and only a socket needs it

    copy = socket.socket(fileno=os.dup(descriptor))
    try:
        return copy.getsockopt(_SOL_SOCKET, _SO_DOMAIN)
    finally:
        copy.close()
