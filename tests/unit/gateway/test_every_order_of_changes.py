"""Law 4 under fire: whatever changes while requests wait, whoever is let in is cleared for where it is let in, then.

Requests, policies, nodes, replicas and clearances come and go in every order, with any number of turns of the loop in
between, so that a change also falls between the giving of a slot and its taking. And law 8: what was told to be
drained, with nothing under way, never gets anything again.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any, cast

import pytest

from fastness.config import Settings, TrafficSettings
from fastness.core.deployment import Deployment
from fastness.core.error import Refusal
from fastness.core.marking import Label, Node
from fastness.core.policy import Parameters
from fastness.core.replica import Replica, ReplicaState, RoutingSnapshot
from fastness.core.request import Operation
from fastness.gateway.choosing import Asked
from fastness.gateway.gateway import Gateway
from fastness.gateway.in_force import Mark, PolicyInForce
from fastness.gateway.routing import Routing
from fastness.gateway.slot import Slot
from fastness.gateway.trip import Trip
from policed import ANN, CLOSED, LATTICE, OPEN, SECRET, Keys, Rules, card

LABELS = (OPEN, CLOSED, SECRET)
NODES = ("n1", "n2", "n3")
ONE = Replica("r", "small", "fake", ReplicaState.READY, "/x", 1, 2_048, 1, sealed=True)
CODES = {"marking_not_cleared", "parameter_not_allowed", "policy_unavailable", "no_replica_ready", "queue_full"}
PLACES = ("r0", "r1", "r2")
WORLDS, STEPS = 40, 400


class Changes:
    """Beside the gateway is what is true now: ceilings of nodes, where replicas are, the rules, Ann's clearance."""

    def __init__(self, seed: int) -> None:
        self.dice = Random(seed)
        self.entered = self.waited = self.turn = self.ever_drained = 0
        self.loop = asyncio.new_event_loop()
        self.keys = Keys(replace(ANN, tenant_clearance=SECRET))
        traffic = TrafficSettings(engine_queue=0, queue_max=8)
        dialect = cast(Any, SimpleNamespace(pins_slots=False))
        self.routing = Routing(traffic, lambda _: dialect, lambda _: None)
        self.gateway = self.loop.run_until_complete(self._gateway(traffic))
        self.nodes = dict.fromkeys(NODES, CLOSED)
        self.places = {f"r{number}": (name, 1) for number, name in enumerate(NODES)}
        self.epoch = 1
        self.draining: set[str] = set()
        self.drained: set[tuple[str, int]] = set()
        self.rules: Rules | None = Rules()
        self.tasks: dict[int, asyncio.Task[None]] = {}
        self.inside: dict[int, asyncio.Event] = {}
        self.count = 0
        self.codes: set[str] = set()
        self.publish()
        self.enforce()

    async def _gateway(self, traffic: TrafficSettings) -> Gateway:
        parts = cast(Any, (None,) * 4)
        return Gateway(Settings(Path("/"), traffic=traffic), self.routing, self.keys, *parts, lambda: 1.0)

    def publish(self) -> None:
        nodes = tuple(Node(name, "GB", "", "", ceiling) for name, ceiling in self.nodes.items())
        replicas = tuple(
            replace(
                ONE,
                id=name,
                node=node,
                slots=slots,
                epoch=self.epoch,
                state=ReplicaState.DRAINING if name in self.draining else ReplicaState.READY,
            )
            for name, (node, slots) in self.places.items()
        )
        deployment = Deployment("small", "small", SECRET, SECRET)
        self.routing.replace(RoutingSnapshot(1, (card("small"),), replicas, (deployment,), nodes))

    def enforce(self) -> None:
        self.gateway.put_in_force(None if self.rules is None else PolicyInForce(self.rules, 64))

    def turns(self, count: int) -> None:
        for _ in range(count):
            self.turn += 1
            self.loop.call_soon(self.loop.stop)  # so that it is one turn exactly
            self.loop.run_forever()

    async def request(self, number: int, asked: Label, uses: tuple[str, ...]) -> None:
        exchange = SimpleNamespace(headers={"authorization": "Bearer ann"}, certificate_uris=(), body=b"{}")
        trip = Trip(cast(Any, exchange), Operation.CHAT, access_version=self.gateway.access_version)
        trip.principal, trip.mark = self.gateway.authenticate(cast(Any, exchange)), Mark(asked, b"")
        trip.served, trip.parameters = self.routing.find("small"), Parameters(uses)
        try:
            began = self.turn
            slot = Slot(self.gateway, trip, Asked(""))
            replica = slot.take() or await slot.wait()
            try:
                self.check(asked, uses, replica)
                self.entered += 1
                self.waited += self.turn > began
                self.inside[number] = asyncio.Event()
                await self.inside[number].wait()
            finally:
                slot.free()
        except Refusal as refusal:
            self.codes.add(refusal.code)
        finally:
            self.inside.pop(number, None)

    def check(self, asked: Label, uses: tuple[str, ...], replica: Replica) -> None:
        assert self.rules is not None, "let in without a policy"
        assert not (self.rules._denies and self.rules._denies in uses), "let in with what is forbidden now"
        clearance = self.keys.known["ann"].tenant_clearance
        assert clearance and LATTICE.dominates(clearance, asked), "let in above the caller's clearance"
        node, _ = self.places[replica.id]
        assert (replica.id, replica.epoch) not in self.drained, "let in where it was told that all is over"
        assert replica.node == node, "let in where the replica was, not where it is"
        assert node in self.nodes, "let in on a node that nobody describes"
        assert LATTICE.dominates(self.nodes[node], asked), "let in above the node's ceiling"

    def arrive(self) -> None:
        self.count += 1
        uses = ("seed",) if self.dice.random() < 0.3 else ()
        work = self.request(self.count, self.dice.choice((OPEN, *LABELS)), uses)
        self.tasks[self.count] = self.loop.create_task(work)

    def finish(self) -> None:
        if self.inside:
            self.dice.choice(list(self.inside.values())).set()

    def give_up(self) -> None:
        living = [task for task in self.tasks.values() if not task.done()]
        if living:
            self.dice.choice(living).cancel()

    def nodes_change(self) -> None:
        self.nodes = {name: self.dice.choice((SECRET, *LABELS)) for name in NODES if self.dice.random() < 0.9}
        self.publish()

    def replicas_change(self) -> None:
        self.places = {
            name: (self.dice.choice(NODES), self.dice.randint(1, 2)) for name in PLACES if self.dice.random() < 0.8
        }
        self.epoch += 1
        self.draining.clear()
        self.publish()

    def replicas_drain(self) -> None:
        if self.dice.random() < 0.4:
            self.draining.add(self.dice.choice(PLACES))
        self.publish()

    def report(self) -> None:
        """Take the gateway at its word: a replica that drains, and has nothing, is over."""
        in_flight = self.routing.in_flight()
        assert sum(in_flight.values()) >= len(self.inside)
        over = {(name, self.epoch) for name in self.routing.draining if not in_flight.get(name)}
        self.ever_drained += len(over - self.drained)
        self.drained |= over

    def policy_changes(self) -> None:
        self.rules = self.dice.choice([None, *[Rules()] * 6, *[Rules(denies="seed")] * 3])
        self.enforce()

    def clearance_changes(self) -> None:
        self.keys.known["ann"] = replace(ANN, tenant_clearance=self.dice.choice((SECRET, SECRET, *LABELS)))
        self.gateway.access_changed()

    def step(self) -> None:
        often = [self.arrive] * 16 + [self.finish] * 8 + [self.give_up]
        seldom = [
            self.nodes_change,
            self.replicas_change,
            self.replicas_drain,
            self.policy_changes,
            self.clearance_changes,
        ]
        self.dice.choice([*often, *seldom])()
        self.turns(self.dice.choice((0, 0, 1, 1, 2, 5)))
        self.report()

    async def end(self) -> list[BaseException | None]:
        for task in self.tasks.values():
            task.cancel()
        return await asyncio.gather(*self.tasks.values(), return_exceptions=True)

    def close(self) -> None:
        """Every request ends, no slot is lost, and nothing that went wrong stays unheard."""
        ended = self.loop.run_until_complete(self.end())
        self.loop.close()
        assert [one for one in ended if one and not isinstance(one, asyncio.CancelledError)] == []
        assert self.codes <= CODES
        served = self.routing.find("small")
        assert served
        assert not served.waiters
        assert not served.queue.waiting
        assert not served.queue.choosy
        assert self.routing.in_flight() == {}


@pytest.mark.parametrize("seed", range(WORLDS))
def test_whoever_is_let_in_is_cleared_for_where_it_is_let_in_then(seed: int) -> None:
    changes = Changes(seed)
    for _ in range(STEPS):
        changes.step()
    changes.close()
    assert changes.entered > STEPS / 20, "a world in which nobody is let in shows nothing"
    assert changes.waited > STEPS / 80, "nor one in which nobody waits"


@pytest.mark.parametrize("seed", range(WORLDS, WORLDS + 4))
def test_what_was_told_to_be_drained_and_empty_gets_nothing_any_more(seed: int) -> None:
    changes = Changes(seed)
    for _ in range(STEPS):
        changes.step()
        if changes.dice.random() < 0.1:
            changes.draining.add(changes.dice.choice(PLACES))
            changes.publish()
    changes.close()
    assert changes.ever_drained > 2, "a world in which nothing drains shows nothing"
