"""The control processes as the supervisor starts them: one leads, and the others wait to take over."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fastness.config import Settings
from fastness.main.children import Watch, own_process

if TYPE_CHECKING:
    from fastness.fleet.supervised import Supervised

STOP_TIMEOUT_S: Final = 10.0
"""From SIGTERM to SIGKILL: nobody who is served waits for it, and one that hangs keeps the next from leading."""
MISSES_MAX: Final = 4
"""Questions in a row without an answer, and `control.silence_max_s`: then it hangs. A refusal comes at once."""
ANSWER_PART, PERIOD_PART = 0.2, 0.05
"""Of `control.silence_max_s`: how long an answer may take, and what passes until the next question. Four times both."""
HUNG_TIMEOUT_S: Final = 0.5
"""From SIGTERM to SIGKILL for one that hangs: as long as it holds the lock, nobody else leads."""


class _TakingOver:
    """Whoever waited and leads now has to read the ledger before it answers: that is a start, and no silence."""

    def __init__(self, start_timeout_s: float, now: Callable[[], float]) -> None:
        self._start_timeout_s, self._now = start_timeout_s, now
        self._leads: int | None = None
        self._since_s, self._answered = 0.0, False

    def goes_on(self, leads: int, *, answers: bool) -> bool:
        """Take note whether `leads`, a process id, answers; tell whether it is still taking over."""
        if leads != self._leads:
            self._leads, self._since_s, self._answered = leads, self._now(), False
        self._answered |= answers
        return not self._answered and self._now() - self._since_s < self._start_timeout_s


def controls(settings: Settings, socket: Path, on_change: Callable[[], None]) -> tuple[Supervised, ...]:
    """Describe all of them; `socket` is where the one that leads answers."""
    from fastness.control.leading import leader
    from fastness.core.replica import ReplicaState
    from fastness.fleet.probe import status_of

    made: list[Supervised] = []
    silent_s = settings.control.silence_max_s
    watch = Watch(silent_s * PERIOD_PART, MISSES_MAX, HUNG_TIMEOUT_S, silent_s)
    taking_over = _TakingOver(settings.engine.start_timeout_s, time.monotonic)

    async def is_ready(number: int) -> bool:
        """The one that leads has to answer; another one has nothing to do while one of the others leads."""
        leads = leader(settings.home)
        if leads is not None and leads == made[number].pid:
            answers = await status_of(socket, "/api/v1/status", silent_s * ANSWER_PART) == 200
            waited = made[number].state is ReplicaState.READY  # one that leads from its start has to answer first
            return (taking_over.goes_on(leads, answers=answers) and waited) or answers
        return leads is not None and leads in [one.pid for one in made]

    made.extend(
        own_process(settings, "control", partial(is_ready, number), STOP_TIMEOUT_S, on_change=on_change, watch=watch)
        for number in range(1 + settings.control.standbys)
    )
    return tuple(made)
