"""Small fleets for tests that look at one thing: nodes of four devices, one or two deployments, steady traffic."""

from __future__ import annotations

from collections.abc import Iterable

from fastness.core.desired import DeploymentSpec, Needs, Scaling
from fastness.core.marking import Label, Node
from fastness.core.node import Device, DeviceKind, FleetNode
from fastness.simulator.command import Apply, Command
from fastness.simulator.engine import EnginePace
from fastness.simulator.faults import Fault
from fastness.simulator.request import Asked, End
from fastness.simulator.scenario import Scenario
from fastness.simulator.story import Story
from fastness.simulator.world import Rules, World

OFFICIAL, SECRET = Label("OFFICIAL"), Label("SECRET")
GB = 1_000_000_000
PACE = EnginePace(8_000.0, 0.02, 0.0004, slots=16, start_s=5.0, warm_start_s=2.0)


def node(number: int, devices: int = 4, law: str = "GB", ceiling: Label = OFFICIAL) -> FleetNode:
    gpus = tuple(Device(f"gpu-{one}", DeviceKind.GPU, "h100-80gb", 80 * GB) for one in range(devices))
    place = Node(f"leeds-{number:02}", law, "crown", law, ceiling)
    return FleetNode(place, gpus, 500 * GB, domain=f"rack-{number // 2}")


def spec(name: str = "chat", count: int = 2, owner: str = "health", **changes) -> DeploymentSpec:
    needs = changes.pop("needs", Needs(OFFICIAL, 40 * GB))
    scaling = changes.pop("scaling", Scaling(count, count))
    return DeploymentSpec(name, owner, "medium", "ab" * 32, "chat", OFFICIAL, needs, scaling=scaling, **changes)


def steady(name: str, from_s: float, until_s: float, every_s: float = 1.0, output: int = 200) -> list[Asked]:
    count = int((until_s - from_s) / every_s)
    return [Asked(from_s + number * every_s, name, "health", 400, output, 50) for number in range(count)]


def world(
    nodes: int | Iterable[FleetNode],
    commands: Iterable[tuple[float, Command] | DeploymentSpec],
    asked: Iterable[Asked] = (),
    faults: Iterable[Fault] = (),
    until_s: float = 1_200.0,
    rules: Rules | None = None,
    **changes,
) -> World:
    """Build a world; a spec among the commands is applied in the beginning."""
    offers = tuple(node(one) for one in range(nodes)) if isinstance(nodes, int) else tuple(nodes)
    timed = tuple((1.0, Apply(one)) if isinstance(one, DeploymentSpec) else one for one in commands)
    ordered = sorted(asked, key=lambda one: one.at_s)
    made = Scenario("small", 1, until_s, offers, timed, ordered, tuple(faults), pace=PACE, **changes)
    return World(made, rules, Story(keeps=True))


def ends(played: World, name: str = "chat") -> dict[str, int]:
    """How the requests for a deployment ended."""
    return {end.value: count for end, count in played.story.tallies[name].ends.items() if count}


def ready(played: World, name: str = "chat") -> int:
    """How many replicas of a deployment serve at this moment."""
    return sum(one.id in played.serving.live for one in played.control.state.of(name))


def tell(played: World) -> str:
    """The timeline, for the message of a test that fails."""
    return "\n".join(f"{at_s:9.2f} {text}" for at_s, text in played.story.timeline())


__all__ = ["GB", "OFFICIAL", "PACE", "SECRET", "End", "ends", "node", "ready", "spec", "steady", "tell", "world"]
