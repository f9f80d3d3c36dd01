"""The control processes as the supervisor starts them: one leads, and the others wait to take over."""

from __future__ import annotations

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
"""Questions in a row without an answer: then it hangs. Each is waited for, and so is the next question."""
ANSWER_PART, PERIOD_PART = 0.2, 0.05
"""Of `control.silence_max_s`: how long an answer may take, and what passes until the next question. Four times both."""
HUNG_TIMEOUT_S: Final = 0.5
"""From SIGTERM to SIGKILL for one that hangs: as long as it holds the lock, nobody else leads."""


def controls(settings: Settings, socket: Path, on_change: Callable[[], None]) -> tuple[Supervised, ...]:
    """Describe all of them; `socket` is where the one that leads answers."""
    from fastness.control.leading import leader
    from fastness.fleet.probe import status_of

    made: list[Supervised] = []
    silent_s = settings.control.silence_max_s
    watch = Watch(silent_s * PERIOD_PART, MISSES_MAX, HUNG_TIMEOUT_S)

    async def is_ready(number: int) -> bool:
        """The one that leads has to answer; another one has nothing to do while one of the others leads."""
        leads = leader(settings.home)
        if leads == made[number].pid:
            return await status_of(socket, "/api/v1/status", silent_s * ANSWER_PART) == 200
        return leads is not None and leads in [one.pid for one in made]

    made.extend(
        own_process(settings, "control", partial(is_ready, number), STOP_TIMEOUT_S, on_change=on_change, watch=watch)
        for number in range(1 + settings.control.standbys)
    )
    return tuple(made)
