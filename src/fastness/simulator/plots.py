"""Plots of an answer: load, devices, and the part that kept to the service level, over time. SVG by our own hand.

PNG is drawn by matplotlib where it is installed (`pip install 'fastness[plots]'`); nothing else needs it.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from fastness.simulator.capacity import Answer
from fastness.simulator.panels import Curve, Panel, nice, panels, title

WIDTH, PANEL, GAP, LEFT, TOP = 880, 150, 44, 70, 40
COLOURS: Final = ("#1d70b8", "#d4351c", "#00703c", "#f47738", "#4c2c92", "#505a5f")


NO_PLOTS: Final = "PNG needs matplotlib, which is not installed. pip install 'fastness[plots]', or plot to .svg"


def can_write_png() -> bool:
    """Tell whether what draws PNG is installed."""
    return find_spec("matplotlib") is not None


def svg(answer: Answer) -> str:
    """Write the plots as one SVG document, which needs nothing else."""
    drawn = panels(answer)
    height = TOP + len(drawn) * (PANEL + GAP) + 10
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" '
        'font-size="12" role="img">',
        f"<title>{escape(title(answer))}</title>",
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        f'<text x="{LEFT}" y="22" font-size="15">{escape(title(answer))}</text>',
    ]
    span_h = answer.span_s / 3_600
    for number, panel in enumerate(drawn):
        parts += _panel(panel, TOP + number * (PANEL + GAP), span_h, last=number == len(drawn) - 1)
    return "\n".join([*parts, "</svg>", ""])


def write_png(answer: Answer, path: Path) -> None:
    """Draw the plots with matplotlib; raises OSError where it cannot be written.

    Ask `can_write_png` first.
    """
    from matplotlib.figure import Figure

    drawn = panels(answer)
    figure: Any = Figure(figsize=(11, 8), layout="constrained")
    axes = figure.subplots(len(drawn), 1, sharex=True)
    figure.suptitle(title(answer))
    for axis, panel in zip(axes, drawn, strict=True):
        for curve, colour in zip(panel.curves, COLOURS, strict=False):
            hours, values = zip(*curve.pairs, strict=True)
            axis.plot(
                hours, values, color=colour, label=curve.name, drawstyle="steps-post" if curve.steps else "default"
            )
        axis.set_ylabel(panel.title)
        axis.set_ylim(panel.low, panel.high * 1.02)
        axis.legend(loc="upper right")
    axes[-1].set_xlabel("hours")
    figure.savefig(path, format="png", dpi=120)


def _panel(panel: Panel, top: float, span_h: float, *, last: bool) -> list[str]:
    wide, bottom = WIDTH - LEFT - 20, top + PANEL
    scale_x, scale_y = wide / max(span_h, 1e-9), PANEL / max(panel.high - panel.low, 1e-9)

    def at(hour: float, value: float) -> tuple[float, float]:
        inside = min(max(value, panel.low), panel.high)
        return LEFT + hour * scale_x, bottom - (inside - panel.low) * scale_y

    parts = [f'<text x="{LEFT}" y="{top - 6}">{escape(panel.title)}</text>']
    for tick in _ticks(panel.low, panel.high):
        _, y = at(0, tick)
        parts.append(f'<path d="M{LEFT} {y:.1f}h{wide}" stroke="#dddddd"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{tick:,.10g}</text>')
    for tick in _ticks(0.0, span_h):
        x, _ = at(tick, 0)
        parts.append(f'<path d="M{x:.1f} {bottom}v4" stroke="#505a5f"/>')
        if last:
            unit = " h" if tick else ""
            parts.append(f'<text x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">{tick:,.10g}{unit}</text>')
    for number, (curve, colour) in enumerate(zip(panel.curves, COLOURS, strict=False)):
        parts.append(f'<path d="{_path(curve, at, span_h)}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        x = WIDTH - 20 - 130 * (len(panel.curves) - number)
        parts.append(f'<path d="M{x} {top - 10}h18" stroke="{colour}" stroke-width="3"/>')
        parts.append(f'<text x="{x + 24}" y="{top - 6}">{escape(curve.name)}</text>')
    return parts


def _path(curve: Curve, at: Any, span_h: float) -> str:
    words: list[str] = []
    for hour, value in curve.pairs:
        x, y = at(min(hour, span_h), value)
        if not words:
            words.append(f"M{x:.1f} {y:.1f}")
        else:
            words.append(f"H{x:.1f}V{y:.1f}" if curve.steps else f"L{x:.1f} {y:.1f}")
    if curve.steps:
        words.append(f"H{at(span_h, 0)[0]:.1f}")
    return "".join(words)


def _ticks(low: float, high: float, most: int = 5) -> Sequence[float]:
    step = nice((high - low) / most)
    first = int(low / step)
    return [round(step * at, 10) for at in range(first, int(high / step + 1e-9) + 1) if step * at >= low]
