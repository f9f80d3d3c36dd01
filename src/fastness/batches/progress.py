"""What a batch goes through. Pure: state and event in, state out; `now_s` is in seconds since 1970.

validating -> in_progress -> finalizing -> completed | expired
validating | in_progress -> cancelling -> cancelled
anything that has not ended -> failed
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

from fastness.core.batch import LineError
from fastness.core.error import Refusal


class State(Enum):
    """Where a batch stands; the values are OpenAI's."""

    VALIDATING = "validating"
    IN_PROGRESS = "in_progress"
    FINALIZING = "finalizing"
    CANCELLING = "cancelling"
    COMPLETED = "completed"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    FAILED = "failed"


ENDED: Final = frozenset({State.COMPLETED, State.EXPIRED, State.CANCELLED, State.FAILED})


@dataclass(frozen=True, slots=True)
class Validated:
    """Every line of the input is well-formed."""

    total: int


@dataclass(frozen=True, slots=True)
class Unusable:
    """The input cannot be worked on."""

    errors: tuple[LineError, ...]


@dataclass(frozen=True, slots=True)
class Answered:
    """A line has its result on disk."""

    ok: bool


@dataclass(frozen=True, slots=True)
class Counted:
    """How many results were found on disk after a start."""

    completed: int
    failed: int


class Turn(Enum):
    """What else happens to a batch."""

    CANCEL = "somebody asked to cancel it"
    WINDOW_OVER = "its completion window is over"
    WORKED_OFF = "every line has its result"
    FILED = "its results are files"


Event = Validated | Unusable | Answered | Counted | Turn


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a batch is. `aim` is what it will be once its results are filed."""

    status: State = State.VALIDATING
    aim: State = State.COMPLETED
    total: int = 0
    completed: int = 0
    failed: int = 0
    in_progress_s: int | None = None
    finalizing_s: int | None = None
    completed_s: int | None = None
    failed_s: int | None = None
    expired_s: int | None = None
    cancelling_s: int | None = None
    cancelled_s: int | None = None
    errors: tuple[LineError, ...] = ()

    @property
    def ended(self) -> bool:
        """Whether nothing will happen to it any more."""
        return self.status in ENDED

    @property
    def ended_s(self) -> int | None:
        """When it ended."""
        times = (self.completed_s, self.failed_s, self.expired_s, self.cancelled_s)
        return next((one for one in times if one is not None), None)


def apply(progress: Progress, event: Event, now_s: int) -> Progress:
    """Return what `progress` is after `event`; raises Refusal (conflict) to cancel what has ended or is ending.

    An event that comes too late changes nothing: a batch that was cancelled may still hear of its last answers.
    """
    if isinstance(event, Answered):
        ok = int(event.ok)
        return replace(progress, completed=progress.completed + ok, failed=progress.failed + 1 - ok)
    if isinstance(event, Counted):
        return replace(progress, completed=event.completed, failed=event.failed)
    if isinstance(event, Turn):
        return _TURNS[event](progress, now_s)
    if isinstance(event, Unusable):
        if progress.ended:
            return progress
        return replace(progress, status=State.FAILED, failed_s=now_s, errors=event.errors)
    if progress.status is not State.VALIDATING:
        return progress
    return replace(progress, status=State.IN_PROGRESS, in_progress_s=now_s, total=event.total)


def _cancel(progress: Progress, now_s: int) -> Progress:
    if progress.status is State.CANCELLING:
        return progress
    if progress.status not in (State.VALIDATING, State.IN_PROGRESS):
        message = f"The batch is {progress.status.value}: only one that is validating or in_progress can be cancelled."
        raise Refusal("conflict", message)
    return replace(progress, status=State.CANCELLING, aim=State.CANCELLED, cancelling_s=now_s)


def _window_over(progress: Progress, now_s: int) -> Progress:
    if progress.status not in (State.VALIDATING, State.IN_PROGRESS):
        return progress
    return replace(progress, status=State.FINALIZING, aim=State.EXPIRED, finalizing_s=now_s)


def _worked_off(progress: Progress, now_s: int) -> Progress:
    if progress.status is not State.IN_PROGRESS:
        return progress
    return replace(progress, status=State.FINALIZING, finalizing_s=now_s)


def _filed(progress: Progress, now_s: int) -> Progress:
    if progress.status not in (State.FINALIZING, State.CANCELLING):
        return progress
    done = replace(progress, status=progress.aim)
    if progress.aim is State.CANCELLED:
        return replace(done, cancelled_s=now_s)
    if progress.aim is State.EXPIRED:
        return replace(done, expired_s=now_s)
    return replace(done, completed_s=now_s)


_TURNS: Final = {
    Turn.CANCEL: _cancel,
    Turn.WINDOW_OVER: _window_over,
    Turn.WORKED_OFF: _worked_off,
    Turn.FILED: _filed,
}
