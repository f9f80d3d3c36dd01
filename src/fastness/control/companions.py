"""Those that were begun before the supervisor gave up its sockets, as it sees them: they keep themselves up."""

from __future__ import annotations

from collections.abc import Callable

from fastness.control.site import Progress
from fastness.core.own_process import BY_HAND, WITHOUT, OwnProcess
from fastness.core.replica import ReplicaState
from fastness.telemetry.log import JsonLog


class Companions:
    """Tells of each that ended, once. `look` says how they are; it does not wait."""

    def __init__(self, look: Callable[[], tuple[OwnProcess, ...]], log: JsonLog, progress: Progress) -> None:
        self._look, self._log, self._progress = look, log, progress
        self.seen: tuple[OwnProcess, ...] = ()

    def look(self) -> bool:
        """Look how they are, and tell of what changed; return whether anything did."""
        before = {one.name: one for one in self.seen}
        self.seen = self._look()
        changed = [(before.get(one.name), one) for one in self.seen if before.get(one.name) != one]
        for was, one in changed:
            self._tell(one, was.restarts if was else 0)
        return bool(changed)

    def _tell(self, one: OwnProcess, restarts: int) -> None:
        is_gone = one.state is ReplicaState.STOPPED
        level = "error" if is_gone else "warning" if one.restarts > restarts else "info"
        self._log.record(level, "process", process=one.name, state=one.state.value, restarts=one.restarts, pid=one.pid)
        if is_gone:
            self._progress.warn(f"{one.name} is gone, and {WITHOUT[one.name]}; {BY_HAND}.")
        elif one.restarts > restarts:
            self._progress.warn(f"{one.name} ended, and was started again; `fastness ps` tells more.")
