"""Draws a scenario from a seed: a fleet, deployments, shares, traffic, commands and faults.

It is quiet for most of the time, and busy around what happens: answers are under way when something breaks. In its last
part nothing breaks any more, nobody asks for anything, and what is wanted must come to be ready.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Final

from fastness.core.desired import DeploymentSpec, Needs, Parameters, Rollout, Scaling
from fastness.core.marking import Label, Node
from fastness.core.node import POOL, Device, DeviceKind, FleetNode
from fastness.core.priority import Band
from fastness.fleet.simulated import FOREVER_S, NodePace
from fastness.simulator.command import Apply, Command, Cordon, Remove, Roll, Scale, Share, Uncordon
from fastness.simulator.engine import EnginePace
from fastness.simulator.faults import Fault, Kind
from fastness.simulator.request import Asked
from fastness.simulator.scenario import Scenario

HOUR_S: Final = 3_600.0
QUIET_S: Final = 2_700.0
"""The last part of a scenario, in which nothing breaks."""
SETTLED_S: Final = 2_100.0
"""The last part of a scenario, in which nobody asks anything: long enough for the last to be scaled away."""
SECURE: Final = "secure"
OFFICIAL, SENSITIVE, SECRET = Label("OFFICIAL"), Label("OFFICIAL-SENSITIVE"), Label("SECRET")
GB: Final = 1_000_000_000
ACCELERATORS: Final = {"h100-80gb": 80 * GB, "l40s-48gb": 48 * GB, "l4-24gb": 24 * GB}
OWNERS: Final = ("health", "health/triage", "justice", "tax", "archive")
PACES: Final = {
    "large": EnginePace(6_000.0, 0.030, 0.0006, slots=32, kv_tokens=200_000, start_s=60.0, warm_start_s=20.0),
    "medium": EnginePace(8_000.0, 0.020, 0.0004, slots=32, kv_tokens=200_000, start_s=30.0, warm_start_s=10.0),
    "small": EnginePace(2_000.0, 0.015, 0.002, slots=8, kv_tokens=30_000, start_s=4.0, warm_start_s=2.0),
}
BREAKS: Final = (
    *((Kind.POWER, Kind.DARK, Kind.CRASH, Kind.HANG, Kind.DOWN) * 2),
    *Kind,
)
"""Kinds of faults, those that happen more often several times."""
COMMANDS_AN_HOUR: Final = 2.0
FAULTS_AN_HOUR: Final = 2.5


@dataclass(slots=True)
class _Draw:
    """What is drawn so far."""

    dice: Random
    until_s: float
    nodes: tuple[FleetNode, ...] = ()
    specs: tuple[DeploymentSpec, ...] = ()

    @property
    def busy_until_s(self) -> float:
        return self.until_s - QUIET_S


def draw(seed: int, hours: float = 6.0) -> Scenario:
    """Return the scenario of a seed, `hours` long (at least one)."""
    dice = Random(f"fastness/{seed}")  # noqa: S311 - a simulation
    drawn = _Draw(dice, hours * HOUR_S)
    drawn.nodes = tuple(_nodes(dice))
    drawn.specs = tuple(_specs(dice, drawn.nodes))
    commands = [*_commands(drawn)]
    if dice.random() < 0.3:
        commands += _contest(drawn)
    commands.sort(key=lambda one: one[0])
    faults = sorted(_faults(drawn), key=lambda one: one.at_s)
    moments = [(at_s, _about(command)) for at_s, command in commands] + [(one.at_s, "") for one in faults]
    asked = sorted(_asked(drawn, moments), key=lambda one: one.at_s)
    return Scenario(
        f"seed {seed}",
        seed,
        drawn.until_s,
        drawn.nodes,
        tuple(commands),
        asked,
        tuple(faults),
        gateways=dice.choice((1, 1, 2, 3)),
        paces=PACES,
        node_pace=NodePace(stop_s=dice.choice((0.5, 3.0, 8.0)), lease_s=dice.choice((10.0, 20.0, 60.0))),
        quiet_s=QUIET_S,
    )


def _nodes(dice: Random) -> Iterator[FleetNode]:
    count = max(1, round(40 ** dice.random() ** 1.3))
    sites = [dice.choice(("leeds", "bristol", "dublin"))] if count < 3 else ["leeds", "bristol", "dublin"]
    kinds = dice.sample([*ACCELERATORS, "cpu"], dice.choice((1, 2, 3)))
    secure = count >= 6 and dice.random() < 0.3
    for number in range(count):
        site, kind = sites[number % len(sites)], kinds[number % len(kinds)]
        if kind == "cpu":
            devices = tuple(Device(f"cpu-{one}", DeviceKind.CPU, "cpu", 0) for one in range(dice.choice((2, 4))))
        else:
            size, gpus = ACCELERATORS[kind], dice.choice((1, 2, 4, 8))
            devices = tuple(Device(f"gpu-{one}", DeviceKind.GPU, kind, size) for one in range(gpus))
        law, ceiling = ("IE", OFFICIAL) if site == "dublin" else ("GB", dice.choice((OFFICIAL, SENSITIVE, SECRET)))
        place = Node(f"{site}-{number:02}", law, dice.choice(("crown", "crown", "contractor")), law, ceiling)
        yield FleetNode(
            place,
            devices,
            64 * GB,
            domain=f"{site}-rack-{number // 4}",
            pool=SECURE if secure and number % 3 == 0 else POOL,
            labels=(("disk", dice.choice(("nvme", "ssd"))),),
        )


def _specs(dice: Random, nodes: tuple[FleetNode, ...]) -> Iterator[DeploymentSpec]:
    """Deployments, each shaped after a node that it can run on, so that most of them fit somewhere."""
    for number in range(dice.randint(1, min(6, 1 + len(nodes) // 2))):
        like = dice.choice(nodes)
        device = like.devices[0]
        model = "small" if device.kind is DeviceKind.CPU else dice.choice(("large", "medium"))
        size = 8 * GB if device.kind is DeviceKind.CPU else device.memory_bytes * 3 // 4
        peers = [one for one in nodes if one.devices[0].accelerator == device.accelerator and one.pool == like.pool]
        gang = len(peers) >= 4 and dice.random() < 0.1
        needs = Needs(
            dice.choice((OFFICIAL, like.place.ceiling)),
            size,
            devices=dice.choice((1, 1, 1, min(2, len(like.devices)))),
            nodes=2 if gang else 1,
            accelerator=dice.choice(("", device.accelerator)),
            pool=like.pool,
            labels=(f"disk={dict(like.labels)['disk']}",) if dice.random() < 0.2 else (),
            jurisdictions=(like.place.jurisdiction,) if dice.random() < 0.4 else (),
            operators=("crown",) if like.place.operator == "crown" and dice.random() < 0.2 else (),
            apart=not gang and dice.random() < 0.15,
        )
        ceiling = dice.choice((needs.ceiling, needs.ceiling, SENSITIVE))
        yield DeploymentSpec(
            f"d{number}",
            dice.choice(OWNERS),
            model,
            f"{number:02x}" * 32,
            "chat",
            ceiling,
            needs,
            Parameters(slots=PACES[model].slots, slot_context_tokens=4_096),
            _scaling(dice, max(1, len(peers))),
            Rollout(surge=dice.choice((1, 1, 2)), canary_percent=dice.choice((0, 0, 25)), hold_s=30.0),
            drain_timeout_s=dice.choice((5.0, 15.0, 30.0, 60.0)),
            urgent=dice.random() < 0.2,
        )


def _scaling(dice: Random, peers: int) -> Scaling:
    count = dice.randint(1, min(3, peers))
    if dice.random() < 0.6:
        return Scaling(count, count)
    return Scaling(dice.choice((0, 1)), count + 1, down_s=dice.choice((60.0, 300.0)), idle_s=600.0)


def _commands(drawn: _Draw) -> Iterator[tuple[float, Command]]:
    dice, specs = drawn.dice, drawn.specs
    for number, spec in enumerate(specs):
        yield 1.0 + 5.0 * number, Apply(spec)
    if dice.random() < 0.6:
        yield from _shares(drawn)
    rolled = 0
    for _ in range(int(COMMANDS_AN_HOUR * drawn.busy_until_s / HOUR_S)):
        at_s, spec = dice.uniform(300.0, drawn.busy_until_s - 60.0), dice.choice(specs)
        match dice.choice(("scale", "scale", "roll", "remove", "cordon", "share")):
            case "scale":
                yield at_s, Scale(spec.name, dice.choice((0, 1, 1, 2, 3, 5)))
            case "roll":
                rolled += 1
                yield at_s, Roll(spec.name, f"{128 + rolled:02x}" * 32)
            case "remove":
                yield at_s, Remove(spec.name)
                yield min(at_s + dice.uniform(5.0, 600.0), drawn.busy_until_s), Apply(spec)
            case "cordon":
                node = dice.choice(drawn.nodes).name
                yield at_s, Cordon(node, dice.random() < 0.7)
                yield min(at_s + dice.uniform(60.0, 1_200.0), drawn.busy_until_s), Uncordon(node)
            case "share":
                yield at_s, Share(dice.choice(OWNERS), spec.needs.pool, 0)


def _shares(drawn: _Draw) -> Iterator[tuple[float, Command]]:
    """Guarantees, together no more than there is; a team's is within its department's."""
    for pool in sorted({one.pool for one in drawn.nodes}):
        left = sum(len(one.devices) for one in drawn.nodes if one.pool == pool)
        for owner in ("health", "justice", "tax"):
            devices = drawn.dice.randint(0, left // 2)
            left -= devices
            if devices:
                yield 0.5, Share(owner, pool, devices)
            if owner == "health" and devices > 1 and drawn.dice.random() < 0.5:
                yield 0.6, Share("health/triage", pool, devices // 2)


def _faults(drawn: _Draw) -> Iterator[Fault]:
    dice = drawn.dice
    domains = sorted({one.domain for one in drawn.nodes})
    for _ in range(int(FAULTS_AN_HOUR * drawn.busy_until_s / HOUR_S)):
        at_s, kind = dice.uniform(200.0, drawn.busy_until_s - 30.0), dice.choice(BREAKS)
        for_s = min(dice.choice((2.0, 8.0, 30.0, 90.0, 300.0, 900.0)), drawn.busy_until_s - at_s)
        amount = {Kind.CRASHES: 3.0, Kind.SLOW: 5.0, Kind.ORDERS_LOST: 0.6, Kind.ORDERS_LATE: 20.0}.get(kind, 0.0)
        if kind is Kind.REPORTS_LATE:
            amount = dice.choice((1.0, 4.0, 12.0))
        whole = kind in (Kind.POWER, Kind.DARK, Kind.UNLINKED) and dice.random() < 0.25
        yield Fault(at_s, kind, dice.choice((*domains, "40%", "70%", "70%")) if whole else "", for_s, amount)
    if dice.random() < 0.3:  # a revision that will never be ready, should there ever be one
        kind = dice.choice((Kind.CRASHES, Kind.NEVER_READY))
        yield Fault(2.0, kind, f"{dice.choice(drawn.specs).name}@2", FOREVER_S, 3.0)


def _contest(drawn: _Draw) -> Iterator[tuple[float, Command]]:
    """One owner borrows whatever there is of a kind; another has a guarantee, wants it now and then, and gets it."""
    dice = drawn.dice
    like = dice.choice(drawn.nodes)
    kind = like.devices[0].accelerator
    peers = [one for one in drawn.nodes if one.devices[0].accelerator == kind and one.pool == like.pool]
    there = min(6, sum(len(one.devices) for one in peers))
    size = 8 * GB if kind == "cpu" else like.devices[0].memory_bytes // 2
    model = "small" if kind == "cpu" else "medium"
    needs = Needs(OFFICIAL, size, accelerator=kind, pool=like.pool)
    for name, owner, count in (("lend", "archive", there), ("claim", "police", 0)):
        spec = DeploymentSpec(
            name, owner, model, f"{len(name):02x}" * 32, "chat", OFFICIAL, needs,
            Parameters(slots=PACES[model].slots, slot_context_tokens=4_096), Scaling(count, count),
            drain_timeout_s=dice.choice((5.0, 15.0, 30.0)),
        )  # fmt: skip
        drawn.specs = (*drawn.specs, spec)
        yield 40.0, Apply(spec)
    guaranteed = max(1, there // 2)
    yield 0.5, Share("police", like.pool, guaranteed)
    at_s = 400.0
    while (at_s := at_s + dice.uniform(300.0, 3_600.0)) < drawn.busy_until_s - 60.0:
        yield at_s, Scale("claim", dice.choice((0, guaranteed, guaranteed)))


def _about(command: Command) -> str:
    """The deployment whose callers notice a command; of a claim, those of the lender do."""
    name = command.spec.name if isinstance(command, Apply) else getattr(command, "deployment", "")
    return "lend" if name == "claim" else name


def _asked(drawn: _Draw, moments: list[tuple[float, str]]) -> Iterator[Asked]:
    dice, last_s = drawn.dice, drawn.until_s - SETTLED_S
    for spec in drawn.specs:
        at_s = 120.0
        while (at_s := at_s + dice.expovariate(1 / 240.0)) < last_s:
            yield _one(dice, spec, at_s)
    by_name = {one.name: one for one in drawn.specs}
    for moment, name in moments:
        spec = by_name.get(name) or dice.choice(drawn.specs)
        for _ in range(dice.choice((5, 15, 40))):
            if 60.0 < (at_s := moment + dice.uniform(-20.0, 20.0)) < last_s:
                yield _one(dice, spec, at_s)


def _one(dice: Random, spec: DeploymentSpec, at_s: float) -> Asked:
    labels = (OFFICIAL, OFFICIAL, spec.ceiling) if spec.ceiling != SECRET else (SECRET, OFFICIAL)
    return Asked(
        at_s,
        spec.name,
        dice.choice(("health", "justice", "tax")),
        dice.choice((60, 400, 1_500)),
        dice.choice((1, 40, 200, 400)),
        head_tokens=50,
        band=dice.choice((Band.INTERACTIVE, Band.STANDARD, Band.BATCH)),
        label=dice.choice(labels),
        leaves_s=dice.choice((0.0, 0.0, 0.0, 3.0)),
    )
