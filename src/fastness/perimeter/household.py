"""The layer of families: their processes are in a namespace of their own, and all end with the first of them.

The launcher parts in two. One half stays outside as the guard: it waits, passes SIGTERM on, and ends as the family
ends. The other goes on and becomes the program, which is process 1 of the namespace: when it ends, however it ends, the
kernel ends all others, wherever they have gone. It ends when the guard does, and the guard when whoever started it
does.
"""

from __future__ import annotations

import errno
import os
import signal

from fastness.perimeter import kernel as k
from fastness.perimeter.bounds import Bounds
from fastness.perimeter.kernel import Kernel
from fastness.perimeter.process import drop_capabilities, hold_lifeline, refuse_privileges

GANG_ENDED = b"fastness: the gang ended: another member of it is gone, or a door between them\n"
_PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def begin_household(bounds: Bounds, kernel: Kernel) -> None:
    """Return in the program's half only. Raises OSError, ProcessLookupError when whoever started us is gone."""
    import select  # here, because a single process needs it not

    lifeline, held = os.pipe()
    program = os.fork()
    if program:
        os.close(lifeline)
        _guard(program, bounds, kernel)
    os.close(held)
    if bounds.attachment is not None:  # it is the guard's alone
        os.close(bounds.attachment)
    hold_on(bounds, kernel)
    if select.select((lifeline,), (), (), 0)[0]:  # its other end is closed: the guard died before we said so
        raise ProcessLookupError(errno.ESRCH, "the guard is gone")
    os.close(lifeline)


def hold_on(_bounds: Bounds, kernel: Kernel) -> None:
    """Have the kernel kill this process when the guard dies."""
    kernel.prctl(k.PR_SET_PDEATHSIG, signal.SIGKILL)


def _watch(program: int, attachment: int) -> None:
    """Return when the program has ended; end it when the door lets go of its gang."""
    import select

    ended = os.pidfd_open(program)
    watched = select.poll()
    for one in (ended, attachment):
        watched.register(one, select.POLLIN)
    if all(one != ended for one, _ in watched.poll()):
        os.write(2, GANG_ENDED)
        os.kill(program, signal.SIGKILL)


def _guard(program: int, bounds: Bounds, kernel: Kernel) -> None:
    """Give up all rights, wait for the end of the family, and end in the same way."""
    try:
        drop_capabilities(bounds, kernel)
        refuse_privileges(bounds, kernel)
        hold_lifeline(bounds, kernel)
    except BaseException:
        os.kill(program, signal.SIGKILL)
        raise
    for number in _PASSED_ON:
        signal.signal(number, lambda number, _: os.kill(program, number))
    if bounds.attachment is not None:
        _watch(program, bounds.attachment)
    _, status = os.waitpid(program, 0)  # Python goes on with it after a signal
    if not os.WIFSIGNALED(status):
        os._exit(os.WEXITSTATUS(status))
    ended_by = os.WTERMSIG(status)
    if ended_by != signal.SIGKILL:
        signal.signal(ended_by, signal.SIG_DFL)
    os.kill(os.getpid(), ended_by)
    os._exit(128 + ended_by)
