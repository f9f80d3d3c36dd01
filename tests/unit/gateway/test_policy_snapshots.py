"""A gateway takes over policies and identities from snapshots: whole, soon, and closed when it cannot."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from fastness.core.identity import IdentitySnapshot
from fastness.core.policy import PolicyBundle, PolicySnapshot
from fastness.core.replica import RoutingSnapshot
from fastness.core.retention import SealingSnapshot
from fastness.core.tenant import AccessSnapshot
from fastness.core.witnessed import WitnessSnapshot
from fastness.gateway.process import POLL_S, GatewayParts, _poll, _read_policy, _read_snapshots
from fastness.ledger.receipts.salt_secrets import new_salting
from fastness.policy.port import PolicyProblem
from fastness.sealed.writer import Sealer
from fastness.store.snapshot_file import SnapshotReader, write_snapshot
from policed import PROFILE, Door, Keys, Rules, opened, run


class Known(Keys):
    """Keys that note which snapshots came."""

    def __init__(self) -> None:
        super().__init__()
        self.versions: list[int] = []

    def replace(self, snapshot: AccessSnapshot) -> None:
        self.versions.append(snapshot.version)

    def replace_identities(self, snapshot: IdentitySnapshot, now_s: float) -> None:
        assert now_s == 1.0
        self.versions.append(snapshot.version)


def snapshot(version: int, digest: str = "permits") -> PolicySnapshot:
    return PolicySnapshot(version, PolicyBundle(digest, PROFILE, ()), 0, "local")


def made(bundle: PolicyBundle) -> Rules:
    if bundle.digest == "broken":
        raise PolicyProblem("rules.cedar:3: what is this")
    if bundle.digest == "defect":
        raise RuntimeError("a defect")
    return Rules(denies="" if bundle.digest == "permits" else bundle.digest)


def parts_of(door: Door, engine: Callable[[PolicyBundle], Rules] = made) -> GatewayParts:
    return GatewayParts(
        settings=door.gateway.settings,
        access=Known(),
        access_reader=SnapshotReader(door.home / "access.json", AccessSnapshot),
        routing_reader=SnapshotReader(door.home / "routing.json", RoutingSnapshot),
        identity_reader=SnapshotReader(door.home / "identity.json", IdentitySnapshot),
        sealing_reader=SnapshotReader(door.home / "sealing.json", SealingSnapshot),
        sealer=Sealer(door.home / "sealed", "gateway-0", 1_000_000, 1_000_000, time.time),
        policy_reader=SnapshotReader(door.home / "policy.json", PolicySnapshot),
        witness_reader=SnapshotReader(door.home / "witnessed.json", WitnessSnapshot),
        policy_engine=engine,
        ledger=cast(Any, door.ledger),
        dialect=cast(Any, None),
        log=door.gateway.log,
        clock=door.gateway.clock,
        salting=new_salting(time.time()),
        listener=cast(Any, None),
        probes=door.home / "gateway-0.sock",
        control=door.home / "control.sock",
        reports=door.home / "load-gateway-0.json",
    )


def test_a_policy_is_in_force_soon_after_its_publication(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path) as door:
            door.enforce(None)
            poller = asyncio.create_task(_poll(parts_of(door), door.gateway))
            for number, (digest, status) in enumerate([("permits", 200), ("seed", 403), ("permits", 200)]):
                write_snapshot(tmp_path / "policy.json", snapshot(number, digest))
                began = time.monotonic()
                while (await door.chat(seed=1)).status != status:
                    assert time.monotonic() - began < 20
                    await asyncio.sleep(POLL_S / 10)
            poller.cancel()
            await asyncio.wait([poller])

    run(test)


def damage_none(path: Path) -> None:
    path.unlink()


def damage_torn(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def damage_other(path: Path) -> None:
    write_snapshot(path, {"version": 2})


def damage_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def damage_rules(path: Path) -> None:
    write_snapshot(path, snapshot(2, "broken"))


def damage_engine(path: Path) -> None:
    write_snapshot(path, snapshot(2, "defect"))


DAMAGES = [damage_none, damage_torn, damage_other, damage_folder, damage_rules, damage_engine]


@pytest.mark.parametrize("damage", DAMAGES)
def test_without_a_policy_that_can_be_read_nothing_is_permitted_until_there_is_one(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    async def test() -> None:
        path = tmp_path / "policy.json"
        async with opened(tmp_path) as door:
            parts = parts_of(door)
            write_snapshot(path, snapshot(1))
            await _read_policy(parts, door.gateway)
            assert (await door.chat()).status == 200
            damage(path)
            await _read_policy(parts, door.gateway)
            await _read_policy(parts, door.gateway)
            assert (await door.chat()).code == "policy_unavailable"
            if path.is_dir():
                path.rmdir()
            write_snapshot(path, snapshot(3))
            await _read_policy(parts, door.gateway)
            assert (await door.chat()).status == 200

    run(test)


def test_an_engine_is_made_beside_the_loop_which_goes_on(tmp_path: Path) -> None:
    async def test() -> None:
        gate = threading.Event()

        def slowly(bundle: PolicyBundle) -> Rules:
            assert gate.wait(10)
            return made(bundle)

        async with opened(tmp_path) as door:
            write_snapshot(tmp_path / "policy.json", snapshot(1, "seed"))
            reading = asyncio.create_task(_read_policy(parts_of(door, slowly), door.gateway))
            assert (await door.chat(seed=1)).status == 200, "the one before is in force until then"
            gate.set()
            await reading
            assert (await door.chat(seed=1)).status == 403

    run(test)


def test_what_was_decided_under_one_policy_is_not_remembered_under_the_next(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path) as door:
            assert (await door.chat(seed=1)).status == 200
            door.enforce(Rules(denies="seed"))
            assert (await door.chat(seed=1)).status == 403
            door.enforce(Rules())
            assert (await door.chat(seed=1)).status == 200

    run(test)


def test_identities_are_taken_over(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path) as door:
            parts = parts_of(door)
            _read_snapshots(parts, door.gateway)
            write_snapshot(tmp_path / "identity.json", IdentitySnapshot(7))
            write_snapshot(tmp_path / "access.json", AccessSnapshot(8, (), ()))
            _read_snapshots(parts, door.gateway)
            _read_snapshots(parts, door.gateway)
            assert sorted(cast(Known, parts.access).versions) == [7, 8]

    run(test)
