"""The supervisor as the node of its machine: it takes orders, reports, and tells the gateways where replicas are."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

from fastness.control.routing import Known, known_here, routing_snapshot
from fastness.control.run_files import LOADS, ORDERS, REPORT, ROUTING
from fastness.control.site import Site
from fastness.core.gateways import sockets_in
from fastness.core.marking import Node
from fastness.core.observation import NodeOrders
from fastness.core.replica import Replica
from fastness.fleet.node import LocalNode
from fastness.store.snapshot_file import write_snapshot

REPORT_PERIOD_S: Final = 1.0
"""How often control hears of a node on which nothing changes; a node that is silent for some of these may be lost."""


class ThisNode:
    """The node, its files, and what of it is allowed to be routed.

    `tell` gets each replica that changed by itself; `heard` all that other nodes report, before gateways hear of them.
    """

    def __init__(
        self,
        site: Site,
        tell: Callable[[Replica], None],
        heard: Callable[[tuple[Replica, ...]], None],
        *,
        unsealed: bool,
    ) -> None:
        self._site, self._tell, self._heard = site, tell, heard
        self._known = Known()
        self._sent: NodeOrders | None = None
        """The last orders, as they came: with what was revoked since."""
        self._revoked: frozenset[str] = frozenset()
        self._version = int(site.clock() * 1_000)
        self._reported_s = 0.0
        self._is_stale = False
        self._now = asyncio.get_running_loop().time
        self._offer = site.offer(site.declared.declaration.node)
        self.allowed = asyncio.Event()
        """Set once the seal is proved: no engine is prepared before."""
        self.ordered = False
        """Whether control has sent orders in this run."""
        self.changed = asyncio.Event()
        """Set whenever anything here has changed; whoever waits for that clears it."""
        self._node: LocalNode = site.node(unsealed, self.allowed, self._changed)

    @property
    def orders(self) -> NodeOrders:
        """The last orders that were taken."""
        return self._node.orders

    def observe(self) -> tuple[Replica, ...]:
        """Return every replica as it is now."""
        return self._node.observe()

    def is_loadable(self, model: str) -> bool:
        """Tell whether a model may be loaded here, as far as was looked."""
        return model in self._known.models

    async def begin(self) -> None:
        """Forget what a run before left in the run directory, take up its orders, and say that we are here."""
        run = self._site.run_directory
        for left in (run / ORDERS, *run.glob(LOADS), *sockets_in(run)):
            left.unlink(missing_ok=True)
        # What was revoked before this run is in no order from the first on: control may name it still.
        self._revoked = await asyncio.to_thread(self._site.revoked)
        if self._site.neighbours is not None:
            self._site.neighbours.begin()
            self._site.neighbours.withhold(self._revoked)
        kept = self._site.kept_orders()
        if kept is not None:
            self._sent = kept
            await self._look_up(kept)
            kept = kept.without_adapters(self._revoked)
        self._node.begin(kept)
        self.publish()

    async def look(self) -> None:
        """Obey orders that have come, and report if it is time. Raises OSError when something cannot be written."""
        if self._is_stale:
            self._write()
        sent = self._site.new_orders()
        if sent is not None:
            self._sent = sent
            await self._look_up(sent)
            await self._node.obey(sent.without_adapters(self._revoked))
            self.ordered = True
            self.changed.set()
        others = self._site.neighbours
        if others is not None and others.look(self.orders):
            self._heard(others.replicas())
            self.publish()
        if self._now() - self._reported_s > REPORT_PERIOD_S:
            self._report()

    def redeclare(self) -> None:
        """Tell what this machine is under a policy that was published since. Raises ConfigError."""
        if self._site.declared.poll():
            self._offer = replace(self._offer, place=self._site.declared.declaration.node)
            self.publish()

    async def withdraw(self) -> tuple[str, ...]:
        """End what has been revoked: no gateway sends it anything more, then its engines end. Return what it was.

        Engines that had an adapter loaded, and not only that, are started again without it.
        """
        sent = self._sent or self.orders
        specs = (*sent.served, *(one.spec for one in sent.assignments))
        names = {one.model for one in specs} | {each.name for one in specs for each in one.adapters}
        revoked = frozenset(name for name in names | self._revoked if self._site.is_revoked(name))
        if revoked == self._revoked:
            return ()
        new, self._revoked = revoked - self._revoked, revoked
        await self._look_up(sent)
        for name in new:
            self._node.halt(name)
        await self._node.obey(sent.without_adapters(revoked))
        if self._site.neighbours is not None:
            self._site.neighbours.withhold(revoked)
        self.publish()
        return tuple(sorted(new))

    async def close(self) -> None:
        """End every engine, and remove what is true only while we run."""
        await self._node.close()
        for name in (ROUTING, REPORT, ORDERS):
            (self._site.run_directory / name).unlink(missing_ok=True)

    def publish(self) -> None:
        """Tell the gateways, then control. What cannot be written is written later: `look` tries, and raises."""
        try:
            self._write()
        except OSError:
            self._is_stale = True
        self.changed.set()

    def _write(self) -> None:
        self._version += 1
        declaration = self._site.declared.declaration
        following, elsewhere = self.orders.following, tuple[Node, ...]()
        replicas = tuple(one for one in self._node.observe() if one.id not in following)
        if (others := self._site.neighbours) is not None:
            replicas, elsewhere = (*replicas, *others.replicas()), others.places()
        gateways = self._site.gateways.names
        snapshot = routing_snapshot(self._version, self.orders, replicas, self._known, declaration, gateways, elsewhere)
        write_snapshot(self._path(ROUTING), snapshot)
        self._report()
        self._is_stale = False

    async def _look_up(self, orders: NodeOrders) -> None:
        site = self._site
        self._known = await asyncio.to_thread(known_here, orders, site.known, site.known_adapter)

    def _changed(self, replica: Replica | None) -> None:
        self.publish()
        if replica is not None:
            self._tell(replica)

    def _report(self) -> None:
        self._reported_s = self._now()
        node = replace(self._offer, digests=self._site.digests())
        report = self._node.report(node, int(self._site.clock() * 1_000))
        write_snapshot(self._path(REPORT), report, durable=False)

    def _path(self, name: str) -> Path:
        return self._site.run_directory / name
