"""`fastness plan capacity`: how many devices of which kind a load needs. Nothing has to be running."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fastness.cli.outcome import ExitCode, Failure
from fastness.cli.render import Column
from fastness.cli.talk import Json, Quiet, Talk

if TYPE_CHECKING:
    from fastness.simulator.capacity import Answer
    from fastness.simulator.loads import Load
    from fastness.simulator.pace import NamedPace
    from fastness.simulator.slo import Slo

EXAMPLES = """\
fastness plan capacity --trace AzureLLMInferenceTrace_conv.csv --slo 'ttft<2s,tpot<100ms,95%'
fastness plan capacity --trace language-m-small.tar.gz --share health=4 --share justice=2 --plot plan.svg"""

COLUMNS = (
    Column("PACE", firm=True),
    Column("DEPARTMENT"),
    Column("DEVICES", right=True, firm=True),
    Column("KEPT", right=True),
    Column("FLOOR", right=True),
    Column("PLANNED", right=True, firm=True),
    Column("PEAK", right=True),
    Column("KEPT", right=True),
    Column("DEVICE-HOURS", right=True, firm=True),
    Column("SAVED", right=True),
)


def capacity(
    trace: Annotated[
        Path, typer.Option(metavar="FILE", help="Azure's CSV, Mooncake's JSON lines, or ServeGen's archive or folder.")
    ],
    slo: Annotated[str, typer.Option(metavar="LEVEL", help="What answers must keep to.")] = "ttft<2s,tpot<100ms,95%",
    pace: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME|FILE", help="A device with a model, or a TOML of them (default: all shipped)."),
    ] = None,
    share: Annotated[
        list[str] | None, typer.Option(metavar="NAME=PART", help="Deal the load out to departments, by their parts.")
    ] = None,
    part: Annotated[
        float, typer.Option(metavar="PART", min=0.0001, max=1.0, help="Of a trace of rates: only this part of it.")
    ] = 1.0,
    lengths: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A trace whose tokens a trace of rates alone is given.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Plot to this .svg or .png; of several kinds, the first.")
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Say how many devices of which kind a load needs.

    Plays a published trace through the production queue on simulated engines, with a fixed number of devices and under
    the production plan, which scales. Nothing has to be running.
    """
    from fastness.simulator.capacity import NoAnswer, answer

    talk = Talk(as_json, quiet)
    level, paces = _level(slo), _paces(pace or [])
    if plot is not None:
        _check_plot(plot)
    loads = _loads(trace, _shares(share or []), part, lengths)
    answers, none = [], []
    for one in paces:
        try:
            answers.append(answer(loads, one, level, talk.say))
        except NoAnswer as reason:
            none.append(str(reason))
    _write(talk, answers, none, trace, level)
    if plot is not None and answers:
        _plot(answers[0], plot)
    if not answers:
        raise Failure(ExitCode.REFUSED, "No kind of device serves this load as wanted.", "another --slo, or --pace")


def document(answers: list[Answer], none: list[str], trace: Path, level: Slo) -> dict[str, Any]:
    """Return what `--json` writes."""
    return {
        "trace": str(trace),
        "slo": {"ttft_s": level.ttft_s, "tpot_s": level.tpot_s, "part": level.part},
        "answers": [
            {
                "pace": one.pace.name,
                "accelerator": one.pace.accelerator,
                "source": one.pace.source,
                "assumed": one.pace.assumed,
                "simulated": "rates" if one.by_rates else "requests",
                "span_s": one.span_s,
                "devices": one.static,
                "device_hours": one.static_hours,
                "planned_device_hours": one.hours,
                "planned_devices_max": one.peak,
                "planned_kept": one.kept,
                "saved": one.saved,
                "departments": [
                    {
                        "name": each.name,
                        "requests": each.asked,
                        "devices": each.static,
                        "kept": each.static_kept,
                        "planned_replicas_min": each.floor,
                        "planned_device_hours": each.hours,
                        "planned_devices_max": each.peak,
                        "planned_kept": each.kept,
                    }
                    for each in one.needs
                ],
            }
            for one in answers
        ],
        "none": none,
    }


def rows(one: Answer) -> list[tuple[str, ...]]:
    """Return the lines of one kind of device: each department, and all where there are several."""
    span_h = one.span_s / 3_600
    lines: list[tuple[str, ...]] = [
        (
            one.pace.name,
            each.name,
            str(each.static),
            f"{each.static_kept:.1%}",
            str(each.floor),
            f"{each.hours / span_h:.1f}",
            str(each.peak),
            f"{each.kept:.1%}",
            f"{each.hours:,.1f}",
            f"{1 - each.hours / (each.static * span_h):.0%}",
        )
        for each in one.needs
    ]
    if len(lines) > 1:
        whole = (f"{one.hours / span_h:.1f}", str(one.peak), f"{one.kept:.1%}", f"{one.hours:,.1f}", f"{one.saved:.0%}")
        lines.append((one.pace.name, "together", str(one.static), "", "", *whole))
    return lines


def _write(talk: Talk, answers: list[Answer], none: list[str], trace: Path, level: Slo) -> None:
    if talk.as_json:
        talk.document(document(answers, none, trace, level))
        return
    if answers:
        first = answers[0]
        asked = sum(one.asked for one in first.needs)
        how = "as rates" if first.by_rates else "one by one"
        talk.text(f"{asked:,} requests in {first.span_s / 3_600:,.1f} h, simulated {how}; wanted: {level}\n")
    talk.table(COLUMNS, [row for one in answers for row in rows(one)], "")
    lines = [f"{one.pace.name}: {one.pace.source}" for one in answers]
    talk.text("\n".join(["", *lines, *none]))
    if answers:
        talk.text(
            "DEVICES serve it all the time; PLANNED is the mean of those held when the production plan scales from\n"
            "FLOOR replicas up, PEAK the most; KEPT is the part of the requests that kept to the level."
        )


def _loads(trace: Path, shares: Mapping[str, float], part: float, lengths: Path | None) -> tuple[Load, ...]:
    from fastness.simulator import traces
    from fastness.simulator.loads import loads_of_rates, loads_of_requests

    try:
        found = traces.read(trace)
        if isinstance(found, traces.Requests):
            return loads_of_requests(traces.load(found), shares)
        asked = None
        if lengths is not None:
            of = traces.read(lengths)
            if not isinstance(of, traces.Requests):
                raise Failure(
                    ExitCode.USAGE, f"{lengths} has no single requests.", "--lengths with Azure's or Mooncake's"
                )
            asked = traces.load(of)
        return loads_of_rates(found, shares, part, asked)
    except FileNotFoundError as error:
        raise Failure(
            ExitCode.NOT_FOUND, f"{error.filename} is not there.", "--trace with the path of a trace"
        ) from None


def _level(slo: str) -> Slo:
    from fastness.simulator.slo import Slo, SloError

    try:
        return Slo.of(slo)
    except SloError as error:
        raise Failure(ExitCode.USAGE, f"{error}.", "--slo 'ttft<2s,tpot<100ms,95%'") from None


def _paces(names: list[str]) -> list[NamedPace]:
    from fastness.simulator.pace import PaceError, read_paces

    shipped, found = read_paces(), []
    for name in names or list(shipped):
        if name in shipped:
            found.append(shipped[name])
        elif Path(name).suffix == ".toml":
            try:
                found += read_paces(Path(name)).values()
            except (OSError, PaceError) as error:
                raise Failure(ExitCode.USAGE, f"{error}", "the shipped paces are an example") from None
        else:
            raise Failure(
                ExitCode.NOT_FOUND, f"There is no pace {name}.", f"one of {', '.join(shipped)}, or a .toml file"
            )
    return found


def _shares(given: list[str]) -> dict[str, float]:
    shares: dict[str, float] = {}
    for one in given:
        name, _, text = one.partition("=")
        try:
            value = float(text)
        except ValueError:
            value = 0.0
        if not name or name in shares or not 0 < value <= 1e6:
            raise Failure(ExitCode.USAGE, f"{one} is no share.", "--share health=4 --share justice=2, each name once")
        shares[name] = value
    return shares or {"all": 1.0}


def _check_plot(place: Path) -> None:
    """Say before the long work what would fail after it; raises Failure."""
    from fastness.simulator.plots import NO_PLOTS, can_write_png

    if place.suffix.lower() not in (".svg", ".png"):
        raise Failure(ExitCode.USAGE, f"{place} is neither .svg nor .png.", f"--plot {place.stem}.svg")
    if not place.absolute().parent.is_dir():
        raise Failure(ExitCode.USAGE, f"There is no directory {place.parent} to plot to.", f"--plot {place.name}")
    if place.suffix.lower() == ".png" and not can_write_png():
        raise Failure(ExitCode.USAGE, NO_PLOTS, f"--plot {place.with_suffix('.svg')}")


def _plot(one: Answer, place: Path) -> None:
    from fastness.simulator.plots import svg, write_png

    try:
        if place.suffix.lower() == ".svg":
            place.write_text(svg(one), encoding="utf-8")
        else:
            write_png(one, place)
    except OSError as error:
        raise Failure(
            ExitCode.FAILED, f"{place} cannot be written: {error.strerror}.", "--plot elsewhere.svg"
        ) from None
