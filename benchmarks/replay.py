"""Fourteen days of ServeGen's rates under rules of scaling: `python -m benchmarks.replay [--days N] [--check]`.

Three departments, each with a deployment, one for each family of ServeGen's clients (314 in all). Rates, and how much
arrivals vary, are those of the trace; of the two large families a tenth of the requests is taken, so that the three
weigh about the same. The trace has no lengths: those of Azure's conversations are drawn. Engines have a shipped pace,
which is assumed; a replica is ready 90 s after it was ordered, and its device counts from the order until it is gone.

Compared by device-hours: the production plan; fixed numbers of devices, the cheapest that together keep as many
requests within the service level as the plan does (the others are measured by these), the least that keep as many of
each department's, and the least that keep 95% of each; Kubernetes' HPA on utilisation. All of it is the simulation's,
by rates (simulator/flow.py), seeded, and the same on every machine. `--check` plays samples of the same trace request
by request and says how far the rates are from that.
"""

from __future__ import annotations

import argparse
import os
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final

from benchmarks.figures import table
from fastness.core.desired import Scaling
from fastness.simulator.crews import Hpa, Static
from fastness.simulator.flow import PAUSE_PART, STEP_S, Flow, Stream, kept_with, least_static, replay, stream
from fastness.simulator.pace import NamedPace, read_paces
from fastness.simulator.planned import Planned, Wanted
from fastness.simulator.play import Crew, Job, Play
from fastness.simulator.profile import Draw, Profile, measure
from fastness.simulator.servegen import ClientRates, draw_pause_s
from fastness.simulator.slo import Slo
from fastness.simulator.traces import Rates, Requests, load, read

TRACES: Final = Path(os.environ.get("TRACES", Path(__file__).resolve().parents[2] / "shared/data/traces"))
RATES: Final = "servegen/language-rates-only.tar.gz"
LENGTHS: Final = "azure/AzureLLMInferenceTrace_conv.csv"
PARTS: Final = {"language-m-small": 0.1, "language-m-mid": 0.1, "language-m-large": 1.0}
PACE: Final = "h100-80gb/8b-bf16"
SLO: Final = Slo(2.0, 0.1, 0.95)
SEED: Final = 7
TICK_S: Final = 10.0
USE: Final = 0.85
DOWN_S: Final = 300.0
"""How the deployments are set: one more above this part of what a replica can take; one fewer after this time."""
HPA_TARGETS: Final = (0.6, 0.65, 0.7, 0.85)


@dataclass(frozen=True, slots=True)
class Row:
    """One rule: the part of all requests, and of each department's, within the level; devices held on average."""

    rule: str
    kept: float
    parts: tuple[float, ...]
    devices: float
    peak: int


@dataclass(frozen=True, slots=True)
class Site:
    """What is replayed."""

    streams: tuple[Stream, ...]
    profile: Profile
    named: NamedPace
    rates: Rates
    draw: Draw

    @property
    def span_s(self) -> float:
        """How long the replay is."""
        return len(self.streams[0].arrivals) * self.streams[0].step_s

    def first(self, one: Stream) -> int:
        """With how many replicas a deployment begins: what the first ten minutes need."""
        steps = int(600 / one.step_s)
        return int(sum(one.arrivals[:steps]) / 600 / (self.profile.most * USE)) + 1


def site(traces: Path, days: float, step_s: float = STEP_S) -> Site:
    """Read the traces and draw what arrives; raises OSError, TraceError."""
    rates, lengths = read(traces / RATES), read(traces / LENGTHS)
    assert isinstance(rates, Rates) and isinstance(lengths, Requests)
    asked, named = load(lengths), read_paces()[PACE]

    def draw(dice: Random) -> tuple[int, int]:
        one = dice.choice(asked)
        return one.input_tokens, one.output_tokens

    spans = range(min(rates.spans, int(days * 86_400 / rates.span_s)))
    streams = tuple(
        stream(name, [one for one in rates.clients if one.family == name], SEED, part=part, spans=spans, step_s=step_s)
        for name, part in PARTS.items()
    )
    return Site(streams, measure(named.pace, draw, SLO), named, rates, draw)


def played(rule: str, where: Site, crew: Crew, tick_s: float) -> Row:
    """Replay under one rule."""
    flows = [Flow(one, where.profile, SLO) for one in where.streams]
    replay(flows, crew, tick_s)
    held = sum(one.totals.held_s for one in flows) / where.span_s
    peak = max(sum(each.held for each in row) for row in zip(*(one.totals.seen for one in flows), strict=True))
    return Row(rule, _whole(flows), tuple(one.kept / one.asked for one in flows), held, peak)


def _whole(flows: Sequence[Flow]) -> float:
    return sum(one.kept for one in flows) / sum(one.asked for one in flows)


def planned(where: Site, devices: int) -> Planned:
    """The production plan over a site of so many devices; a department is guaranteed a third of them."""
    profile = where.profile
    wanted = [
        Wanted(
            one.name,
            one.name,
            Scaling(1, devices, SLO.ttft_s / 4, 1.0, USE * profile.most * profile.outputs, DOWN_S),
            where.first(one),
            where.named.pace.slots,
        )
        for one in where.streams
    ]
    shares = {one.name: devices // len(where.streams) for one in where.streams}
    return Planned(wanted, devices, where.named.pace.start_s, where.named.accelerator, shares)


class Fixed:
    """What fixed numbers keep; each number is replayed once."""

    def __init__(self, where: Site) -> None:
        self.where = where
        self._known: dict[tuple[str, int], float] = {}

    def kept(self, one: Stream, count: int) -> float:
        """The part of a department's requests within the level with so many replicas."""
        if (one.name, count) not in self._known:
            self._known[one.name, count] = kept_with(one, self.where.profile, SLO, count)
        return self._known[one.name, count]

    def row(self, rule: str, counts: Sequence[int]) -> Row:
        """What these numbers keep."""
        pairs = list(zip(self.where.streams, counts, strict=True))
        kept = tuple(self.kept(one, count) for one, count in pairs)
        return Row(rule, self.whole(counts), kept, float(sum(counts)), sum(counts))

    def whole(self, counts: Sequence[int]) -> float:
        """The part of all requests."""
        pairs = list(zip(self.where.streams, counts, strict=True))
        return sum(self.kept(one, count) * one.total for one, count in pairs) / sum(one.total for one, _ in pairs)

    def least(self, parts: Sequence[float]) -> list[int]:
        """The least for each department that keeps such a part of its requests."""
        pairs = zip(self.where.streams, parts, strict=True)
        return [least_static(one, self.where.profile, SLO, part) for one, part in pairs]

    def cheapest(self, part: float, counts: Sequence[int]) -> list[int]:
        """From `counts` on, one more where it helps most, until all together keep such a part."""
        found = list(counts)
        while self.whole(found) < part:
            streams = self.where.streams
            gains = [
                (self.kept(one, at + 1) - self.kept(one, at)) * one.total
                for one, at in zip(streams, found, strict=True)
            ]
            found[gains.index(max(gains))] += 1
        return found


def compare(where: Site, tick_s: float = TICK_S, hpa: Sequence[float] = HPA_TARGETS) -> list[Row]:
    """Replay under all rules; the first row is the plan's, the second the cheapest fixed numbers that keep as much."""
    fixed = Fixed(where)
    enough = fixed.least([SLO.part] * len(where.streams))
    ours = played("fastness", where, planned(where, 2 * sum(enough)), tick_s)
    some = fixed.least([SLO.part - 0.05] * len(where.streams))
    rows = [
        ours,
        fixed.row("fixed, as much of all together", fixed.cheapest(ours.kept, some)),
        fixed.row("fixed, as much of each department's", fixed.least(ours.parts)),
        fixed.row("fixed, 95% of each department's", enough),
    ]
    first = {one.name: where.first(one) for one in where.streams}
    start_s, most = where.named.pace.start_s, 2 * sum(enough)
    for target in hpa:
        rule = Hpa(target, where.profile.most, start_s, first, most)
        rows.append(played(f"HPA on utilisation, {target:.0%}", where, rule, tick_s))
    return rows


def report(rows: Sequence[Row], span_s: float) -> str:
    """Lay the results out as text."""
    fixed, hours = rows[1].devices, span_s / 3_600
    cells = [
        (
            one.rule,
            f"{one.kept:.2%}",
            " ".join(f"{part:.1%}" for part in one.parts),
            f"{one.devices:.1f}",
            str(one.peak),
            f"{one.devices * hours:,.0f}",
            f"{one.devices / fixed - 1:+.1%}",
        )
        for one in rows
    ]
    return table(("rule", "kept", "by department", "devices", "most", "device-hours", "to fixed"), cells)


@dataclass(frozen=True, slots=True)
class Sample:
    """One span of the trace, both ways: the part kept one by one, and by rates; `use` of what the replicas can take."""

    use: float
    one_by_one: float
    by_rates: float
    requests: int


def check(where: Site, count: int = 4, uses: Sequence[float] = (0.7, 0.9, 1.1), lasts_s: float = 120.0) -> list[Sample]:
    """Play two minutes out of spans by chance with fixed numbers of replicas: one by one, and the same as counts."""
    dice, found = Random(SEED), []
    for _ in range(count):
        name = dice.choice(list(PARTS))
        clients = [one for one in where.rates.clients if one.family == name]
        span = dice.randrange(int(where.span_s / where.rates.span_s))
        steady = [one for one in clients if _is_steady(one, span)]
        if not steady:
            continue
        rate = sum(one.rates[span] for one in steady) * PARTS[name]
        for use in uses:
            replicas = max(1, round(rate / (where.profile.most * use)))
            jobs = sorted(_jobs(steady, span, PARTS[name], lasts_s, where.draw, dice), key=lambda job: job.at_s)
            play = Play(name, where.named.pace, Static({name: replicas}), tick_s=lasts_s)
            play.run(jobs, lasts_s + 60.0)
            kept = sum(job.attains(SLO) for job in jobs) / len(jobs)
            real = len(jobs) / lasts_s / (where.profile.most * replicas)
            counts = array("d", bytes(8 * int(lasts_s / STEP_S)))
            for job in jobs:
                counts[int(job.at_s / STEP_S)] += 1
            by_rates = kept_with(Stream(name, counts, STEP_S), where.profile, SLO, replicas)
            found.append(Sample(real, kept, by_rates, len(jobs)))
    return found


def _is_steady(one: ClientRates, span: int) -> bool:
    rate = one.rates[span] if span < len(one.rates) else 0.0
    return rate > 0 and one.variation[span] / (rate * 600.0) ** 0.5 <= PAUSE_PART


def _jobs(
    clients: Sequence[ClientRates], span: int, part: float, until_s: float, draw: Draw, dice: Random
) -> Iterator[Job]:
    for one in clients:
        kind = "Weibull" if one.weibull[span] else "Gamma"
        at_s = -dice.random() * 60.0  # so that clients do not all begin with a pause
        while at_s < until_s:
            if at_s >= 0 and dice.random() < part:
                yield Job(at_s, *draw(dice))
            at_s += draw_pause_s(dice, kind, one.shapes[span], one.scales[span])


def check_report(samples: Sequence[Sample]) -> str:
    """Lay the samples out as text, with the errors."""
    rows = [
        (f"{one.use:.0%}", f"{one.requests:,}", f"{one.one_by_one:.1%}", f"{one.by_rates:.1%}",
         f"{100 * (one.by_rates - one.one_by_one):+.1f}")
        for one in sorted(samples, key=lambda each: each.use)
    ]  # fmt: skip
    errors = [one.by_rates - one.one_by_one for one in samples]
    mean, size = sum(errors) / len(errors), sum(map(abs, errors)) / len(errors)
    head = ("use", "requests", "one by one", "by rates", "points")
    return table(head, rows) + f"\n\nby rates: {100 * mean:+.1f} points on average, {100 * size:.1f} off either way"


def main() -> int:
    """Read the command line, replay, and print."""
    reader = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    reader.add_argument("--traces", type=Path, default=TRACES)
    reader.add_argument("--days", type=float, default=14.0)
    reader.add_argument("--tick-s", type=float, default=TICK_S, help="between two plans")
    reader.add_argument("--check", action="store_true", help="compare samples with playing them one by one")
    chosen = reader.parse_args()
    try:
        where = site(chosen.traces, chosen.days)
    except OSError as error:
        print(f"The traces are not here ({error}); nothing was replayed. See --traces.")
        return 0
    rates = ", ".join(f"{one.name} {one.total / where.span_s:,.0f}" for one in where.streams)
    print(f"{where.span_s / 86_400:.1f} days; requests a second: {rates}")
    start_s, most = where.named.pace.start_s, where.profile.most
    print(f"{where.named.name} takes {most:.1f} a second, ready after {start_s:.0f} s; {SLO}\n", flush=True)
    if chosen.check:
        print(check_report(check(where)))
    else:
        print(report(compare(where, chosen.tick_s), where.span_s))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
