"""How many devices a load needs: on loads small enough to be counted by hand, and seeded."""

from __future__ import annotations

from array import array
from pathlib import Path
from random import Random
from xml.etree import ElementTree

import pytest

from fastness.core.observation import DeploymentLoad, RevisionLoad
from fastness.simulator import profile as profiles
from fastness.simulator.capacity import Answer, NoAnswer, answer
from fastness.simulator.crews import Hpa, Static
from fastness.simulator.engine import EnginePace
from fastness.simulator.flow import Flow, Stream, kept_with, least_static, replay, stream
from fastness.simulator.loads import loads_of_rates, loads_of_requests
from fastness.simulator.pace import NamedPace
from fastness.simulator.panels import panels
from fastness.simulator.play import Play
from fastness.simulator.played import Job
from fastness.simulator.plots import svg
from fastness.simulator.profile import PARTS, Profile, measure
from fastness.simulator.servegen import ClientRates
from fastness.simulator.slo import Slo
from fastness.simulator.trace_error import TraceError
from fastness.simulator.traces import Asked, Rates
from fastness.traffic.fair_queue import Band

# One prompt of 100 tokens is read in 0.1 s, ten tokens are then written in 0.9 s: a replica with a single slot answers
# one request a second.
PACE = EnginePace(1_000.0, 0.1, 0.0, 0.0, 1.0, 1, 0, 20.0, 20.0)
NAMED = NamedPace("toy/model", PACE, "toy", 1, "assumed: a toy", True)
SLO = Slo(0.5, 0.2, 0.9)
EVEN = Profile(10.0, 5.0, (1.0,) * len(PARTS), tuple(part * 4 for part in PARTS))


@pytest.fixture(autouse=True)
def small_profiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profiles, "JOBS", 400)
    monkeypatch.setattr(profiles, "WARM_UP_S", 5.0)


def steady(rate: float, lasts_s: float) -> list[Asked]:
    return [Asked(at / rate, 100, 10) for at in range(int(lasts_s * rate))]


def flow_of(arrivals: list[float], profile: Profile = EVEN, step_s: float = 1.0) -> Flow:
    return Flow(Stream("d", array("d", arrivals), step_s), profile, SLO)


def client(rates: list[float], variation: float = 1.0) -> ClientRates:
    count = len(rates)
    starts = array("d", (600.0 * at for at in range(count)))
    ones = array("d", [1.0] * count)
    return ClientRates(
        "f", "0", starts, array("d", rates), array("d", [variation] * count), ones, ones, bytes(count), {}
    )


# -- requests, one by one ---------------------------------------------------------------------------------------------


def test_a_request_alone_takes_what_its_pace_says() -> None:
    job = Job(1.0, 100, 10)
    Play("d", PACE, Static({"d": 1})).run([job], 10.0)
    assert (job.given_s, job.first_s, job.ended_s) == pytest.approx((1.0, 1.1, 2.0))
    assert job.attains(SLO) and not job.attains(Slo(0.05, 0.2)) and not job.attains(Slo(0.5, 0.05))


def test_a_request_without_a_replica_keeps_to_nothing() -> None:
    job = Job(1.0, 100, 10)
    Play("d", PACE, Static({"d": 0})).run([job], 100.0)
    assert not job.attains(SLO)


def test_batches_fill_what_is_idle_and_step_back() -> None:
    jobs = [Job(10.0 * at, 100, 10) for at in range(1, 9)]
    line = iter([Job(0.0, 100, 10, "lines", Band.BATCH) for _ in range(500)])
    play = Play("d", PACE, Static({"d": 1}), then=lambda job: next(line) if job.band is Band.BATCH else None)
    play.run([next(line), *jobs], 90.0)
    (use,) = play.use.values()
    assert use.batch_alone_s / (use.ready_s - use.interactive_s) > 0.99
    assert all(job.first_s - job.at_s <= 1.2 for job in jobs), "one line ahead of it at most"


def test_no_request_is_lost_while_replicas_come_and_go() -> None:
    class Changing:
        at = 0

        def tick(self, now_s: float, loads: object, in_flight: object) -> None:
            self.at = int(now_s)

        def ready(self, deployment: str) -> tuple[str, ...]:
            return ("a",) if self.at % 20 else ("b", "c")

        def held(self, deployment: str) -> int:
            return 3

    jobs = [Job(one.at_s, 100, 10) for one in steady(0.8, 100)]
    play = Play("d", PACE, Changing(), tick_s=5.0)
    play.run(jobs, 300.0)
    assert all(job.ended_s < 300 for job in jobs)
    assert play.totals.answered == play.totals.asked == len(jobs)


# -- rates ------------------------------------------------------------------------------------------------------------


def test_what_fits_keeps_to_the_level_and_what_comes_too_late_does_not() -> None:
    assert kept_with(Stream("d", array("d", [10.0] * 60), 1.0), EVEN, SLO, 1) == 1.0
    half = kept_with(Stream("d", array("d", [20.0] * 600), 1.0), EVEN, Slo(0.5, 0.2), 1)
    assert half < 0.05, "first come, first served: once it is behind, everybody waits"


def test_the_queue_is_bounded_and_the_rest_refused() -> None:
    flow = flow_of([1e6, 0.0])
    flow.pass_steps(flow.stream.arrivals, 1)
    assert flow.refused == pytest.approx(1e6 - 10 - flow.queue_max)
    assert flow.asked == pytest.approx(flow.served + flow.refused + flow.waiting)


def test_the_least_fixed_number_is_the_least() -> None:
    arrivals = Stream("d", array("d", [35.0] * 100), 1.0)
    count = least_static(arrivals, EVEN, SLO, 0.9)
    assert count == 4
    assert kept_with(arrivals, EVEN, SLO, count) >= 0.9 > kept_with(arrivals, EVEN, SLO, count - 1)


def test_arrivals_have_the_rate_and_the_variation_of_the_trace() -> None:
    for variation, part in ((1.0, 1.0), (3.0, 1.0), (3.0, 0.25)):
        drawn = stream("d", [client([50.0] * 20, variation)], 3, part=part).arrivals
        mean = sum(drawn) / len(drawn)
        spread = sum((one - mean) ** 2 for one in drawn) / len(drawn)
        assert mean == pytest.approx(100 * part, rel=0.05)
        assert spread / mean == pytest.approx(1 + part * (variation**2 - 1), rel=0.15)


def test_a_client_that_was_silent_for_most_of_a_span_is() -> None:
    drawn = stream("d", [client([10.0], variation=60.0)], 3).arrivals  # one pause of 77% of the span explains it
    assert 0.7 < sum(one == 0 for one in drawn) / len(drawn) < 0.8
    assert sum(drawn) / 600 == pytest.approx(10.0, rel=0.1)


def test_arrivals_are_the_same_each_time_and_others_under_another_seed() -> None:
    one, same, other = (stream("d", [client([5.0])], seed).arrivals for seed in (1, 1, 2))
    assert one == same != other


def test_a_profile_knows_what_a_replica_can_take() -> None:
    found = measure(PACE, lambda dice: (100, 10), SLO)
    assert found.most == pytest.approx(1.0, rel=0.02)
    assert found.outputs == 10
    assert found.attains[0] > 0.95 and found.attains[0] > found.attains[-1]
    assert found.running[4] == pytest.approx(0.7, rel=0.1), "at 0.7 requests a second, each 1 s"


# -- the rule of Kubernetes -------------------------------------------------------------------------------------------


def told(answered: int) -> dict[str, DeploymentLoad]:
    return {"d": DeploymentLoad("d", 0, 0, 0.0, 0, answered, revisions=(RevisionLoad(1, answered, 0, 0, 0),))}


def test_hpa_adds_at_once_within_its_bounds_and_takes_away_after_five_minutes() -> None:
    rule, answered, now_s = Hpa(0.5, 10.0, 30.0, {"d": 4}, 100), 0, 0.0

    def pass_time(until_s: float, rate: float) -> None:
        nonlocal answered, now_s
        while now_s < until_s:
            now_s += 15.0
            answered += int(rate * 15)
            rule.tick(now_s, told(answered), {})

    pass_time(15.0, 40.0)
    assert (len(rule.ready("d")), rule.held("d")) == (4, 8), "twice as many, once they have started"
    pass_time(60.0, 40.0)
    assert len(rule.ready("d")) == 8
    pass_time(330.0, 20.0)
    assert rule.held("d") == 8
    pass_time(400.0, 20.0)
    assert rule.held("d") == 4


# -- the answer -------------------------------------------------------------------------------------------------------


def test_a_steady_load_needs_what_can_be_counted_by_hand() -> None:
    (load,) = loads_of_requests(steady(2.5, 120), {"all": 1.0})
    found = answer([load], NAMED, SLO)
    assert found.static == 3, "two and a half a second, on replicas that answer one"
    (need,) = found.needs
    assert need.asked == 300 and need.static_kept >= SLO.part
    assert not found.by_rates and need.points[0].rate == pytest.approx(2.5)


def test_a_load_that_comes_and_goes_needs_fewer_device_hours_when_planned() -> None:
    rates = Rates(Path("made"), (client([1.0, 1.0, 12.0, 12.0, 1.0, 1.0, 1.0, 1.0]),), 600.0, 8)
    (load,) = loads_of_rates(rates, {"all": 1.0}, 1.0, [Asked(0.0, 100, 10)])
    pace = EnginePace(1e4, 0.05, 0.0, 0.0, 1.0, 1, 0, 20.0, 20.0)
    found = answer([load], NamedPace("toy", pace, "toy", 1, "assumed: a toy", True), SLO)
    assert found.by_rates and found.span_s == 4_800
    assert found.kept >= SLO.part
    assert found.saved > 0.2 and found.hours < found.static_hours


def test_departments_are_dealt_the_load_by_their_shares() -> None:
    loads = loads_of_requests(steady(4.0, 250), {"health": 3.0, "justice": 1.0})
    assert [load.name for load in loads] == ["health", "justice"]
    assert len(loads[0].requests) / len(loads[1].requests) == pytest.approx(3, rel=0.2)
    assert sum(len(load.requests) for load in loads) == 1_000


def test_a_level_that_nothing_keeps_to_is_told() -> None:
    (load,) = loads_of_requests(steady(0.1, 100), {"all": 1.0})
    with pytest.raises(NoAnswer, match=r"toy/model: needed ttft<0.01s.*0\.0% keep to it"):
        answer([load], NAMED, Slo(0.01, 0.2, 0.9))


def test_rates_alone_need_lengths_from_elsewhere() -> None:
    with pytest.raises(TraceError, match="--lengths FILE"):
        loads_of_rates(Rates(Path("r"), (client([1.0]),), 600.0, 1), {"all": 1.0}, 1.0, None)


def test_more_departments_than_clients_are_refused() -> None:
    rates = Rates(Path("r"), (client([1.0]),), 600.0, 1)
    with pytest.raises(TraceError, match="too few clients for so many shares: b gets none"):
        loads_of_rates(rates, {"a": 1.0, "b": 1.0}, 1.0, [Asked(0.0, 1, 1)])


# -- plots ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def found() -> Answer:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(profiles, "JOBS", 400)
        patch.setattr(profiles, "WARM_UP_S", 5.0)
        return answer(loads_of_requests(steady(2.5, 120), {"a & b": 1.0, "c": 1.0}), NAMED, SLO)


def test_the_plot_is_one_document_that_needs_nothing_else(found: Answer) -> None:
    root = ElementTree.fromstring(svg(found))
    assert root.tag.endswith("svg")
    texts = " ".join(one.text or "" for one in root.iter())
    assert "requests a second" in texts and "devices (toy)" in texts and str(SLO) in texts
    assert "href" not in svg(found) and "script" not in svg(found)


def test_the_three_panels_say_load_devices_and_what_was_kept(found: Answer) -> None:
    load, devices, kept = panels(found)
    assert max(value for _, value in load.curves[0].pairs) == pytest.approx(2.5, rel=0.2)
    assert devices.curves[1].pairs[0][1] == found.static
    assert 0 <= kept.low < 100 and kept.high == 100


def test_replaying_under_a_fixed_number_is_the_same_as_passing_all_steps_at_once() -> None:
    dice = Random(4)
    arrivals = [dice.random() * 30 for _ in range(300)]
    one, other = flow_of(arrivals), flow_of(arrivals)
    replay([one], Static({"d": 2}), 10.0)
    other.pass_steps(other.stream.arrivals, 2)
    assert one.kept == pytest.approx(other.kept) and one.totals.held_s == 600
