"""Who is told of a gang: doors with where all members are, gateways of the first member only."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fastness.control.ganging import doors_for, gangs_of
from fastness.control.handing_on import ModelHost, NoModels
from fastness.core.desired import DeploymentSpec, Needs, Parameters
from fastness.core.fleet_event import Part
from fastness.core.gang import ALONE, Seat
from fastness.core.marking import Label
from fastness.core.observation import Assignment, NodeOrders
from fastness.fleet.door.orders import ORDERS, DoorGang, DoorOrders, HostDoor
from fastness.main.engines import _check_gang, seat
from fastness.store.snapshot_file import SnapshotReader
from letters_world import NODE, Two, run

OFFICIAL = Label("OFFICIAL")
SPEC = DeploymentSpec(
    "chat", "health", "m", "01" * 32, "chat", OFFICIAL, Needs(OFFICIAL, 1, nodes=2), Parameters(engine="vllm")
)
HERE, THERE = HostDoor("local", "head", "10.0.0.1:7443"), HostDoor(NODE, NODE, "10.0.0.7:7443")


def part(node: str, *members: str, replica: str = "chat-1") -> Assignment:
    return Assignment(replica, SPEC, 1, 4, Part(node, ("cpu-0",)), members=members)


def ordered(node: str, *assignments: Assignment, version: int = 3) -> NodeOrders:
    return NodeOrders(node, version, assignments, (SPEC,))


class Models(NoModels):
    def here(self) -> ModelHost:
        return ModelHost(HERE.host, HERE.place, "", ())


def test_a_door_is_told_of_a_gang_when_all_of_its_members_are_known() -> None:
    orders = ordered("local", part("local", NODE, "local"), part("local", replica="other-1"))
    assert doors_for(orders, {"local": HERE, NODE: THERE, "york": THERE}) == (THERE, HERE)
    assert gangs_of(orders, (HERE,)) == ()
    assert gangs_of(orders, (HERE, THERE)) == (DoorGang("chat-1", 4, 1, (THERE, HERE)),)


def test_only_the_first_member_gets_requests() -> None:
    assert ordered("a", part("a", "b", "a"), part("a", "a", "b", replica="r"), part("a", replica="s")).following == {
        "chat-1"
    }
    assert [seat(part("b", "a", "b")), seat(part("a"))] == [Seat(1, 2), ALONE]


@pytest.mark.parametrize("first", [NODE, "local"])
def test_both_doors_hear_of_a_gang_and_gateways_of_its_first_member(tmp_path: Path, first: str) -> None:
    members = (first, *({NODE, "local"} - {first}))

    async def journey(two: Two) -> None:
        await two.turn()
        own = ordered("local", part("local", *members))
        two.control.send(ordered(NODE, part(NODE, *members)))
        two.head.look(own)
        await two.turns(lambda: [one.pid for one in two.node.observe()] == [1])
        readers = {
            place: SnapshotReader(at / ORDERS, DoorOrders) for place, at in (("local", two.run), (NODE, two.there))
        }
        doors = {place: reader.poll() for place, reader in readers.items()}

        def led() -> bool:
            doors.update({place: told for place, reader in readers.items() if (told := reader.poll())})
            return bool(doors[NODE] and doors[NODE].routes) == bool(two.head.replicas()) == (first == NODE)

        await two.turns(led)
        places = tuple({"local": HERE, NODE: THERE}[name] for name in members)
        for name, told in doors.items():
            assert told is not None and told.gangs == (DoorGang("chat-1", 4, members.index(name), places),)

    run(journey, tmp_path, Models())


def test_a_head_that_has_just_begun_and_knows_no_other_host_yet_ends_no_gang(tmp_path: Path) -> None:
    async def journey(two: Two) -> None:
        await two.turn()
        two.control.send(ordered(NODE, part(NODE, NODE, "local")))
        two.head.look(ordered("local", part("local", NODE, "local")))
        reader = SnapshotReader(two.there / ORDERS, DoorOrders)
        told = [reader.poll()]
        await two.turns(lambda: bool(told.append(reader.poll()) or (told[-1] and told[-1].gangs)))
        two.head._own = NodeOrders("", 0)
        for _ in range(4):
            await two.turn()
            told.append(reader.poll())
        assert all(one is None or one.gangs for one in told[-4:]) and two.node.leased

    run(journey, tmp_path, Models())


@pytest.mark.parametrize(
    ("changed", "unsealed", "words"),
    [
        (replace(SPEC, parameters=Parameters()), False, "llamacpp runs on one"),
        (SPEC, True, "part of the seal"),
    ],
)
def test_what_cannot_be_a_gang_here_is_not_started(changed: DeploymentSpec, unsealed: bool, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        _check_gang(replace(part("a", "a", "b"), spec=changed), unsealed=unsealed)


def test_orders_of_a_head_that_knows_no_gangs_start_none() -> None:
    with pytest.raises(ValueError, match="the head names 0"):
        _check_gang(part("a"), unsealed=False)
