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


def close_descriptors(_bounds: Bounds, _kernel: Kernel) -> None:
    """Close all but the standard three; raises OSError when one of those is a socket that reaches the network."""
    for descriptor in [int(name) for name in os.listdir("/proc/self/fd")]:  # noqa: PTH208 - pathlib is slow to import
        if descriptor > 2:
            try:
                os.close(descriptor)
            except OSError as error:
                if error.errno != errno.EBADF:  # the listing's own descriptor is gone by now
                    raise
        elif stat.S_ISSOCK(os.fstat(descriptor).st_mode) and _family(descriptor) != _AF_UNIX:
            raise OSError(errno.EAFNOSUPPORT, f"descriptor {descriptor} is a socket of family {_family(descriptor)}")


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
