"""What holds of placement whatever the fleet: nothing is given twice, gangs are whole, and refusals are complete."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from fastness.core.desired import Needs
from fastness.core.node import DeviceKind, FleetNode
from fastness.scheduling.filters import domain_of, refused, refused_label, type_of
from fastness.scheduling.offer_index import OfferIndex
from fastness.scheduling.offers import Offer
from fastness.scheduling.placement import WHOLE, Placement, Unplaced, place
from fastness.scheduling.shares import Shares
from fastness.scheduling.wishes import Wish, ordered, place_all
from fleets import GB, OFFICIAL, SECRET, clears, gpus, node, slots

DEVICES = st.one_of(
    st.builds(gpus, st.integers(1, 8), st.just("h100-80gb"), st.just(80)),
    st.builds(gpus, st.integers(1, 4), st.just("l4-24gb"), st.just(24)),
    st.builds(slots, st.integers(1, 6)),
    st.builds(lambda some, more: some + more, st.builds(gpus, st.integers(1, 3)), st.builds(slots, st.integers(1, 3))),
)
NODES = st.lists(
    st.fixed_dictionaries(
        {
            "devices": DEVICES,
            "jurisdiction": st.sampled_from(("GB", "GB", "IE")),
            "ceiling": st.sampled_from((OFFICIAL, SECRET)),
            "memory_bytes": st.sampled_from((16 * GB, 64 * GB)),
            "domain": st.sampled_from(("", "a", "b")),
            "labels": st.sampled_from(((), (("tier", "gold"),))),
            "digests": st.sampled_from(((), ("m0",), ("m0", "m1"))),
        }
    ),
    min_size=1,
    max_size=6,
).map(lambda drawn: tuple(node(f"n{number}", **one) for number, one in enumerate(drawn)))
NEEDS = st.builds(
    Needs,
    st.sampled_from((OFFICIAL, OFFICIAL, SECRET)),
    st.sampled_from((5 * GB, 20 * GB, 40 * GB)),
    devices=st.sampled_from((1, 1, 2, 4)),
    nodes=st.sampled_from((1, 1, 1, 2)),
    accelerator=st.sampled_from(("", "", "l4-24gb", "h100-80gb")),
    labels=st.sampled_from(((), (), ("tier=gold",), ("!tier",))),
    jurisdictions=st.sampled_from(((), (), ("GB",))),
    apart=st.booleans(),
)


@st.composite
def cases(draw: st.DrawFn) -> tuple[tuple[FleetNode, ...], list[Wish]]:
    wishes = [
        Wish(f"d{number}", "health", needs, f"m{number % 3}", there)
        for number, (needs, count) in enumerate(draw(st.lists(st.tuples(NEEDS, st.integers(1, 3)), max_size=6)))
        for there in range(count)
    ]
    return draw(NODES), wishes


def free(nodes: Iterable[FleetNode]) -> list[Offer]:
    return [Offer(one, one.devices, one.memory_bytes) for one in nodes]


def all_placed(nodes: Iterable[FleetNode], wishes: Iterable[Wish]) -> list[tuple[Wish, Placement | Unplaced]]:
    index, shares = OfferIndex(free(nodes), clears), Shares({}, {"default": 99}, (), clears)
    return list(place_all(ordered(wishes, index, shares), index, shares))


@given(cases())
def test_devices_and_memory_are_never_given_twice(case: tuple[tuple[FleetNode, ...], list[Wish]]) -> None:
    """GPUs that were reserved exceeded the budget in the middle of a rebalance, elsewhere."""
    nodes, wishes = case
    there = {one.name: one for one in nodes}
    taken: Counter[tuple[str, str]] = Counter()
    memory: Counter[str] = Counter()
    for wish, found in all_placed(nodes, wishes):
        for one in found.parts if isinstance(found, Placement) else ():
            taken.update((one.node, device) for device in one.devices)
            kinds = {device.id: device.kind for device in there[one.node].devices}
            memory[one.node] += sum(kinds[device] is DeviceKind.CPU for device in one.devices) * wish.needs.device_bytes
    assert set(taken) <= {(one.name, device.id) for one in nodes for device in one.devices}
    assert set(taken.values()) <= {1}
    assert all(size <= there[name].memory_bytes for name, size in memory.items())


@given(cases())
def test_what_is_placed_is_whole_and_where_it_may_be(case: tuple[tuple[FleetNode, ...], list[Wish]]) -> None:
    nodes, wishes = case
    there = {one.name: one for one in nodes}
    domains: dict[str, set[str]] = {}
    for wish, found in all_placed(nodes, wishes):
        if isinstance(found, Unplaced):
            continue
        needs, on = wish.needs, [there[one.node] for one in found.parts]
        assert len({one.name for one in on}) == needs.nodes
        assert all(len(set(one.devices)) == needs.devices for one in found.parts)
        held = [device for one in found.parts for device in there[one.node].devices if device.id in one.devices]
        assert len(set(map(type_of, held))) == 1
        assert all(needs.accelerator in ("", one.accelerator) for one in held)
        assert all(one.kind is DeviceKind.CPU or one.memory_bytes >= needs.device_bytes for one in held)
        assert not any(refused(needs, one, clears) or refused_label(needs.labels, one.labels) for one in on)
        mine = {domain_of(one) for one in on}
        assert not needs.apart or not mine & domains.setdefault(wish.deployment, set())
        domains.setdefault(wish.deployment, set()).update(mine)


@given(cases())
def test_every_refusal_names_each_node_of_the_pool_once(case: tuple[tuple[FleetNode, ...], list[Wish]]) -> None:
    nodes, wishes = case
    for _, found in all_placed(nodes, wishes):
        if isinstance(found, Unplaced):
            named = [one.node for one in found.refusals if one.node != WHOLE]
            assert sorted(named) == sorted(one.name for one in nodes)
            assert all(one.sentence for one in found.refusals)


@given(cases(), st.randoms(use_true_random=False))
def test_placement_knows_no_chance_and_no_order_of_nodes(
    case: tuple[tuple[FleetNode, ...], list[Wish]], dice: Random
) -> None:
    nodes, wishes = case
    mixed = dice.sample(nodes, len(nodes))
    assert all_placed(nodes, wishes) == all_placed(mixed, dice.sample(wishes, len(wishes)))


@given(cases())
def test_an_index_that_was_changed_is_as_one_that_is_made_anew(
    case: tuple[tuple[FleetNode, ...], list[Wish]],
) -> None:
    nodes, wishes = case
    index = OfferIndex(free(nodes), clears)
    for wish in wishes:
        anew = place(wish.needs, wish.deployment, wish.digest, OfferIndex(list(index), clears))
        found = place(wish.needs, wish.deployment, wish.digest, index)
        assert found == anew
        if isinstance(found, Placement):
            index.take(wish.deployment, found.parts, wish.needs.device_bytes)


@given(NODES, NEEDS)
def test_one_replica_is_refused_only_where_no_choice_of_nodes_has_room(
    nodes: tuple[FleetNode, ...], needs: Needs
) -> None:
    able: Counter[object] = Counter()
    for one in nodes:
        if refused(needs, one, clears) or refused_label(needs.labels, one.labels):
            continue
        for kind, total in Counter(map(type_of, one.devices)).items():
            fits = kind[0] is DeviceKind.CPU or kind[1] >= needs.device_bytes
            large = kind[0] is DeviceKind.GPU or one.memory_bytes >= needs.devices * needs.device_bytes
            able[kind] += fits and large and total >= needs.devices and needs.accelerator in ("", kind[2])
    found = place(needs, "d", "", free(nodes), clears=clears)
    assert isinstance(found, Placement) == any(count >= needs.nodes for count in able.values())


@given(cases())
def test_one_that_fits_nowhere_never_stands_in_the_way_of_another(
    case: tuple[tuple[FleetNode, ...], list[Wish]],
) -> None:
    """A scale-up that could not be met blocked every later change, elsewhere."""
    nodes, wishes = case
    hopeless = Wish("hopeless", "justice", Needs(OFFICIAL, 5 * GB, devices=64), "", urgent=True)
    before, after = all_placed(nodes, wishes), all_placed(nodes, [hopeless, *wishes])
    assert [pair for pair in after if pair[0] is not hopeless] == before
