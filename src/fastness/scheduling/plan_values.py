"""What goes into the plan beside state and observation, and what comes out of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from fastness.core.fleet_event import FleetEvent
from fastness.scheduling.placement import NodeRefusal


@dataclass(frozen=True, slots=True)
class PlanBounds:
    """Numbers that the plan keeps to: seconds, parts of one, counts.

    A node silent for `lost_after_s` is lost. A gateway silent for `gateway_silent_s` is no longer waited for; longer,
    since answers may still run through it. When more than `suspicious_part` of the nodes fall silent
    within `suspicious_window_s`, and more than one, the control plane suspects itself. A replica fails when its engine
    was started again `restarts_max` times, or is not ready `ready_within_s` after it was placed. A KV cache fuller than
    `cache_high` asks for a replica more; where the load does not say how many, one more each `settle_s`. A time to the
    first token that is worse by less than `ttft_noise_ms` is noise. `placements_max` replicas are placed in one plan,
    and after `refusals_max` sentences on why nodes refuse, what was said before is said again of other deployments.
    """

    lost_after_s: float = 5.0
    gateway_silent_s: float = 15.0
    suspicious_part: float = 0.5
    suspicious_window_s: float = 15.0
    restarts_max: int = 3
    ready_within_s: float = 600.0
    cache_high: float = 0.9
    settle_s: float = 10.0
    ttft_noise_ms: float = 20.0
    placements_max: int = 100
    refusals_max: int = 5_000


@dataclass(frozen=True, slots=True)
class Heard:
    """When somebody was heard of last, by our clock: when the time in its reports, `at_ms`, changed.

    `fresh` is False until it has changed once: what was only found may be old.
    """

    at_ms: int
    heard_ms: int
    fresh: bool = False


@dataclass(frozen=True, slots=True)
class Tally:
    """What a revision did while it was watched."""

    answered: int = 0
    failed: int = 0
    ttft_ms_sum: int = 0

    @property
    def samples(self) -> int:
        """Answers and failures."""
        return self.answered + self.failed

    @property
    def error_percent(self) -> float:
        """The part that failed, 0.0 to 100.0."""
        return 100.0 * self.failed / self.samples if self.samples else 0.0

    @property
    def ttft_ms(self) -> float:
        """The mean time to the first token."""
        return self.ttft_ms_sum / self.answered if self.answered else 0.0


@dataclass(frozen=True, slots=True)
class Watch:
    """A roll that is watched. `held_ms` is since when its canary stands whole and ready; 0: not yet.

    `last` is what each gateway said last of each revision, `new` and `old` what was counted since the watch began.
    """

    revision: int
    held_ms: int = 0
    passed: bool = False
    last: Mapping[tuple[str, int], Tally] = field(default_factory=lambda: MappingProxyType({}))
    new: Tally = Tally()
    old: Tally = Tally()


@dataclass(frozen=True, slots=True)
class Peak:
    """The most replicas that were needed in a part of time: for whoever waited for an answer, and with batches."""

    at_ms: int
    answers: int
    with_batches: int


@dataclass(frozen=True, slots=True)
class LoadMemory:
    """What is remembered of a deployment's load. Rates are a second, smoothed.

    `counts` is what each gateway counted: asked, answered, tokens. `peaks` are the most replicas that were needed, for
    each part of the time looked back on, by its beginning; that is whole since `since_ms`. `wanted` is what was wanted
    last: when a person has changed it, looking back begins anew.
    """

    at_ms: int
    since_ms: int
    idle_ms: int
    wanted: int
    scaled_ms: int = 0
    counts: Mapping[str, tuple[int, int, int]] = field(default_factory=lambda: MappingProxyType({}))
    arrivals_per_s: float = 0.0
    answers_per_s: float = 0.0
    tokens_per_s: float = 0.0
    peaks: tuple[Peak, ...] = ()


@dataclass(frozen=True, slots=True)
class Refused:
    """Why no node took a deployment's replica, and when that was looked at."""

    at_ms: int
    refusals: tuple[NodeRefusal, ...]


@dataclass(frozen=True, slots=True)
class PlanMemory:
    """What the plan remembers from one time to the next beside the state. Starting without it is safe.

    It has an entry for each node, gateway and deployment there is; `unready` says since when each replica that is not
    ready is not, `refusals` why deployments that lack a place were refused. Nothing grows beyond that. `suspects_ms` is
    since when the control plane suspects itself; 0: it does not.
    """

    tick_ms: int = 0
    nodes: Mapping[str, Heard] = field(default_factory=lambda: MappingProxyType({}))
    gateways: Mapping[str, Heard] = field(default_factory=lambda: MappingProxyType({}))
    suspects_ms: int = 0
    unready: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    watches: Mapping[str, Watch] = field(default_factory=lambda: MappingProxyType({}))
    loads: Mapping[str, LoadMemory] = field(default_factory=lambda: MappingProxyType({}))
    refusals: Mapping[str, Refused] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class Pending:
    """A deployment that is not as wanted, and why. `hopes` says what will change that, if anything.

    `there` are replicas that have devices. Where these are as many as wanted, one of them fails, or has to move.
    """

    deployment: str
    wanted: int
    there: int
    refusals: tuple[NodeRefusal, ...]
    hopes: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do: events to record, in order, then to carry out. `pending` is for people.

    `suspects`, when not empty, says why the control plane trusts its own eyes no more, and evicts nobody.
    """

    events: tuple[FleetEvent, ...] = ()
    memory: PlanMemory = field(default_factory=PlanMemory)
    pending: tuple[Pending, ...] = ()
    suspects: str = ""
