"""Reads a scenario from a TOML file; unknown fields are refused. docs/explanation/simulator.md describes the file."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from random import Random
from typing import Any, Final

import msgspec

from fastness.core.desired import DeploymentSpec, Needs, Parameters, Rollout, Scaling
from fastness.core.marking import Label, Node
from fastness.core.node import POOL, Device, DeviceKind, FleetNode
from fastness.core.priority import Band
from fastness.simulator.command import Apply, Command, Cordon, Remove, Roll, Scale, Share, Uncordon
from fastness.simulator.engine import EnginePace
from fastness.simulator.faults import Fault, Kind
from fastness.simulator.request import Asked
from fastness.simulator.scenario import Scenario

_SCALING, _ROLLOUT = Scaling(), Rollout()
GB: Final = 1_000_000_000
NODES_MAX: Final = 10_000
REQUESTS_MAX: Final = 2_000_000
SHIPPED: Final = resources.files("fastness.simulator") / "scenarios"


class Nodes(msgspec.Struct, forbid_unknown_fields=True):
    """Nodes that are alike, named `site-01` and so on; `rack` of them fail together."""

    site: str
    count: int = 1
    devices: int = 8
    accelerator: str = "h100-80gb"
    device_gb: float = 80.0
    memory_gb: float = 512.0
    pool: str = POOL
    jurisdiction: str = "GB"
    operator: str = "crown"
    ceiling: str = "OFFICIAL"
    rack: int = 4


class Deployment(msgspec.Struct, forbid_unknown_fields=True):
    """A deployment; `replicas` 0: as many as `min` and `max` allow."""

    name: str
    owner: str
    model: str = "medium"
    replicas: int = 0
    min: int = _SCALING.min
    max: int = _SCALING.max
    devices: int = 1
    nodes: int = 1
    device_gb: float = 60.0
    accelerator: str = ""
    pool: str = POOL
    ceiling: str = "OFFICIAL"
    jurisdictions: tuple[str, ...] = ()
    apart: bool = False
    urgent: bool = False
    surge: int = _ROLLOUT.surge
    down_s: float = _SCALING.down_s
    idle_s: float = _SCALING.idle_s
    drain_timeout_s: float = 30.0


class Traffic(msgspec.Struct, forbid_unknown_fields=True):
    """Requests of one tenant, `per_minute` in the mean; `burst` requests come together (1: each by itself)."""

    deployment: str
    tenant: str
    per_minute: float
    from_s: float = 60.0
    until_s: float = 0.0
    burst: int = 1
    input_tokens: int = 800
    output_tokens: int = 200
    head_tokens: int = 0
    band: str = "interactive"
    share: float = 1.0
    patience_s: float = 60.0


class Guarantee(msgspec.Struct, forbid_unknown_fields=True):
    """Devices that an owner is guaranteed, from `at_s` on."""

    owner: str
    devices: int
    pool: str = POOL
    at_s: float = 0.5


class Order(msgspec.Struct, forbid_unknown_fields=True):
    """What a person asks for at `at_s`: one of scale, roll, remove, cordon and uncordon, with the name it is about."""

    at_s: float
    scale: str = ""
    replicas: int = 1
    roll: str = ""
    remove: str = ""
    cordon: str = ""
    drain: bool = True
    uncordon: str = ""


class Break(msgspec.Struct, forbid_unknown_fields=True):
    """What goes wrong: see faults.py."""

    at_s: float
    kind: Kind
    target: str = ""
    for_s: float = 60.0
    amount: float = 0.0


class Document(msgspec.Struct, forbid_unknown_fields=True):
    """A scenario file."""

    about: str
    minutes: float
    nodes: tuple[Nodes, ...]
    deployments: tuple[Deployment, ...]
    traffic: tuple[Traffic, ...] = ()
    shares: tuple[Guarantee, ...] = ()
    commands: tuple[Order, ...] = ()
    faults: tuple[Break, ...] = ()
    paces: dict[str, EnginePace] = {}
    gateways: int = 1
    slo_ttft_s: float = 2.0
    quiet_s: float = 0.0
    seed: int = 1


class ScenarioError(ValueError):
    """A scenario cannot be used; the message says what is wrong with it and where."""


def shipped() -> tuple[str, ...]:
    """The names of the scenarios that come with Fastness."""
    return tuple(sorted(one.name.removesuffix(".toml") for one in SHIPPED.iterdir() if one.name.endswith(".toml")))


def read(name: str, seed: int | None = None, hours: float | None = None) -> tuple[Scenario, str]:
    """Read a scenario by its shipped name or its path; return it with what it is about. Raises ScenarioError."""
    if name in shipped():
        text = (SHIPPED / f"{name}.toml").read_text()
    else:
        try:
            text = Path(name).read_text()
        except (OSError, UnicodeDecodeError) as error:
            there = ", ".join(shipped())
            raise ScenarioError(
                f"There is no scenario {name!r} ({error}). Shipped are {there}; or name a file."
            ) from None
    try:
        document = msgspec.convert(tomllib.loads(text), Document)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise ScenarioError(f"The scenario {name} cannot be read: {error}") from None
    return scenario(name, document, seed, hours), document.about


def scenario(name: str, document: Document, seed: int | None = None, hours: float | None = None) -> Scenario:
    """Make a scenario of what a file says. Raises ScenarioError."""
    until_s = document.minutes * 60.0 if hours is None else hours * 3_600.0
    seed = document.seed if seed is None else seed
    fleet = tuple(one for group in document.nodes for one in _nodes(group))
    if not 0 < len(fleet) <= NODES_MAX:
        raise ScenarioError(f"{len(fleet)} nodes are named; from 1 to {NODES_MAX} can be simulated.")
    known = {one.name for one in document.deployments}
    if strange := sorted({one.deployment for one in document.traffic} - known):
        raise ScenarioError(f"Traffic is for {', '.join(strange)}; the deployments are {', '.join(sorted(known))}.")
    commands = [(1.0, Apply(_spec(one))) for one in document.deployments]
    shares = [(one.at_s, Share(one.owner, one.pool, one.devices)) for one in document.shares]
    orders = [(one.at_s, _command(one)) for one in document.commands]
    asked = [one for number, group in enumerate(document.traffic) for one in _asked(group, f"{seed}/{number}", until_s)]
    if len(asked) > REQUESTS_MAX:
        raise ScenarioError(f"{len(asked)} requests are asked for; {REQUESTS_MAX} can be simulated at most.")
    return Scenario(
        name,
        seed,
        until_s,
        fleet,
        tuple(sorted([*shares, *commands, *orders], key=lambda one: one[0])),
        sorted(asked, key=lambda one: one.at_s),
        tuple(Fault(one.at_s, one.kind, one.target, one.for_s, one.amount) for one in document.faults),
        gateways=document.gateways,
        paces=document.paces,
        slo_ttft_s=document.slo_ttft_s,
        quiet_s=document.quiet_s if hours is None else 0.0,  # a file says when its own end is quiet
    )


def _nodes(group: Nodes) -> Iterator[FleetNode]:
    kind = DeviceKind.CPU if group.accelerator == "cpu" else DeviceKind.GPU
    size = 0 if kind is DeviceKind.CPU else int(group.device_gb * GB)
    devices = tuple(Device(f"{kind}-{one}", kind, group.accelerator, size) for one in range(group.devices))
    for number in range(1, group.count + 1):
        law = group.jurisdiction
        place = Node(f"{group.site}-{number:02}", law, group.operator, law, Label(group.ceiling))
        rack = f"{group.site}-rack-{(number - 1) // group.rack + 1}"
        yield FleetNode(place, devices, int(group.memory_gb * GB), rack, group.pool)


def _spec(one: Deployment) -> DeploymentSpec:
    ceiling = Label(one.ceiling)
    needs = Needs(
        ceiling, int(one.device_gb * GB), one.devices, one.nodes, one.accelerator, one.pool,
        jurisdictions=one.jurisdictions, apart=one.apart,
    )  # fmt: skip
    least, most = (one.replicas, one.replicas) if one.replicas else (one.min, one.max)
    scaling, rollout = Scaling(least, most, down_s=one.down_s, idle_s=one.idle_s), Rollout(one.surge)
    return DeploymentSpec(
        one.name, one.owner, one.model, "ab" * 32, "chat", ceiling, needs, Parameters(slots=32), scaling, rollout,
        one.drain_timeout_s, urgent=one.urgent,
    )  # fmt: skip


def _command(one: Order) -> Command:
    named: dict[str, Any] = {
        "scale": Scale(one.scale, one.replicas),
        "roll": Roll(one.roll, "cd" * 32),
        "remove": Remove(one.remove),
        "cordon": Cordon(one.cordon, one.drain),
        "uncordon": Uncordon(one.uncordon),
    }
    chosen: list[Command] = [command for key, command in named.items() if getattr(one, key)]
    if len(chosen) != 1:
        raise ScenarioError(f"A command at {one.at_s} s names {len(chosen)} of {', '.join(named)}; it takes one.")
    return chosen[0]


def _asked(group: Traffic, seed: str, until_s: float) -> Iterator[Asked]:
    """Arrivals by chance, sizes around the mean: half to one and a half times of it."""
    dice, at_s = Random(seed), group.from_s  # noqa: S311 - a simulation
    last_s = min(group.until_s or until_s, until_s)
    bands = {band.name.lower(): band for band in Band}
    if group.band not in bands or group.per_minute <= 0.0 or group.burst < 1:
        raise ScenarioError(f"Traffic for {group.deployment} needs a band ({', '.join(bands)}), a rate and a burst.")
    while (at_s := at_s + dice.expovariate(group.per_minute / 60.0 / group.burst)) < last_s:
        for number in range(group.burst):
            yield Asked(
                at_s + 0.01 * number,
                group.deployment,
                group.tenant,
                max(1, int(group.input_tokens * dice.uniform(0.5, 1.5))),
                max(1, int(group.output_tokens * dice.uniform(0.5, 1.5))),
                group.head_tokens,
                bands[group.band],
                group.share,
                patience_s=group.patience_s,
            )
