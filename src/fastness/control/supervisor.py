"""`fastness up`: brings the parts up in order, keeps them up, and takes them down in the reverse order.

The supervisor is small on purpose: it starts engines, the control process and the gateway as children that can die
alone, tells the gateways where replicas are, and never touches a request.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from fastness import __version__
from fastness.config import ConfigError
from fastness.control.site import Fleet, Model, Progress, Site, StartRefused, Up
from fastness.core.event import Event, EventType, Scalar
from fastness.core.replica import Replica, ReplicaState, RoutingSnapshot
from fastness.fleet.supervised import Supervised
from fastness.store.snapshot_file import write_snapshot

KEEP_PERIOD_S: Final = 0.2
"""How soon a policy just published changes what is told of this machine, and how often the log is written."""


@dataclass(slots=True)
class _Running:
    """What has been started, in order, and must be taken down."""

    fleet: Fleet | None = None
    children: list[Supervised] = field(default_factory=list)


class Supervisor:
    """One installation on this machine."""

    def __init__(self, site: Site, progress: Progress, *, unsealed: bool) -> None:
        self._site = site
        self._progress = progress
        self._unsealed = unsealed
        self._running = _Running()
        self._models: tuple[Model, ...] = ()
        self._is_up = False
        self._version = int(site.clock() * 1_000)
        self._states: dict[str, tuple[int, ReplicaState]] = {}
        self._began: dict[str, float] = {}
        self._replicas_ready = asyncio.Event()
        self._now = asyncio.get_running_loop().time

    async def run(self, on_ready: Callable[[Up], None]) -> int:
        """Bring everything up, serve until SIGTERM or SIGINT, take everything down; return the exit code."""
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, ended.set)
        keeper = loop.create_task(self._keep())
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
            await self._stop()
            keeper.cancel()
            await asyncio.gather(keeper, return_exceptions=True)
        return 0

    async def _start(self) -> Up:
        began = self._now()
        site, settings = self._site, self._site.settings
        proof, self._models = await asyncio.gather(self._prove(), self._ensure_models())
        await self._record(
            EventType.BOOT, process="supervisor", version=__version__, pid=os.getpid(), sealed=not self._unsealed
        )
        if self._unsealed:
            await self._record(EventType.UNSEALED_ALLOWED, process="supervisor")
        self._publish(())
        self._running.fleet = await site.start_replicas(self._models, self._unsealed, self._observed)
        await self._child(site.control())
        self._redeclare()  # control has published the policy in force: it may have another profile
        admin_key = await site.first_admin()
        gateway_began = self._now()
        _listen(site.listener)
        await self._child(site.gateway())
        scheme = "https" if settings.gateway.tls_certificate else "http"
        base_url = f"{scheme}://{_host(site.listener)}/v1"
        self._progress.done("gateway", base_url, self._now() - gateway_began)
        write_snapshot(
            site.run_directory / "fastness.json",
            {"pid": os.getpid(), "base_url": base_url, "started_s": site.clock(), "sealed": not self._unsealed},
        )
        await self._all_replicas_ready()
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

    async def _child(self, child: Supervised) -> None:
        """Start one of our own processes and wait until it serves."""
        self._running.children.append(child)
        child.begin()
        deadline = self._now() + self._site.settings.engine.start_timeout_s
        while child.state is not ReplicaState.READY:
            if self._now() > deadline:
                raise StartRefused("A process of Fastness did not start: " + " | ".join(child.last_lines[-5:]))
            await asyncio.sleep(0.01)

    def _observed(self, replica: Replica) -> None:
        """A replica changed: tell the gateways first, then the ledger and the log."""
        fleet = self._running.fleet
        replicas = fleet.observe() if fleet else (replica,)
        self._publish(replicas)
        if all(one.card.name != replica.model for one in self._models):
            return  # it was revoked, and ends
        before = self._states.get(replica.id)
        self._states[replica.id] = (replica.epoch, replica.state)
        if before == self._states[replica.id]:
            return
        diagnosis = replica.diagnosis.code if replica.diagnosis else None
        self._site.log.record(
            "info", "replica", replica=replica.id, state=replica.state.value, epoch=replica.epoch, diagnosis=diagnosis
        )
        if replica.state is ReplicaState.STARTING:
            self._began[replica.id] = self._now()
        if replica.state is ReplicaState.READY:
            if not self._replicas_ready.is_set():
                self._progress.done("engine", _described(replica), self._now() - self._began[replica.id])
            self._site.ledger.append(self._event(EventType.MODEL_LOADED, **self._loaded(replica)))
        elif replica.state in (ReplicaState.BACKING_OFF, ReplicaState.FAILED):
            self._site.ledger.append(
                self._event(
                    EventType.ENGINE_FAILED,
                    replica=replica.id,
                    model=replica.model,
                    epoch=replica.epoch,
                    diagnosis=diagnosis,
                    restarts=replica.restarts,
                )
            )
            summary = replica.diagnosis.summary if replica.diagnosis else "it ended"
            self._progress.warn(f"{replica.id}: {summary}. It is being restarted; `fastness ps` tells more.")
        if all(one.state is ReplicaState.READY for one in replicas) and len(replicas) >= len(self._models):
            self._replicas_ready.set()

    def _loaded(self, replica: Replica) -> dict[str, Scalar]:
        digest = next(one.card.digest for one in self._models if one.card.name == replica.model)
        return {
            "replica": replica.id, "model": replica.model, "model_digest": digest, "engine": replica.engine,
            "epoch": replica.epoch, "sealed": replica.sealed, "slots": replica.slots,
            "context_tokens": replica.context_tokens,
        }  # fmt: skip

    def _publish(self, replicas: tuple[Replica, ...]) -> None:
        self._version += 1
        declaration = self._site.declared.declaration
        deployed = {model.card.name for model in self._models}
        snapshot = RoutingSnapshot(
            self._version,
            tuple(model.card for model in self._models),
            tuple(one for one in replicas if one.model in deployed),
            tuple(declaration.deployment(one.card, one.ceiling, one.adapters) for one in self._models),
            (declaration.node,),
        )
        write_snapshot(self._site.run_directory / "routing.json", snapshot)

    async def _all_replicas_ready(self) -> None:
        """Wait until every replica is ready; raises StartRefused with the diagnosis when one cannot be."""
        limit_s = self._site.settings.engine.start_timeout_s
        try:
            async with asyncio.timeout(limit_s):
                await self._replicas_ready.wait()
        except TimeoutError:
            fleet = self._running.fleet
            troubles = [
                f"{one.id} is {one.state}: {one.diagnosis.summary} {one.diagnosis.hint}"
                if one.diagnosis
                else f"{one.id} is {one.state}"
                for one in (fleet.observe() if fleet else ())
                if one.state is not ReplicaState.READY
            ]
            raise StartRefused(f"Not every engine became ready within {limit_s:g} s. " + " ".join(troubles)) from None

    async def _stop(self) -> None:
        """Gateway first, so that answers under way are finished by engines that still run; then the rest."""
        self._site.listener.close()
        while self._running.children:
            await self._running.children.pop().stop()
        if self._running.fleet:
            await self._running.fleet.close()
        for name in ("fastness.json", "routing.json"):
            (self._site.run_directory / name).unlink(missing_ok=True)
        await self._record(EventType.STOPPED, process="supervisor", pid=os.getpid(), reason="signal")
        await self._site.ledger.close()
        self._site.log.flush()

    async def _record(self, type_: EventType, **fields: Scalar) -> None:
        await self._site.ledger.commit(self._event(type_, **fields))

    def _event(self, type_: EventType, **fields: Scalar) -> Event:
        return Event(type_, int(self._site.clock() * 1_000), fields)

    def _redeclare(self) -> None:
        """Tell the gateways what this machine is under a policy that was published since. Raises ConfigError."""
        if self._site.declared.poll():
            self._publish(self._running.fleet.observe() if self._running.fleet else ())

    async def _withdraw(self) -> None:
        """Stop what has been revoked: no gateway sends it anything more, then its engines end, whatever they do."""
        fleet, revoked = self._running.fleet, [one for one in self._models if self._site.is_revoked(one.card.name)]
        if not revoked or fleet is None:
            return
        self._models = tuple(one for one in self._models if one not in revoked)
        names = {one.card.name for one in revoked}
        self._publish(fleet.observe())
        for replica in fleet.observe():
            if replica.model in names:
                await fleet.stop(replica.id)
        self._progress.warn(f"{', '.join(sorted(names))} was revoked: its engines were stopped.")

    async def _keep(self) -> None:
        """Write the log, and follow the policy that is published, until cancelled."""
        while True:
            await asyncio.sleep(KEEP_PERIOD_S)
            try:
                if self._is_up:
                    self._redeclare()
                    await self._withdraw()
            except ConfigError as error:
                self._site.log.record("error", "declaration.unreadable", reason=str(error))
                self._progress.warn(f"Under the policy just applied, nothing is cleared here: {error}")
            self._site.log.flush()


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
