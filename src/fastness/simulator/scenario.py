"""A scenario: a fleet, what people ask for, what callers ask for, and what goes wrong. A value: played by World."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from fastness.core.marking import Marking, Profile
from fastness.core.node import FleetNode
from fastness.fleet.simulated import NodePace
from fastness.simulator.command import Command
from fastness.simulator.engine import EnginePace
from fastness.simulator.faults import Fault
from fastness.simulator.request import Asked

PROFILE: Final = Profile(
    "simulated",
    "Markings of a simulation",
    (
        Marking("OFFICIAL", "most of the work"),
        Marking("OFFICIAL-SENSITIVE", "harm if it is lost", above=("OFFICIAL",)),
        Marking("SECRET", "serious harm if it is lost", above=("OFFICIAL-SENSITIVE",)),
    ),
    (),
    (("GB", "United Kingdom"), ("IE", "Ireland")),
    (),
    "OFFICIAL",
)


@dataclass(frozen=True, slots=True)
class Scenario:
    """See the module. `asked` is in the order of time. `paces` are by model; `pace` is that of every other model.

    `quiet_s` before the end nothing goes wrong any more; then what is wanted must be ready (0: not looked at).
    """

    name: str
    seed: int
    until_s: float
    nodes: tuple[FleetNode, ...]
    commands: tuple[tuple[float, Command], ...]
    asked: Iterable[Asked]
    faults: tuple[Fault, ...] = ()
    gateways: int = 1
    pace: EnginePace = field(default_factory=EnginePace)
    paces: Mapping[str, EnginePace] = field(default_factory=dict)
    node_pace: NodePace = field(default_factory=NodePace)
    quiet_s: float = 0.0
    slo_ttft_s: float = 2.0
