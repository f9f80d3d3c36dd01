"""What happened in a simulation, for people: a timeline, and what became of the requests."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from fastness.core import fleet_event as events
from fastness.core.fleet_event import FleetEvent
from fastness.core.fleet_state import FleetState
from fastness.fleet.simulated import Cause, Change
from fastness.simulator.request import End, Request

if TYPE_CHECKING:
    from fastness.simulator.command import Command
    from fastness.simulator.serving import Live

LINES_MAX: Final = 100_000
TOGETHER_S: Final = 1.0
"""Lines of one kind within that time are told as one."""
NAMED_MAX: Final = 8
"""How many things one line names; the rest are counted."""


@dataclass(slots=True)
class Cut:
    """Answers that were cut in one moment, and what becomes of them."""

    at_s: float
    open: int = 0
    resumed: int = 0
    failed: int = 0
    longest_s: float = 0.0
    places: dict[str, None] = field(default_factory=dict)


@dataclass(slots=True)
class Tally:
    """What became of the requests for one deployment. `ttfts_s` are those that had a first token, in seconds."""

    asked: int = 0
    ends: Counter[End] = field(default_factory=Counter)
    resumed: int = 0
    output_tokens: int = 0
    ttfts_s: list[float] = field(default_factory=list)

    def percentile_s(self, part: float) -> float:
        """The time to the first token that this part of them stayed below; 0 when there are none."""
        ordered = sorted(self.ttfts_s)
        return ordered[min(len(ordered) - 1, int(part * len(ordered)))] if ordered else 0.0

    def attainment(self, slo_s: float) -> float:
        """The part of those that ended, and did not leave, whose first token came in time; 1 when there are none."""
        counted = self.ends.total() - self.ends[End.CANCELLED]
        return min(1.0, sum(one <= slo_s for one in self.ttfts_s) / counted) if counted > 0 else 1.0


class Story:
    """See the module. `keeps` False: only the figures, no timeline."""

    def __init__(self, keeps: bool = False) -> None:
        self._keeps = keeps
        self.lines: list[tuple[float, str, str]] = []
        """When, of what kind, and what: lines of one kind can be told together; no kind: alone."""
        self.tallies: defaultdict[str, Tally] = defaultdict(Tally)
        self.device_s: Counter[str] = Counter()
        """Seconds that devices were held, by deployment."""
        self.pauses_s: list[float] = []
        """Of the requests that went on elsewhere: the longest pause of each."""
        self._ready_s: dict[str, float] = {}
        self._placed: dict[str, tuple[float, int]] = {}
        self._cuts: dict[Request, Cut] = {}

    def tell(self, at_s: float, text: str, kind: str = "") -> None:
        """Add a line to the timeline."""
        if self._keeps and len(self.lines) < LINES_MAX:
            self.lines.append((at_s, kind, text))

    def timeline(self) -> list[tuple[float, str]]:
        """Return the lines, those that belong together as one."""
        told: list[tuple[float, str]] = []
        kind_before, since_s, things = "", -1.0, list[str]()
        for at_s, kind, text in [*self.lines, (float("inf"), "end", "")]:
            if things and (kind != kind_before or at_s > since_s + TOGETHER_S):
                told.append((since_s, _together(kind_before, things)))
                things = []
            if not kind:
                told.append((at_s, text))
            else:
                since_s = at_s if not things else since_s
                kind_before = kind
                things.append(text)
        return told

    def cut(self, at_s: float, requests: Sequence[Request]) -> None:
        """Answers were cut by a fault, all of them in this moment."""
        one = Cut(at_s)
        for request in requests:
            if request.end is None:
                self._cuts[request] = one
                one.open += 1

    def went_on(self, at_s: float, request: Request, place: str) -> None:
        """An answer that was cut goes on."""
        if (one := self._cuts.pop(request, None)) is not None:
            one.resumed += 1
            one.longest_s = max(one.longest_s, at_s - one.at_s)
            one.places[place] = None
            self._closed(at_s, one)

    def ready_since(self, replica: str) -> float:
        """Since when a replica is ready."""
        return self._ready_s.get(replica, float("inf"))

    def ready(self, at_s: float, replica: str) -> None:
        """A replica became ready."""
        self._ready_s[replica] = at_s
        if self._keeps:
            self.tell(at_s, replica, "ready")

    def down(self, change: Change, answers: int) -> None:
        """A replica serves no more."""
        self._ready_s.pop(change.assignment.replica, None)
        if self._keeps and change.cause is not Cause.ORDERS:
            streams = f", {_streams(answers)}" if answers else ""
            self.tell(change.at_s, f"replica {change.assignment.replica} down: {change.cause}{streams}")

    def arrived(self, request: Request) -> None:
        """A request was accepted."""
        self.tallies[request.asked.deployment].asked += 1

    def ended(self, request: Request) -> None:
        """A request ended."""
        tally = self.tallies[request.asked.deployment]
        assert request.end
        tally.ends[request.end] += 1
        tally.output_tokens += request.sent
        if request.first_s >= 0.0:
            tally.ttfts_s.append(request.ttft_s)
        if (cut := self._cuts.pop(request, None)) is not None:
            cut.failed += request.end is not End.CANCELLED
            self._closed(request.ended_s, cut)
        if request.resumed:
            tally.resumed += 1
            self.pauses_s.append(request.pause_s)

    def commanded(self, at_s: float, command: Command) -> None:
        """Somebody asked for something."""
        if self._keeps:
            self.tell(at_s, f"{type(command).__name__.lower()} {_object(command)}")

    def decided(self, at_s: float, event: FleetEvent, before: FleetState, live: Mapping[str, Live]) -> None:
        """Something was decided."""
        if isinstance(event, events.ReplicaPlaced):
            self._placed[event.replica] = at_s, sum(len(part.devices) for part in event.parts)
        elif isinstance(event, events.ReplicaRemoved):
            self._let_go(at_s, event.replica, before)
        if self._keeps and (told := _sentence(event, before, live)):
            self.tell(at_s, told[1], told[0])

    def close(self, at_s: float, state: FleetState) -> None:
        """Count what is still held."""
        for replica in tuple(self._placed):
            self._let_go(at_s, replica, state)

    def _closed(self, at_s: float, one: Cut) -> None:
        one.open -= 1
        if one.open == 0 and one.resumed + one.failed:
            where = f" on {_named(list(one.places))}, longest pause {one.longest_s:.1f} s" if one.resumed else ""
            self.tell(at_s, f"{_streams(one.resumed)} resumed{where}, {one.failed} failed")

    def _let_go(self, at_s: float, replica: str, state: FleetState) -> None:
        since_s, devices = self._placed.pop(replica)
        self.device_s[state.replicas[replica].deployment] += int((at_s - since_s) * devices)


def _object(command: Command) -> str:
    spec = getattr(command, "spec", None)
    if spec is not None:
        return f"{spec.name} ({spec.scaling.min} to {spec.scaling.max} replicas of {spec.model})"
    return " ".join(str(getattr(command, name)) for name in command.__slots__)


def _sentence(event: FleetEvent, before: FleetState, live: Mapping[str, Live]) -> tuple[str, str] | None:
    """Say what was decided: of what kind, and what."""
    match event:
        case events.ReplicaPlaced():
            places = ", ".join(part.node for part in event.parts)
            return "placed", f"{event.replica} on {places}{' (borrowed)' if event.borrowed else ''}"
        case events.ReplicaDraining():
            there = live.get(event.replica)
            return "", f"{event.replica} drains, {_streams(there.engine.runs if there else 0)}: {event.reason}"
        case events.ReplicaStopping():
            return "", f"{event.replica} stops: {event.reason}"
        case events.NodeLost():
            parts = (any(part.node == event.node for part in one.parts) for one in before.replicas.values())
            return "", f"node {event.node} lost ({event.reason}), {sum(parts)} replicas"
        case events.NodeReturned():
            return "", f"node {event.node} returned"
        case events.DeploymentScaled():
            return "", f"{event.deployment} scaled to {event.replicas}: {event.reason}"
        case events.RevisionPromoted():
            return "", f"{event.deployment} is at revision {event.revision}: {event.reason}"
        case events.RevisionRolledBack():
            return "", f"{event.deployment} goes back from revision {event.revision}: {event.reason}"
    return None


def _together(kind: str, things: Sequence[str]) -> str:
    if len(things) == 1:
        return f"replica {kind}: {things[0]}"
    return f"{len(things)} replicas {kind}: {_named(things)}"


def _named(things: Sequence[str]) -> str:
    more = f" and {len(things) - NAMED_MAX} more" if len(things) > NAMED_MAX else ""
    return ", ".join(things[:NAMED_MAX]) + more


def _streams(count: int) -> str:
    return "1 stream" if count == 1 else f"{count} streams"
