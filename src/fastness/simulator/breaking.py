"""Carries out what goes wrong, and repairs it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from random import Random
from typing import TYPE_CHECKING

from fastness.fleet.simulated import FOREVER_S, Manner
from fastness.simulator.faults import Fault, Kind

if TYPE_CHECKING:
    from fastness.simulator.world import World


class Breaking:
    """See the module. Each fault has dice of its own, so that leaving one out changes no other."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._kinds: dict[Kind, Callable[[Fault, Random], None]] = {
            Kind.POWER: self._power,
            Kind.DARK: self._dark,
            Kind.UNLINKED: self._unlinked,
            Kind.CRASH: self._crash,
            Kind.HANG: self._hang,
            Kind.CRASHES: lambda fault, dice: self._manner(fault, dice, Manner(lives_s=fault.amount or 3.0)),
            Kind.NEVER_READY: lambda fault, dice: self._manner(fault, dice, Manner(slow=FOREVER_S)),
            Kind.SLOW: lambda fault, dice: self._manner(fault, dice, Manner(slow=fault.amount or 4.0)),
            Kind.ORDERS_LOST: self._orders_lost,
            Kind.ORDERS_LATE: self._orders_late,
            Kind.REPORTS_LATE: self._reports_late,
            Kind.GATEWAY: self._gateway,
            Kind.PAUSE: self._pause,
            Kind.DOWN: self._down,
            Kind.TORN: self._torn,
            Kind.CUT_OFF: self._cut_off,
        }

    def begin(self, fault: Fault, number: int) -> None:
        """Let it go wrong now."""
        world = self._world
        world.disturb()
        self._kinds[fault.kind](fault, Random(f"{world.scenario.seed}/fault/{number}"))  # noqa: S311
        world.disturb()

    def _later(self, fault: Fault, act: Callable[[], None]) -> None:
        self._world.at(self._world.now_s + fault.for_s, act)

    def _nodes(self, fault: Fault, dice: Random) -> list[str]:
        world = self._world
        if fault.target in world.offers:
            return [fault.target]
        if fault.target.endswith("%"):
            count = max(1, round(len(world.offers) * float(fault.target[:-1]) / 100.0))
            return sorted(dice.sample(sorted(world.offers), min(count, len(world.offers))))
        if fault.target:
            return [name for name, one in world.offers.items() if one.domain == fault.target]
        return [dice.choice([name for name in world.offers if world.nodes.is_on(name)] or list(world.offers))]

    def _power(self, fault: Fault, dice: Random) -> None:
        for node in self._nodes(fault, dice):
            if self._world.nodes.is_on(node):
                self._tell(f"node {node} lost its power")
                self._world.links.power(node, on=False)
                if fault.for_s != FOREVER_S:
                    self._later(fault, partial(self._power_on, node))

    def _power_on(self, node: str) -> None:
        if not self._world.nodes.is_on(node):
            self._tell(f"node {node} has power again")
            self._world.links.power(node, on=True)

    def _dark(self, fault: Fault, dice: Random) -> None:
        for node in self._nodes(fault, dice):
            self._tell(f"node {node} is isolated")
            self._world.links.darken(node, dark=True)
            self._later(fault, partial(self._light, node))

    def _light(self, node: str) -> None:
        self._tell(f"node {node} is within reach again")
        self._world.links.darken(node, dark=False)

    def _unlinked(self, fault: Fault, dice: Random) -> None:
        for node in self._nodes(fault, dice):
            self._tell(f"node {node} and the control plane do not hear each other")
            self._world.links.unlink(node, unlinked=True)
            self._later(fault, partial(self._world.links.unlink, node, unlinked=False))

    def _ready_one(self, fault: Fault, dice: Random) -> tuple[str, str] | None:
        """A replica that is ready, on one of its nodes that is on."""
        live = self._world.serving.live
        names = [fault.target] if fault.target in live else sorted(
            name for name in live if not fault.target or name.rpartition("-")[0] == fault.target
        )  # fmt: skip
        if not names:
            return None
        name = dice.choice(names)
        return name, dice.choice(live[name].nodes)

    def _crash(self, fault: Fault, dice: Random) -> None:
        if found := self._ready_one(fault, dice):
            self._tell(f"engine of {found[0]} crashed")
            self._world.nodes.crash(self._world.now_s, found[1], found[0])

    def _hang(self, fault: Fault, dice: Random) -> None:
        if found := self._ready_one(fault, dice):
            self._tell(f"engine of {found[0]} hangs")
            self._world.nodes.hang(self._world.now_s, found[1], found[0])

    def _manner(self, fault: Fault, dice: Random, manner: Manner) -> None:
        manners = self._world.nodes.manners
        revision = "@" in fault.target or fault.target in self._world.control.state.replicas
        for key in [fault.target] if revision else self._nodes(fault, dice):
            fate = "crash" if manner.lives_s < FOREVER_S else "are slow to start"
            self._tell(f"engines of {key} {fate} from now on")
            manners[key] = manner
            if fault.for_s < FOREVER_S:
                self._later(fault, partial(self._behave, key, manner))

    def _behave(self, key: str, manner: Manner) -> None:
        """Unless another fault has come over them meanwhile."""
        if self._world.nodes.manners.get(key) is manner:
            del self._world.nodes.manners[key]

    def _orders_lost(self, fault: Fault, _: Random) -> None:
        links = self._world.links
        links.orders_lost = fault.amount or 0.5
        self._later(fault, lambda: setattr(links, "orders_lost", 0.0))

    def _orders_late(self, fault: Fault, _: Random) -> None:
        links = self._world.links
        links.orders_late_s = fault.amount or 10.0
        self._later(fault, lambda: setattr(links, "orders_late_s", 0.0))

    def _reports_late(self, fault: Fault, dice: Random) -> None:
        for node in self._nodes(fault, dice):
            self._world.links.delay_reports(node, fault.amount or 3.0)
            self._later(fault, partial(self._world.links.delay_reports, node, 0.0))

    def _gateway(self, fault: Fault, dice: Random) -> None:
        world = self._world
        name = fault.target or dice.choice(sorted(world.gateways))
        if not world.gateways[name].up:
            return
        self._tell(f"{name} died")
        world.gateways[name].die()
        world.links.everybody_changed()
        self._later(fault, lambda: self._gateway_back(name))

    def _gateway_back(self, name: str) -> None:
        world = self._world
        world.gateways[name] = world.new_gateway(name)
        world.links.everybody_changed()
        world.refresh()

    def _pause(self, fault: Fault, _: Random) -> None:
        self._tell("the control plane stands still")
        self._world.control.paused = True
        self._world.links.everybody_changed()
        self._later(fault, self._go_on)

    def _go_on(self) -> None:
        self._world.control.paused = False
        self._control_back("the control plane goes on")

    def _down(self, fault: Fault, _: Random) -> None:
        self._tell("the control plane died")
        self._world.control.die()
        self._world.links.everybody_changed()
        self._later(fault, self._restart)

    def _restart(self) -> None:
        if not self._world.control.up:
            self._world.control.restart()
        self._control_back("the control plane is back")

    def _torn(self, fault: Fault, dice: Random) -> None:
        """It dies after some of the events of the next plan that has more than one."""
        world = self._world
        if not world.control.up or world.control.paused:
            return
        self._tell("the control plane died while it recorded a plan")
        world.control.step(torn_after=dice.randrange(3))
        world.links.everybody_changed()
        self._later(fault, self._restart)

    def _cut_off(self, fault: Fault, _: Random) -> None:
        self._tell("the control plane hears no node")
        self._world.links.cut_off = True
        self._world.links.everybody_changed()
        self._later(fault, self._cut_in)

    def _cut_in(self) -> None:
        self._world.links.cut_off = False
        for node in self._world.offers:
            self._world.control.tell_again(node)
        self._control_back("the control plane hears the nodes again")

    def _control_back(self, text: str) -> None:
        self._tell(text)
        self._world.links.everybody_changed()
        self._world.disturb()

    def _tell(self, text: str) -> None:
        self._world.story.tell(self._world.now_s, text)
