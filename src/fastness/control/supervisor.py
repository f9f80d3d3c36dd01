"""`fastness up`: brings the parts up in order, keeps them up, and takes them down in the reverse order.

The supervisor is small on purpose: it starts the control process and the gateway as children that can die alone, is the
node of this machine, which keeps engines as control orders (this_node.py), and never touches a request.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Callable
from typing import Final

from fastness import __version__
from fastness.config import ConfigError
from fastness.control.settling import is_settled, troubles
from fastness.control.site import Model, Progress, Site, StartRefused, Up
from fastness.control.this_node import ThisNode
from fastness.core.event import Event, EventType, Scalar
from fastness.core.replica import Replica, ReplicaState
from fastness.fleet.supervised import Supervised
from fastness.ledger.port import LedgerUnavailable
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
        self._children: list[Supervised] = []
        self._models: tuple[Model, ...] = ()
        self._is_up = False
        self._states: dict[str, tuple[int, ReplicaState]] = {}
        self._began: dict[str, float] = {}
        self._warned: dict[str, str | None] = {}
        self._failed: dict[str, str] = {}
        self._now = asyncio.get_running_loop().time
        self._node = ThisNode(site, self._observed, unsealed=unsealed)

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
        control = self._begin(site.control())  # it takes as long as the models do, and gives orders meanwhile
        proof, self._models = await asyncio.gather(self._prove(), self._ensure_models())
        await self._record(
            EventType.BOOT, process="supervisor", version=__version__, pid=os.getpid(), sealed=not self._unsealed
        )
        if self._unsealed:
            await self._record(EventType.UNSEALED_ALLOWED, process="supervisor")
        self._node.allowed.set()
        await self._serving(control)
        self._node.redeclare()  # control has published the policy in force: it may have another profile
        admin_key = await site.first_admin()
        gateway_began = self._now()
        _listen(site.listener)
        await self._serving(self._begin(site.gateway()))
        scheme = "https" if settings.gateway.tls_certificate else "http"
        base_url = f"{scheme}://{_host(site.listener)}/v1"
        self._progress.done("gateway", base_url, self._now() - gateway_began)
        write_snapshot(
            site.run_directory / "fastness.json",
            {"pid": os.getpid(), "base_url": base_url, "started_s": site.clock(), "sealed": not self._unsealed},
        )
        await self._settled()
        self._is_up = True
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

    def _begin(self, child: Supervised) -> Supervised:
        """Start one of our own processes."""
        self._children.append(child)
        child.begin()
        return child

    async def _serving(self, child: Supervised) -> None:
        """Wait until one of our own processes serves; raises StartRefused."""
        deadline = self._now() + self._site.settings.engine.start_timeout_s
        while child.state is not ReplicaState.READY:
            if self._now() > deadline:
                raise StartRefused("A process of Fastness did not start: " + " | ".join(child.last_lines[-5:]))
            await asyncio.sleep(0.01)

    def _observed(self, replica: Replica) -> None:
        """A replica changed, and the gateways know: now the ledger and the log."""
        if not self._node.is_loadable(replica.model):
            return  # it was revoked, and ends
        before = self._states.get(replica.id)
        if replica.state is ReplicaState.STOPPED:
            self._states.pop(replica.id, None)
            self._began.pop(replica.id, None)
        else:
            self._states[replica.id] = (replica.epoch, replica.state)
        if before == (replica.epoch, replica.state):
            return
        diagnosis = replica.diagnosis.code if replica.diagnosis else None
        self._site.log.record(
            "info", "replica", replica=replica.id, state=replica.state.value, epoch=replica.epoch, diagnosis=diagnosis
        )
        if replica.state is ReplicaState.STARTING:
            self._began[replica.id] = self._now()
        elif replica.state is ReplicaState.READY:
            if not self._is_up:
                self._progress.done(
                    "engine", _described(replica), self._now() - self._began.get(replica.id, self._now())
                )
            self._warned.pop(replica.id, None)
            self._append(EventType.MODEL_LOADED, **_loaded(replica))
        elif replica.state in (ReplicaState.BACKING_OFF, ReplicaState.FAILED):
            self._append(
                EventType.ENGINE_FAILED,
                replica=replica.id,
                model=replica.model,
                epoch=replica.epoch,
                diagnosis=diagnosis,
                restarts=replica.restarts,
            )
            if self._warned.get(replica.id) == diagnosis:
                return  # it goes on failing in the same way, ever more slowly: the ledger has each time
            self._warned[replica.id] = diagnosis
            summary = replica.diagnosis.summary if replica.diagnosis else "it ended"
            self._progress.warn(
                f"{replica.id}: {summary.rstrip('.')}. It is being restarted; `fastness ps` tells more."
            )

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
        """Gateway first, so that answers under way are finished by engines that still run; then the rest."""
        self._site.listener.close()
        while self._children:
            await self._children.pop().stop()
        for one in keepers:
            one.cancel()
        await asyncio.gather(*keepers, return_exceptions=True)
        (self._site.run_directory / "fastness.json").unlink(missing_ok=True)
        await self._node.close()
        await self._record(EventType.STOPPED, process="supervisor", pid=os.getpid(), reason="signal")
        await self._site.ledger.close()
        self._site.log.flush()

    async def _record(self, type_: EventType, **fields: Scalar) -> None:
        await self._site.ledger.commit(self._event(type_, **fields))

    def _append(self, type_: EventType, **fields: Scalar) -> None:
        """Record without waiting. A ledger that takes nothing stops gateways, not the engines behind them."""
        try:
            self._site.ledger.append(self._event(type_, **fields))
        except LedgerUnavailable as error:
            self._fails("ledger.not_written", str(error))

    def _event(self, type_: EventType, **fields: Scalar) -> Event:
        return Event(type_, int(self._site.clock() * 1_000), fields)

    async def _look(self) -> None:
        """Obey control, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_PERIOD_S)
            try:
                await self._node.look()
            except Exception as error:  # noqa: BLE001 - the next look may see what this one could not
                self._fails("orders.not_obeyed", str(error) or repr(error))

    async def _keep(self) -> None:
        """Write the log, and follow the policy and the admissions that are published, until cancelled."""
        while True:
            await asyncio.sleep(KEEP_PERIOD_S)
            try:
                if self._is_up:
                    self._node.redeclare()
                    if gone := await self._node.withdraw():
                        self._progress.warn(f"{', '.join(gone)} was revoked: its engines were stopped.")
            except ConfigError as error:
                self._site.log.record("error", "declaration.unreadable", reason=str(error))
                self._progress.warn(f"Under the policy just applied, nothing is cleared here: {error}")
            except OSError as error:
                self._fails("policy.not_followed", str(error))
            self._site.log.flush()

    def _fails(self, event: str, reason: str) -> None:
        """Log what goes on failing once."""
        if self._failed.get(event) != reason:
            self._failed[event] = reason
            self._site.log.record("error", event, reason=reason)


def _loaded(replica: Replica) -> dict[str, Scalar]:
    return {
        "replica": replica.id, "model": replica.model, "model_digest": replica.model_digest, "engine": replica.engine,
        "build": replica.build,
        "epoch": replica.epoch, "sealed": replica.sealed, "slots": replica.slots,
        "context_tokens": replica.context_tokens,
    }  # fmt: skip


def _described(replica: Replica) -> str:
    return f"{replica.engine} · {replica.model} · {replica.slots} slots × {replica.context_tokens:,} tokens"


def _listen(listener: socket.socket) -> None:
    """Let clients connect. The gateway inherits the socket, so its port outlives its process."""
    try:
        listener.listen(1_024)
    except OSError as error:
        raise StartRefused(
            f"Cannot listen on {_host(listener)}: {error.strerror}. "
            "Stop what listens there, or choose another port: fastness up --port 0"
        ) from error


def _host(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    if host in ("0.0.0.0", "::"):  # noqa: S104 - only to say where a person can reach it from here
        host = "127.0.0.1"
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
