"""A head and a node that write to each other by way of a carrier whom neither trusts."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from pathlib import Path

import pytest

from cluster_world import World as Cluster
from fastness.control.handing_on import ModelHost, NoModels
from fastness.control.post import REPORT, WORD, SealedPost
from fastness.core.event import EventType
from fastness.core.fleet_event import Part
from fastness.core.observation import Assignment, NodeOrders
from fastness.core.replica import ReplicaState
from fastness.fleet.door.orders import DoorOrders, HostPlace, WantedModel
from fastness.store.snapshot_file import SnapshotReader
from letters_world import LEASE_S, NODE, SPEC, Two, run, serving, to_the_node


def test_what_control_orders_runs_and_is_routed_by_the_name_and_place_of_the_certificate(tmp_path: Path) -> None:
    async def journey(two: Two) -> None:
        await serving(two)
        (one,) = two.head.replicas()
        assert (one.node, one.socket) == (NODE, f"tls://10.0.0.7:7443/chat-1.{NODE}.fastness.internal")
        assert [(each.name, each.jurisdiction, str(each.ceiling)) for each in two.head.places()] == [
            (NODE, "GB", "OFFICIAL")
        ]
        (report,) = two.control.reports()
        assert (report.node.name, report.node.pool, report.node.labels) == (NODE, "gpu", (("rack", "b7"),))
        assert report.version == 3 and two.node.leased

    run(journey, tmp_path)


def test_gateways_hear_of_changes_only(tmp_path: Path) -> None:
    async def journey(two: Two) -> None:
        await serving(two)
        assert [await two.turn() for _ in range(5)] == [False] * 5

    run(journey, tmp_path)


def test_a_node_that_is_cut_off_ends_its_engines_when_its_lease_lapses_and_says_so(tmp_path: Path) -> None:
    async def journey(two: Two) -> None:
        await serving(two)
        two.now_s += LEASE_S - 0.6
        await two.node.look()
        assert two.node.leased and two.keeper and two.keeper.observe()
        two.now_s += 0.7
        await two.node.look()
        assert not two.node.leased
        await asyncio.sleep(0.01)
        assert not two.keeper.observe()
        assert two.recorded.events[-1][0] is EventType.LEASE_LAPSED

    run(journey, tmp_path)


def test_a_node_that_comes_back_runs_what_is_ordered_now_and_nothing_of_before(tmp_path: Path) -> None:
    async def journey(two: Two) -> None:
        await serving(two)
        two.now_s += LEASE_S + 1
        await two.node.look()
        two.order(4)
        for _ in range(4):
            await two.turn()
            assert not two.node.observe()
        assert two.node.leased and not two.routed()
        two.order(5, "chat-2", term=2)
        await two.turns(lambda: two.routed() == {"chat-2": ReplicaState.READY})

    run(journey, tmp_path)


def test_the_same_orders_begin_anew_after_a_lapse(tmp_path: Path) -> None:
    async def journey(two: Two) -> None:
        await serving(two)
        two.now_s += LEASE_S + 1
        await two.node.look()
        assert not two.node.observe() or all(one.state is ReplicaState.DRAINING for one in two.node.observe())
        await two.turns(lambda: two.node.leased and two.routed() == {"chat-1": ReplicaState.READY})
        assert [one for one, _ in two.recorded.events].count(EventType.LEASE_GRANTED) == 2

    run(journey, tmp_path)


def test_a_node_that_is_silent_gets_nothing_new_and_then_is_not_routed(tmp_path: Path) -> None:
    async def journey(two: Two) -> None:
        await serving(two)
        two.now_s += LEASE_S / 2 + 0.1
        assert two.head.look() and two.routed() == {"chat-1": ReplicaState.DRAINING}
        two.now_s += LEASE_S / 2
        assert two.head.look() and two.routed() == {}
        assert len(two.head.places()) == 1 and not two.head.look()

    run(journey, tmp_path)


def test_what_is_not_ordered_is_not_routed_whatever_the_node_says(tmp_path: Path) -> None:
    async def journey(two: Two) -> None:
        await serving(two)
        two.order(4, "chat-1", routed=False)
        two.head.look()
        assert two.routed() == {"chat-1": ReplicaState.DRAINING}
        two.order(5, "chat-1", term=9)
        two.head.look()
        assert two.routed() == {}, "what runs there was ordered under another term"

    run(journey, tmp_path)


def test_revoked_models_are_withheld(tmp_path: Path) -> None:
    async def journey(two: Two) -> None:
        await serving(two)
        two.head.withhold(frozenset({"smol"}))
        await two.turns(lambda: not two.node.observe())

    run(journey, tmp_path)


def test_letters_that_are_forged_replayed_or_by_a_revoked_host_change_nothing(tmp_path: Path) -> None:
    async def journey(two: Two) -> None:
        await serving(two)
        kept = (two.run / "letters/out/ray-1").read_bytes()
        stranger = Cluster(tmp_path / "other", now_s=time.time()).host(NODE)
        forged = SealedPost(stranger, REPORT, WORD, two.clock_ms).seal("head", b"{}")
        for letter in (forged, b"", b"rubbish", kept):
            (two.run / "letters/in/ray-2").write_bytes(letter)
            two.head.look()
        assert not (two.run / "letters/out/ray-2").exists(), "a way by which no node wrote gets no letter"
        assert two.refused and {way for way, _ in two.refused} == {"ray-2"}
        two.now_s += LEASE_S + 1
        await two.node.look()
        (two.there / "letters/in/head").write_bytes(kept)
        await two.node.look()
        assert not two.node.leased, "an old word renews nothing"
        two.revoked = two.cluster.revoke(two.node_is.certificate.serial).decode()
        two.head_is.take_revoked(two.revoked.encode())
        await two.node.look()
        two.carry()
        before = len(two.refused)
        two.head.look()
        assert "revoked" in two.refused[before][1]

    run(journey, tmp_path)


def test_only_the_head_gives_orders(tmp_path: Path) -> None:
    async def journey(two: Two) -> None:
        other = two.cluster.host("leeds-01")
        word = to_the_node(SealedPost(other, WORD, REPORT, two.clock_ms), b'{"answers_ms":1}')
        (two.there / "letters/in/head").write_bytes(word)
        await two.node.look()
        assert "orders come from head" in two.recorded.failed[0][1]

    run(journey, tmp_path)


def test_two_hosts_cannot_share_a_certificate_without_the_newest_alone_being_answered(tmp_path: Path) -> None:
    async def journey(two: Two) -> None:
        await serving(two)
        two.now_s += 0.5
        await two.node.look()
        two.carry("ray-2")
        two.head.look()
        two.carry("ray-2")
        assert (two.run / "letters/out/ray-2").exists()
        await two.turns(lambda: two.routed() == {"chat-1": ReplicaState.READY})

    run(journey, tmp_path)


@pytest.mark.parametrize("text", ["", "not json", '{"answers_ms":"x"}'])
def test_a_word_that_cannot_be_read_is_refused(tmp_path: Path, text: str) -> None:
    async def journey(two: Two) -> None:
        letter = to_the_node(SealedPost(two.head_is, WORD, REPORT, two.clock_ms), text.encode())
        (two.there / "letters/in/head").write_bytes(letter)
        await two.node.look()
        assert two.recorded.failed and not two.node.leased

    run(journey, tmp_path)


def test_what_a_node_lacks_is_said_to_it_and_fetched_by_its_door(tmp_path: Path) -> None:
    class Models(NoModels):
        def size_bytes(self, model: str, digest: str) -> int:
            return 100

        def record(self, model: str) -> str:
            return f'{{"model": "{model}"}}'

        def here(self) -> ModelHost:
            return ModelHost("head", "10.0.0.1:7443", "", ("cd" * 32,))

    async def journey(two: Two) -> None:
        two.head._models = Models()
        await two.turn()
        lacking = replace(SPEC, model_digest="cd" * 32)
        there = (Assignment("chat-1", lacking, 1, 1, Part(NODE, ("cpu-0",))),)
        two.control.send(NodeOrders(NODE, 3, there, (lacking,)))
        await two.turns(lambda: bool(two.records))
        assert two.records[-1] == '{"model": "smol"}'
        obtaining = asyncio.ensure_future(two.models.obtain("cd" * 32, lambda: False, lambda _: None))
        await two.turns(lambda: bool(two.models.wanted()))
        await two.turn()
        reader = SnapshotReader(two.there / "door.json", DoorOrders)
        found = reader.poll()
        assert found is not None
        source = HostPlace("head", "10.0.0.1:7443")
        assert found.wanted == (WantedModel("cd" * 32, 100, (source,)),)
        obtaining.cancel()
        await asyncio.gather(obtaining, return_exceptions=True)
        await two.turn()
        found = reader.poll()
        assert found is not None and found.wanted == ()

    run(journey, tmp_path)
