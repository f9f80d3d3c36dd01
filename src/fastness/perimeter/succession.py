"""Keeps up what the supervisor cannot start a second time: whichever process of it is killed, another brings it back.

What the supervisor gave up, all that it starts has given up. So what needs more is begun before: one process, the
keeper, which confines itself and from then on does nothing but wait for its two children, both forks of it and as
confined as it is. The worker does what it is all for. The successor waits until keeper and worker are gone, and is the
keeper then: a child of the supervisor, which is a subreaper, and ending with it. Only where keeper and successor are
killed at once does nobody come. Standard library only.
"""

from __future__ import annotations

import os
import signal
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import Final, NoReturn

from fastness.perimeter import kernel as k
from fastness.perimeter.kernel import Kernel

PAUSE_FIRST_S: Final = 0.1
PAUSE_MAX_S: Final = 5.0
"""Before a child that ends soon is begun again: it is never given up, but tried as seldom as this."""
WELL_S: Final = 10.0
"""Whoever ran for so long did not fail at its start: the next start does not wait longer than the first."""
_HEARD: Final = (signal.SIGTERM, signal.SIGCHLD)
_LONG_S: Final = 3_600.0

Work = Callable[[int], object]


def keep(work: Work, told: int) -> None:
    """Be the keeper until SIGTERM: have `work` done in a child, and again whenever that ends.

    Call it in a child of the supervisor that is confined already and has one thread. `told` is a pipe in which the
    supervisor reads the worker's process id at each start and 0 at each end, a line each, and the end when neither
    keeper nor successor is left. `work` is given the descriptor by which the successor knows that there is a worker:
    what it executes in its own place should inherit that, and nothing else should.
    """
    supervisor = os.getppid()
    signal.pthread_sigmask(signal.SIG_BLOCK, _HEARD)
    os.set_inheritable(told, False)
    os.set_blocking(told, False)
    while _reign(work, told, supervisor):
        pass


def _reign(work: Work, told: int, supervisor: int) -> bool:
    """Be the keeper until SIGTERM. Returns True in another process: in the successor, when it is to be the next one."""
    keeper, (alive, held) = os.getpid(), os.pipe()
    successor, worker = _Child(), _Child(told)
    while True:
        if successor.fork():
            os.close(held)
            _succeed(alive, keeper, supervisor)
            return True
        if worker.fork():
            os.close(alive)
            os.close(told)
            _do(work, held, keeper)
        heard = signal.sigtimedwait(_HEARD, min(successor.wait_s(), worker.wait_s()))
        with suppress(ChildProcessError):
            while pid := os.waitpid(-1, os.WNOHANG)[0]:
                for child in (successor, worker):
                    if child.pid == pid:
                        child.ended()
        if heard is not None and heard.si_signo == signal.SIGTERM:
            successor.end(signal.SIGKILL)  # first of all, or it would succeed
            worker.end(signal.SIGTERM)
            return False


class _Child:
    """A child of the keeper, forked again when it has ended. `pid` is 0 while there is none; `told` hears of each."""

    def __init__(self, told: int | None = None) -> None:
        self._told = told
        self._due_s = self._began_s = 0.0
        self._pause_s = PAUSE_FIRST_S
        self.pid = 0

    def fork(self) -> bool:
        """Fork it if there is none and it is time; True in the child. A fork that fails counts as a child that does."""
        if self.pid or self.wait_s():
            return False
        self._began_s = time.monotonic()
        try:
            self.pid = os.fork()
        except OSError:
            self.ended()
            return False
        if self.pid:
            self._tell()
        return self.pid == 0

    def wait_s(self) -> float:
        """Return for how long nothing is to be done for it, unless it ends."""
        return _LONG_S if self.pid else max(0.0, self._due_s - time.monotonic())

    def ended(self) -> None:
        """Take note of its end."""
        now_s = time.monotonic()
        self._pause_s = PAUSE_FIRST_S if now_s - self._began_s > WELL_S else min(2 * self._pause_s, PAUSE_MAX_S)
        self.pid, self._due_s = 0, now_s + self._pause_s
        self._tell()

    def end(self, number: int) -> None:
        """End it for good, by a signal, and wait for its end."""
        if self.pid:
            os.kill(self.pid, number)
            os.waitpid(self.pid, 0)

    def _tell(self) -> None:
        if self._told is not None:
            with suppress(OSError):  # nobody reads: it goes on all the same
                os.write(self._told, b"%d\n" % self.pid)


def _succeed(alive: int, keeper: int, supervisor: int) -> None:
    """Wait until keeper and worker are gone; return as a child of the supervisor, or end where that is gone, too."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _HEARD)
    os.read(alive, 1)  # nothing is ever written: it ends when nobody holds the other end any more
    os.close(alive)
    while os.getppid() == keeper:  # its descriptors go before it does
        time.sleep(0.001)
    signal.pthread_sigmask(signal.SIG_BLOCK, _HEARD)
    Kernel().prctl(k.PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != supervisor:
        os._exit(0)


def _do(work: Work, held: int, keeper: int) -> NoReturn:
    """Be the worker; it ends with the keeper."""
    try:
        Kernel().prctl(k.PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == keeper:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _HEARD)
            work(held)
    except BaseException:  # noqa: BLE001 - a child never returns into its parent's code
        traceback.print_exc()
        os._exit(1)
    os._exit(0)
