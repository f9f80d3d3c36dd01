"""What a verb tells while it waits until what was asked for is true: each stage of each replica, and what it took."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Annotated, Any, Final

import typer

from fastness.cli import fleet_text, render
from fastness.cli.client import Api
from fastness.cli.outcome import ExitCode, Failure
from fastness.cli.talk import Talk

POLL_S: Final = 0.25
TIMEOUT_S: Final = 600.0
PROGRESS_EVERY_S: Final = 2.0
"""How often it is told how far a model is that comes from another host."""
_FETCHED: Final = re.compile(r"fetch (\d+)% of (.*)")
REASONS_AFTER_S: Final = 5.0
"""How long a deployment may be without a place before it is told why."""

Name = Annotated[str, typer.Argument(metavar="NAME", help="The deployment.")]
NoWait = Annotated[bool, typer.Option("--no-wait", help="Return once it is recorded.")]
Timeout = Annotated[float, typer.Option(metavar="SECONDS", min=0.0, help="How long to wait until it is true.")]


@dataclass(slots=True)
class _Seen:
    """One replica as it was seen: its stages with when each began, in seconds of our clock."""

    began_s: float
    current: bool
    stages: list[tuple[str, float]] = field(default_factory=list)
    progress_s: float = 0.0
    left_s: float | None = None
    told: bool = False


@dataclass(slots=True)
class Following:
    """Follows deployments from the ledger entry `since` on. `count`: their steps are counted, as in a roll.

    `expected` is the revision that a roll is to reach: when another is wanted in the end, it was rolled back.
    """

    api: Api
    talk: Talk
    since: int
    count: bool = False
    expected: int | None = None
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    entries: list[int] = field(default_factory=list)
    _replicas: dict[str, _Seen] = field(default_factory=dict)
    answered: int | None = None
    failed: int | None = None
    _served: dict[str, tuple[int, int]] = field(default_factory=dict)
    _explained: set[str] = field(default_factory=set)
    _began_s: float = 0.0

    def until_settled(self, names: list[str], timeout_s: float) -> dict[str, Any]:
        """Wait until each deployment is as wanted; returns what it took. Raises Failure after `timeout_s`.

        It also raises Failure when a revision was rolled back meanwhile.
        """
        return self._wait(names, timeout_s, self._is_settled)

    def until_gone(self, name: str, timeout_s: float) -> dict[str, Any]:
        """Wait until a deployment has no replica any more."""
        return self._wait([name], timeout_s, lambda view: view is None)

    def _wait(
        self, names: list[str], timeout_s: float, true: Callable[[dict[str, Any] | None], bool]
    ) -> dict[str, Any]:
        self._began_s = self.clock()
        while True:
            views = {name: self._view(name) for name in names}
            self._note_events(names)
            for name, view in views.items():
                self._note(name, view)
            self._check_rolled_back(views)
            if all(true(view) for view in views.values()):
                return self._outcome()
            if self.clock() - self._began_s >= timeout_s:
                raise self._too_late(views, timeout_s, true)
            self.sleep(POLL_S)

    def _view(self, name: str) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = self.api.get(f"/deployments/{name}")
        except Failure as failure:
            if failure.exit_code is ExitCode.NOT_FOUND:
                return None
            raise
        return found

    def _note_events(self, names: list[str]) -> None:
        for one in self.api.get("/events", since=self.since, limit=1_000)["events"]:
            self.since = one["index"] + 1
            if one["deployment"] in names:
                self.entries.append(one["index"])

    def _note(self, name: str, view: dict[str, Any] | None) -> None:
        now_s, here = self.clock(), set()
        for one in view["placed"] if view else ():
            assert view is not None
            here.add(one["id"])
            self._note_replica(one, view, now_s)
        for replica, seen in self._replicas.items():
            if replica.rpartition("-")[0] == name and replica not in here and seen.left_s is not None:
                self.talk.say(f"      {replica}   drained and gone {render.duration(now_s - seen.left_s)}")
                seen.left_s = None
        if view is None:
            return
        if view["answered"] is not None:
            self._count(name, view["answered"], view["failed"])
        waits = view["phase"] == "pending" and now_s - self._began_s >= REASONS_AFTER_S
        if waits and name not in self._explained and not self.talk.quiet:
            self._explained.add(name)
            self.talk.say("\n".join(fleet_text.why(self.api.get(f"/deployments/{name}/why"), time.time(), 100)))

    def _count(self, name: str, answered: int, failed: int) -> None:
        """Add what was served since the last look; counters begin anew with a gateway, which is no answer less."""
        before = self._served.get(name, (answered, failed))
        self.answered = (self.answered or 0) + max(0, answered - before[0])
        self.failed = (self.failed or 0) + max(0, failed - before[1])
        self._served[name] = answered, failed

    def _note_replica(self, one: dict[str, Any], view: dict[str, Any], now_s: float) -> None:
        seen = self._replicas.get(one["id"])
        if seen is None:
            fresh = one["state"] != "ready" or one["phase"] != "placed"
            seen = self._replicas[one["id"]] = _Seen(now_s, one["revision"] == view["revision"], told=not fresh)
        if one["phase"] != "placed":
            seen.left_s = now_s if seen.left_s is None else seen.left_s
            return
        stage = "ready" if one["state"] == "ready" else one["stage"] or one["state"] or "placed"
        if not seen.stages or _word(seen.stages[-1][0]) != _word(stage):
            seen.stages.append((stage, now_s))
        elif seen.stages[-1][0] != stage:
            seen.stages[-1] = stage, seen.stages[-1][1]
            self._tell_progress(one, seen, stage, now_s)
        if stage == "ready" and not seen.told:
            seen.told = True
            self.talk.say(f"{self._number(view)}{one['id']} on {' '.join(one['devices'])}   {_took(seen.stages)}")

    def _tell_progress(self, one: dict[str, Any], seen: _Seen, stage: str, now_s: float) -> None:
        """Tell how far a model is that has to come from another host, now and then."""
        found = _FETCHED.fullmatch(stage)
        if found and now_s - seen.progress_s >= PROGRESS_EVERY_S:
            seen.progress_s = now_s
            done = int(found[1]) // 10
            bar = "█" * done + "░" * (10 - done)
            self.talk.say(f"      {one['id']} on {' '.join(one['devices'])}   fetch {bar} {found[1]}% of {found[2]}")

    def _number(self, view: dict[str, Any]) -> str:
        if not self.count:
            return "      "
        done = sum(
            one["revision"] == view["revision"] and one["state"] == "ready" and one["phase"] == "placed"
            for one in view["placed"]
        )
        return f"{done}/{view['wanted']}".ljust(6)

    def _is_settled(self, view: dict[str, Any] | None) -> bool:
        return view is not None and bool(view["settled"])

    def _check_rolled_back(self, views: dict[str, dict[str, Any] | None]) -> None:
        for name, view in views.items():
            if view and self.expected is not None and view["revision"] != self.expected and view["rolled_back"]:
                raise Failure(
                    ExitCode.FAILED,
                    f"Revision {self.expected} of {name} was rolled back: {view['rolled_back']}.",
                    f"fastness events --deployment {name}; revision {view['revision']} is wanted again",
                )

    def _too_late(
        self,
        views: dict[str, dict[str, Any] | None],
        timeout_s: float,
        true: Callable[[dict[str, Any] | None], bool],
    ) -> Failure:
        name = next(name for name, view in views.items() if not true(view))
        view = views[name]
        said = (
            f"it is {view['phase']}, {view['ready']} of {view['wanted']} replicas are ready" if view else "it is gone"
        )
        lines: tuple[str, ...] = ()
        if view:
            reasons = self.api.get(f"/deployments/{name}/why")
            lines = tuple(fleet_text.why(reasons, time.time(), render.UNBOUNDED)[1:])
        return Failure(
            ExitCode.FAILED,
            f"{name} is not as wanted after {render.duration(timeout_s)}: {said}. It goes on without you waiting.",
            f"fastness why {name}; fastness events --deployment {name}",
            lines,
        )

    def _outcome(self) -> dict[str, Any]:
        return {
            "elapsed_s": round(self.clock() - self._began_s, 3),
            "answered": self.answered,
            "failed": self.failed,
            "entries": [self.entries[0], self.entries[-1]] if self.entries else None,
        }


def next_entry(api: Api) -> int:
    """Return the index from which on the ledger has what happens from now on."""
    last = api.get("/events", limit=1)["events"]
    return last[-1]["index"] + 1 if last else 0


def summary(outcome: dict[str, Any]) -> str:
    """Say what it took: `in 3 min 20 s · 0 requests failed · 18,204 served meanwhile · ledger entries 331 to 352`."""
    parts = [f"in {render.duration(outcome['elapsed_s'])}"]
    if outcome["answered"] is not None:
        parts += [f"{outcome['failed']:,} requests failed", f"{outcome['answered']:,} served meanwhile"]
    if outcome["entries"]:
        first, last = outcome["entries"]
        parts.append(f"ledger entries {first:,} to {last:,}" if last > first else f"ledger entry {first:,}")
    return " · ".join(parts)


def only_recorded(talk: Talk) -> None:
    """Say that nothing runs here, so nothing more will happen now."""
    talk.say("Recorded. Nothing runs here: it takes effect at the next start (fastness up).")


def _word(stage: str) -> str:
    return stage.partition(" ")[0]


def _took(stages: list[tuple[str, float]]) -> str:
    told = []
    for (stage, began_s), (_, ended_s) in pairwise(stages):
        fetched = _FETCHED.fullmatch(stage)
        name = f"fetch {fetched[2]}" if fetched else _word(stage)
        told.append(f"{name} {render.duration(ended_s - began_s)}")
    return "   ".join([*told, "ready"])
