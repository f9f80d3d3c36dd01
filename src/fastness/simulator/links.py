"""Who hears whom: control plane, gateways and nodes, and how late what they say arrives."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fastness.core.observation import NodeOrders, NodeReport
from fastness.simulator.clock import clock_ms

if TYPE_CHECKING:
    from fastness.simulator.world import World


@dataclass(slots=True)
class _Link:
    """`dark`: nobody hears the node, nor it anybody. `late_s`: of its reports."""

    dark: bool = False
    unlinked: bool = False
    deaf: bool = False
    late_s: float = 0.0
    changed_s: float = 0.0
    on_the_way: deque[tuple[float, NodeReport]] = field(default_factory=deque)


class Links:
    """See the module."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._links = {name: _Link() for name in world.offers}
        self._heard: dict[str, NodeReport] = {}
        self.cut_off = False
        self.orders_lost = 0.0
        self.orders_late_s = 0.0

    def hears_control(self, node: str) -> bool:
        """Whether orders and reports pass between a node and the control plane."""
        link = self._links[node]
        return not (link.dark or link.unlinked or self.cut_off) and self._world.nodes.is_on(node)

    def is_lost(self, node: str) -> bool:
        """Whether gateways cannot reach it."""
        link = self._links[node]
        return link.dark or not self._world.nodes.is_on(node)

    def is_deaf(self, node: str) -> bool:
        """Whether a node hears nobody at all."""
        return self._links[node].deaf

    def steady(self, nodes: tuple[str, ...], since_s: float) -> bool:
        """Whether nothing about the way to these nodes has changed since then."""
        return all(self._links[node].changed_s < since_s for node in nodes)

    def silent(self) -> frozenset[str]:
        """The nodes that the control plane cannot hear at this moment."""
        return frozenset(node for node in self._links if not self.hears_control(node))

    def darken(self, node: str, *, dark: bool) -> None:
        """A node hears nobody, or hears again."""
        world, link = self._world, self._links[node]
        link.dark, link.changed_s = dark, world.now_s
        for live in tuple(world.serving.live.values()):
            if node in live.nodes:
                if dark:
                    world.laws.out_of_reach(live.replica)
                    world.serving.silence(live)
                elif not any(self.is_lost(one) for one in live.nodes):
                    world.laws.ready(live.replica)
                    live.engine.go_on(world.now_s)
                world.serving.reschedule(live)
        self._changed(node)

    def unlink(self, node: str, *, unlinked: bool) -> None:
        """The control plane and a node do not hear each other, or do again."""
        self._links[node].unlinked = unlinked
        self._changed(node)

    def power(self, node: str, *, on: bool) -> None:
        """A node's power goes or comes."""
        world = self._world
        self._links[node].changed_s = world.now_s
        if on:
            world.nodes.power_on(world.now_s, node)
        else:
            world.nodes.power_off(world.now_s, node)
            self._links[node].deaf = False
        self._changed(node)

    def delay_reports(self, node: str, late_s: float) -> None:
        """From now on its reports come so late."""
        self._links[node].late_s = late_s

    def everybody_changed(self) -> None:
        """Control plane or gateways went or came: some nodes may hear nobody now."""
        for node in self._links:
            self._look(node)

    def reports(self) -> tuple[NodeReport, ...]:
        """What the control plane has in its hands now."""
        world = self._world
        for name, link in self._links.items():
            if self.hears_control(name):
                report = world.nodes.report(name, clock_ms(world.now_s))
                link.on_the_way.append((world.now_s + link.late_s, report))
            while link.on_the_way and link.on_the_way[0][0] <= world.now_s:
                self._heard[name] = link.on_the_way.popleft()[1]
        return tuple(self._heard.values())

    def post(self, orders: NodeOrders) -> None:
        """Send orders; they may be lost, or overtake each other."""
        from fastness.simulator.world import ORDER_S

        world = self._world
        if self.orders_lost and world.dice.random() < self.orders_lost:
            return
        late_s = ORDER_S + world.dice.random() * self.orders_late_s
        world.at(world.now_s + late_s, lambda: world.deliver(orders))

    def _changed(self, node: str) -> None:
        self._look(node)
        self._world.control.tell_again(node)
        self._world.refresh()
        self._world.disturb()

    def _look(self, node: str) -> None:
        """Does it hear anybody?"""
        world, link = self._world, self._links[node]
        if not world.nodes.is_on(node):
            return
        control = self.hears_control(node) and world.control.up and not world.control.paused
        gateways = not link.dark and any(one.up for one in world.gateways.values())
        deaf = not control and not gateways
        if world.rules.lease_needs_control and not control and not deaf:
            world.nodes.deafen(world.now_s, node)
        if deaf == link.deaf:
            return
        link.deaf = deaf
        if not deaf:
            world.nodes.hear(node)
            return
        since_s = world.now_s
        link.changed_s = since_s
        world.nodes.deafen(since_s, node)
        pace = world.scenario.node_pace
        world.at(since_s + pace.lease_s + pace.stop_s + 0.1, lambda: self._must_be_fenced(node, since_s))

    def _must_be_fenced(self, node: str, since_s: float) -> None:
        link = self._links[node]
        if link.deaf and link.changed_s == since_s and self._world.nodes.is_on(node):
            self._world.laws.fenced(node)
