"""`fastness simulate`: what the production decisions would do with a fleet that is only imagined."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from fastness.cli import render
from fastness.cli.outcome import ExitCode, Failure
from fastness.cli.render import Column
from fastness.cli.talk import Json, Quiet, Talk

if TYPE_CHECKING:
    from fastness.simulator.laws import Broken
    from fastness.simulator.world import World

EXAMPLES = """\
fastness simulate power-cut
fastness simulate --seed 88121 --hours 6 --json"""

COLUMNS = (
    Column("DEPLOYMENT", firm=True),
    Column("ASKED", right=True),
    Column("ANSWERED", right=True),
    Column("RESUMED", right=True, spare=2),
    Column("REFUSED", right=True, spare=3),
    Column("EXPIRED", right=True, spare=4),
    Column("LEFT", right=True, spare=5),
    Column("FAILED", right=True),
    Column("TTFT P50", right=True),
    Column("TTFT P95", right=True),
    Column("SLO", right=True),
    Column("DEVICE HOURS", right=True, spare=1),
)


def simulate(
    scenario: Annotated[str, typer.Argument(help="A shipped scenario or a TOML file; none: drawn from --seed.")] = "",
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="Chance begins here: the same is the same.")] = None,
    hours: Annotated[
        float | None, typer.Option("--hours", min=0.05, max=1_000.0, help="How long, in simulated hours.")
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Play a fleet, its load and its accidents in virtual time.

    Scheduling, fair queue, choice of replica and circuits are the code that runs in production; nodes and engines are
    simulated. The laws are looked at in each event: exits with 1 when one is broken. Needs no running installation.
    """
    from fastness.simulator.laws import Broken
    from fastness.simulator.story import Story
    from fastness.simulator.world import World

    talk = Talk(as_json, quiet)
    chosen, about = _scenario(scenario, seed, hours)
    world, broken = World(chosen, story=Story(keeps=True)), None
    try:
        world.run()
    except Broken as found:
        broken = found
        world.story.close(world.now_s, world.control.state)
    if as_json:
        talk.document(document(world, broken))
    else:
        talk.say(f"{about}\n")
        for at_s, text in world.story.timeline():
            talk.text(render.hanging(f"{clock(at_s)}  ", text, talk.width))
        talk.text("")
        talk.table(COLUMNS, rows(world), "Nothing was asked.")
        talk.text("")
        talk.text(verdict(world, broken))
    raise typer.Exit(ExitCode.FAILED if broken else ExitCode.OK)


def clock(at_s: float) -> str:
    """Write the time since the beginning: `0:14:07`."""
    whole = int(at_s)
    return f"{whole // 3_600}:{whole // 60 % 60:02}:{whole % 60:02}"


def rows(world: World) -> list[tuple[str, ...]]:
    """One line for each deployment that was asked or held devices."""
    return [
        (
            one["deployment"],
            render.count(one["asked"]),
            render.count(one["ends"].get("answer", 0)),
            render.count(one["resumed"]),
            render.count(one["ends"].get("refused", 0)),
            render.count(one["ends"].get("expired", 0)),
            render.count(one["ends"].get("cancelled", 0)),
            render.count(one["ends"].get("error", 0) + one["ends"].get("lost", 0)),
            render.duration(one["ttft_p50_s"]),
            render.duration(one["ttft_p95_s"]),
            f"{100 * one['slo_attainment']:.1f}%",
            f"{one['device_hours']:.1f}",
        )
        for one in figures(world)
    ]


def figures(world: World) -> list[dict[str, Any]]:
    """What became of each deployment."""
    story, slo_s = world.story, world.scenario.slo_ttft_s
    found = []
    for name in sorted(story.tallies.keys() | story.device_s.keys()):
        tally = story.tallies[name]
        found.append(
            {
                "deployment": name,
                "asked": tally.asked,
                "ends": {end.value: count for end, count in tally.ends.items()},
                "resumed": tally.resumed,
                "output_tokens": tally.output_tokens,
                "ttft_p50_s": round(tally.percentile_s(0.5), 3),
                "ttft_p95_s": round(tally.percentile_s(0.95), 3),
                "slo_attainment": round(tally.attainment(slo_s), 4),
                "device_hours": round(story.device_s[name] / 3_600, 2),
            }
        )
    return found


def verdict(world: World, broken: Broken | None) -> str:
    """Say whether the laws held, and how to see it again."""
    scenario = world.scenario
    if broken is None:
        looks = render.count(world.laws.checks)
        return f"laws       kept in {looks} looks over {render.duration(world.now_s)}, seed {scenario.seed}"
    drawn = scenario.name.startswith("seed ")
    again = "" if drawn else f" {scenario.name}"
    hours = scenario.until_s / 3_600
    return f"broken     {broken}\nreplay     fastness simulate{again} --seed {scenario.seed} --hours {hours:g}"


def document(world: World, broken: Broken | None) -> dict[str, Any]:
    """The same for scripts."""
    scenario = world.scenario
    return {
        "scenario": scenario.name,
        "seed": scenario.seed,
        "hours": round(world.now_s / 3_600, 4),
        "nodes": len(scenario.nodes),
        "slo_ttft_s": scenario.slo_ttft_s,
        "timeline": [{"at_s": round(at_s, 2), "text": text} for at_s, text in world.story.timeline()],
        "deployments": figures(world),
        "laws": {
            "looks": world.laws.checks,
            "broken": None
            if broken is None
            else violation(broken),
        },
    }  # fmt: skip


def violation(broken: Broken) -> dict[str, Any]:
    """A broken law for scripts."""
    return {
        "law": broken.law,
        "rule": broken.rule,
        "where": broken.where,
        "at_s": round(broken.at_s, 2),
        "seed": broken.seed,
        "text": str(broken),
    }


def _scenario(name: str, seed: int | None, hours: float | None) -> tuple[Any, str]:
    from fastness.simulator.drawing import draw
    from fastness.simulator.reading import ScenarioError, read

    if not name:
        chosen = draw(seed or 0, hours if hours is not None else 6.0)
        return chosen, f"A fleet of {len(chosen.nodes)} nodes, drawn from seed {chosen.seed}."
    try:
        return read(name, seed, hours)
    except ScenarioError as error:
        raise Failure(ExitCode.USAGE, str(error), "fastness simulate power-cut") from None
