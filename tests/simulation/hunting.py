"""Plays scenarios by their seeds, in several processes; a module of its own, so that these can import it."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

from fastness.simulator.drawing import draw
from fastness.simulator.laws import Broken
from fastness.simulator.world import World


@dataclass(frozen=True, slots=True)
class Played:
    """What came of one seed; `broken` is empty when the laws were kept."""

    seed: int
    broken: str
    events: int
    requests: int
    looks: int
    cpu_s: float


def play(task: tuple[int, float]) -> Played:
    """Play the scenario of a seed, for so many hours."""
    seed, hours = task
    began_s, broken, world = time.process_time(), "", World(draw(seed, hours))
    try:
        world.run()
    except Broken as found:
        broken = f"{found}\n  replay: fastness simulate --seed {seed} --hours {hours:g}"
    except Exception as error:
        broken = f"seed {seed}: {error!r} at t={world.now_s:.1f} s\n  replay: fastness simulate --seed {seed}"
    took_s = time.process_time() - began_s
    return Played(seed, broken, world.events, world.requests, world.laws.checks, took_s)


def play_all(seeds: Sequence[int], hours: float) -> list[Played]:
    """Play them all, as many at a time as there are processors."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(8, os.cpu_count() or 1), mp_context=context) as pool:
        return list(pool.map(play, [(seed, hours) for seed in seeds], chunksize=4))
