"""`fastness up`: brings the parts up in order, keeps them up, and takes them down in the reverse order.

The supervisor is small on purpose: it starts control processes and gateways as children that can die alone, is the
node of this machine, which keeps engines as control orders (this_node.py), and never touches a request.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from fastness import __version__
from fastness.config import ConfigError
from fastness.control.companions import Companions
from fastness.control.recording import Recording
from fastness.control.settling import is_settled, troubles
from fastness.control.site import Model, Progress, Site, StartRefused, Up
from fastness.control.this_node import ThisNode
from fastness.core.event import EventType
from fastness.core.own_process import PROCESSES, OwnProcess, OwnProcesses
from fastness.core.replica import Replica, ReplicaState
from fastness.fleet.supervised import Supervised
from fastness.store.snapshot_file import write_snapshot

LOOK_PERIOD_S: Final = 0.05
"""How soon new orders are obeyed."""
KEEP_PERIOD_S: Final = 0.2
"""How soon a policy just published changes what is told of this machine, and how often the log is written."""


class Supervisor:
    """One installation on this machine."""

    def __init__(self, site: Site, progress: Progress, *, unsealed: bool) -> None:
        self._site = site
        self._progress = progress
        self._unsealed = unsealed
        self._controls: tuple[Supervised, ...] = ()
        self._models: tuple[Model, ...] = ()
        self._is_up = False
        self._now = asyncio.get_running_loop().time
        self._record = Recording(site.ledger, site.log, site.clock, self._now, progress)
        self._node = ThisNode(site, self._observed, self._record.heard, unsealed=unsealed)
        self._companions = Companions(site.companions, site.log, progress)

    async def run(self, on_ready: Callable[[Up], None]) -> int:
        """Bring everything up, serve until SIGTERM or SIGINT, take everything down; return the exit code."""
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, ended.set)
        keepers = [loop.create_task(self._keep()), loop.create_task(self._look())]
        starting = loop.create_task(self._start())
        waiting = loop.create_task(ended.wait())
        try:
            await asyncio.wait((starting, waiting), return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                on_ready(starting.result())
                await waiting
        finally:
            starting.cancel()
            waiting.cancel()
            await asyncio.gather(starting, waiting, return_exceptions=True)
            await self._stop(keepers)
        return 0

    async def _start(self) -> Up:
        began = self._now()
        site, settings = self._site, self._site.settings
        await self._node.begin()
        self._controls = site.controls(self._write_processes)
        leads, *standbys = self._controls
        leads.begin()  # it takes as long as the models do, and gives orders meanwhile
        proof, self._models = await asyncio.gather(self._prove(), self._ensure_models())
        await self._record.commit(
            EventType.BOOT, process="supervisor", version=__version__, pid=os.getpid(), sealed=not self._unsealed
        )
        if self._unsealed:
            await self._record.commit(EventType.UNSEALED_ALLOWED, process="supervisor")
        self._node.allowed.set()
        await self._serving(leads)
        for one in standbys:
            one.begin()
        self._node.redeclare()  # control has published the policy in force: it may have another profile
        admin_key = await site.first_admin()
        gateway_began = self._now()
        await asyncio.gather(*map(self._serving, site.gateways.begin(self._write_processes)))
        scheme = "https" if settings.gateway.tls_certificate else "http"
        base_url = f"{scheme}://{site.gateways.address}/v1"
        self._progress.done("gateway", base_url, self._now() - gateway_began)
        write_snapshot(
            site.run_directory / "fastness.json",
            {"pid": os.getpid(), "base_url": base_url, "started_s": site.clock(), "sealed": not self._unsealed},
        )
        await self._settled()
        self._is_up, self._record.tells_ready = True, False
        cards = tuple(model.card for model in self._models)
        return Up(base_url, admin_key, os.getpid(), self._now() - began, cards, proof, not self._unsealed)

    async def _prove(self) -> str:
        if self._unsealed:
            self._progress.warn("Engines run UNSEALED: nothing but their own good will keeps them off the network.")
            return "not sealed"
        began = self._now()
        self._progress.stage("seal", "no network, files by allow-list, seccomp, rlimits")
        proof = await asyncio.to_thread(self._site.prove_seal)
        self._progress.done("seal", "no network, files by allow-list, seccomp, rlimits", self._now() - began, proof)
        return proof

    async def _ensure_models(self) -> tuple[Model, ...]:
        names = [
            name for name in (self._site.settings.engine.chat_model, self._site.settings.engine.embedding_model) if name
        ]
        models = []
        for name in names:
            began = self._now()
            self._progress.stage("model", name)
            model = await asyncio.to_thread(
                self._site.ensure_model, name, lambda _stage, done, total: self._progress.progress("model", done, total)
            )
            card = model.card
            described = f"{name}  {round(card.size_bytes / 1e6)} MB  sha256 {card.digest[:8]}…  {card.licence}"
            self._progress.done("model", described, self._now() - began, "admitted")
            models.append(model)
        return tuple(models)

    def _write_processes(self) -> None:
        """Tell how our own processes are, for people to see."""
        kept = [*(("control", one) for one in self._controls), *self._site.gateways.processes.items()]
        now_s = self._site.clock()
        seen = (OwnProcess(name, one.pid, one.state, one.restarts, now_s - one.state_age_s()) for name, one in kept)
        with suppress(OSError):  # a full disk: they run all the same
            all_ = OwnProcesses((*seen, *self._companions.seen))
            write_snapshot(self._site.run_directory / PROCESSES, all_, durable=False)

    async def _serving(self, child: Supervised) -> None:
        """Wait until one of our own processes serves; raises StartRefused."""
        deadline = self._now() + self._site.settings.engine.start_timeout_s
        while child.state is not ReplicaState.READY:
            if self._now() > deadline:
                raise StartRefused("A process of Fastness did not start: " + " | ".join(child.last_lines[-5:]))
            await asyncio.sleep(0.01)

    def _observed(self, replica: Replica) -> None:
        """A replica changed, and the gateways know: now the ledger and the log, unless it was revoked and ends."""
        if self._node.is_loadable(replica.model):
            self._record.observed(replica)

    async def _settled(self) -> None:
        """Wait until what configuration names is served; raises StartRefused with the diagnosis when it cannot be."""
        limit_s, node = self._site.settings.engine.start_timeout_s, self._node
        names = tuple(one.card.name for one in self._models)
        try:
            async with asyncio.timeout(limit_s):
                while not (node.ordered and is_settled(names, node.orders, node.observe())):
                    node.changed.clear()
                    await node.changed.wait()
        except TimeoutError:
            told = (
                [*troubles(names, node.orders, node.observe())]
                if node.ordered
                else ["Control gave no orders: fastness logs control says why."]
            )
            told += [f"{name}: {why}" for name in names if (why := await self._site.why(name))]
            raise StartRefused(f"Not every engine became ready within {limit_s:g} s. " + " ".join(told)) from None

    async def _stop(self, keepers: list[asyncio.Task[None]]) -> None:
        """Gateways first, so that answers under way are finished by engines that still run; then the rest."""
        await self._site.gateways.stop()
        await asyncio.gather(*(one.stop() for one in self._controls))  # all at once, or the next one would lead
        for one in keepers:
            one.cancel()
        await asyncio.gather(*keepers, return_exceptions=True)
        for name in ("fastness.json", PROCESSES):
            (self._site.run_directory / name).unlink(missing_ok=True)
        await self._node.close()
        await self._record.commit(EventType.STOPPED, process="supervisor", pid=os.getpid(), reason="signal")
        await self._site.ledger.close()
        self._site.log.flush()

    async def _look(self) -> None:
        """Obey control, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_PERIOD_S)
            try:
                await self._node.look()
            except Exception as error:  # noqa: BLE001 - the next look may see what this one could not
                self._record.fails("orders.not_obeyed", str(error) or repr(error))

    async def _keep(self) -> None:
        """Write the log, look after companions, and follow the policy and the admissions that are published."""
        while True:
            await asyncio.sleep(KEEP_PERIOD_S)
            if self._companions.look():
                self._write_processes()
            try:
                if self._is_up:
                    self._node.redeclare()
                    if gone := await self._node.withdraw():
                        self._progress.warn(f"{', '.join(gone)} was revoked: its engines were stopped.")
            except ConfigError as error:
                self._site.log.record("error", "declaration.unreadable", reason=str(error))
                self._progress.warn(f"Under the policy just applied, nothing is cleared here: {error}")
            except OSError as error:
                self._record.fails("policy.not_followed", str(error))
            self._site.log.flush()
