"""Where a replica goes, and what each node is refused for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from fastness.core.desired import Needs
from fastness.core.fleet_event import NodeCordoned, NodeLabelled, NodeLost, ReplicaDraining
from fastness.core.fleet_state import FleetState, apply
from fastness.core.node import FleetNode
from fastness.scheduling.offer_index import OfferIndex
from fastness.scheduling.offers import Offer, offers
from fastness.scheduling.placement import WHOLE, Placement, Unplaced, place
from fleets import GB, SECRET, applied, clears, gpus, needs, node, part, put, slots, spec


def free(*nodes: FleetNode, **changes: Any) -> list[Offer]:
    return [Offer(one, one.devices, one.memory_bytes, **changes) for one in nodes]


def found(wants: Needs, *nodes: FleetNode, digest: str = "", state: FleetState | None = None, **how: Any) -> Any:
    return place(wants, "chat", digest, offers(state or FleetState(), nodes), clears=clears, **how)


def where(*args: Any, **how: Any) -> list[str]:
    placement = found(*args, **how)
    assert isinstance(placement, Placement), placement
    return [one.node for one in placement.parts]


def why_not(wants: Needs, one: FleetNode, **how: Any) -> str:
    refused = found(wants, one, **how)
    assert isinstance(refused, Unplaced)
    assert [each.node for each in refused.refusals] == [one.name]
    return refused.refusals[0].sentence


@pytest.mark.parametrize(
    ("wants", "there", "sentence"),
    [
        (needs(jurisdictions=("GB",)), node("n", jurisdiction="IE"), "refused: jurisdiction IE, needs GB"),
        (needs(operators=("crown",)), node("n", operator=""), "refused: operator not declared, needs crown"),
        (needs(ceiling=SECRET), node("n"), "refused: cleared to OFFICIAL, needs SECRET"),
        (needs(accelerator="h100-80gb"), node("n", gpus(8, "l4", 24)), "refused: has 8 × l4, needs h100-80gb"),
        (needs(), node("n", ()), "refused: has no device, needs one"),
        (needs(device_bytes=90 * GB), node("n"), "refused: 80.0 GB on a device, needs 90.0 GB"),
        (needs(16), node("n"), "refused: 8 devices of one type in all, needs 16 on one node"),
        (needs(), node("n", slots(4), memory_bytes=8 * GB), "refused: 8.0 GB of memory in all, needs 10.0 GB"),
        (needs(labels=("zone=a",)), node("n", labels=(("zone", "b"),)), "refused: label zone=b, needs zone=a"),
        (needs(labels=("zone",)), node("n"), "refused: no label zone, needs zone"),
        (needs(labels=("!spot",)), node("n", labels=(("spot", "yes"),)), "refused: label spot=yes, needs !spot"),
        (needs(labels=("!zone=a",)), node("n", labels=(("zone", "a"),)), "refused: label zone=a, needs !zone=a"),
    ],
)
def test_what_a_node_is_not_it_is_refused_for(wants: Needs, there: FleetNode, sentence: str) -> None:
    assert why_not(wants, there) == sentence


def test_what_a_node_has_is_enough() -> None:
    labels = ("zone=a", "zone", "!spot", "!zone=b")
    there = node("n", labels=(("zone", "a"),), ceiling=SECRET)
    wants = needs(8, labels=labels, jurisdictions=("FR", "GB"), operators=("crown",), accelerator="h100-80gb")
    assert where(wants, there) == ["n"]


def test_what_is_not_free_now_is_said_with_what_there_is() -> None:
    state = put(put(applied(spec("a")), "a", part("n", *range(4))), "a", part("n", 4, 5, 6))
    assert why_not(needs(2), node("n"), state=state) == "1 device free of 8, needs 2"
    state = apply(state, ReplicaDraining("a-2", 5_000, "fewer"))
    assert why_not(needs(2), node("n"), state=state) == "1 device free of 8, needs 2; 3 on their way out"


def test_memory_of_a_node_is_shared_by_its_slots() -> None:
    there = node("n", slots(8), memory_bytes=32 * GB)
    state = applied(spec("a", wants=needs(device_bytes=25 * GB)))
    state = put(state, "a", part("n", 0, kind="cpu"))
    assert why_not(needs(), there, state=state) == "7.0 GB of memory free of 32.0 GB, needs 10.0 GB"
    assert where(needs(device_bytes=7 * GB), there, state=state) == ["n"]


def test_a_closed_node_says_by_whom_and_why() -> None:
    state = apply(FleetState(), NodeCordoned("n", False, "ops-lead", "firmware"))
    assert why_not(needs(), node("n"), state=state) == "cordoned by ops-lead: firmware"
    assert why_not(needs(), node("n"), state=apply(FleetState(), NodeLost("n", "silent"))) == "nothing is heard of it"


def test_what_a_person_says_of_labels_holds_instead_of_what_a_node_declares() -> None:
    there = node("n", labels=(("zone", "a"),))
    state = apply(FleetState(), NodeLabelled("n", (("zone", "b"),), "local"))
    assert where(needs(labels=("zone=b",)), there, state=state) == ["n"]
    assert why_not(needs(labels=("zone=a",)), there, state=state) == "refused: label zone=b, needs zone=a"


def test_nodes_of_other_pools_are_not_spoken_of() -> None:
    refused = found(needs(pool="batch"), node("n"), node("m", pool="dev"))
    assert [(one.node, one.sentence) for one in refused.refusals] == [
        (WHOLE, "no node is in pool batch; there are default, dev")
    ]


def test_replicas_apart_are_in_no_failure_domain_twice() -> None:
    nodes = (node("a1", domain="a"), node("a2", domain="a"), node("b1", domain="b"))
    wants = needs(apart=True)
    assert where(wants, *nodes, domains=("a",)) == ["b1"]
    assert found(wants, *nodes, domains=("a", "b")).refusals[0].sentence == (
        "refused: a replica is in domain a already, needs them apart"
    )
    assert where(wants, node("x"), node("y"), domains=("x",)) == ["y"], "a node without a domain is one of its own"


def test_a_gang_is_placed_whole_or_not_at_all() -> None:
    nodes = (node("a"), node("b"), node("c", 4))
    assert where(needs(8, nodes=2), *nodes) == ["a", "b"]
    refused = found(needs(8, nodes=3), *nodes)
    assert [one.node for one in refused.refusals] == [WHOLE, "a", "b", "c"]
    assert refused.refusals[0].sentence.startswith("2 of the 3 nodes")
    assert refused.refusals[1].sentence == "could take one of 3 parts"


def test_a_gang_stays_in_one_failure_domain_where_one_has_room() -> None:
    nodes = (node("a1", 4, domain="a"), node("b1", 8, domain="b"), node("b2", 8, domain="b"))
    assert where(needs(4, nodes=2), *nodes) == ["b1", "b2"]
    assert where(needs(4, nodes=3), *nodes) == ["a1", "b1", "b2"]


def test_devices_of_a_gang_are_of_one_type() -> None:
    mixed = node("n", (*gpus(2), *(replace(one, id=f"l4-{one.id}") for one in gpus(2, "l4", 24))))
    assert isinstance(found(needs(3), mixed), Unplaced)
    assert where(needs(2), mixed) == ["n"]
    assert isinstance(found(needs(1, nodes=2), node("a", gpus(1)), node("b", gpus(1, "l4", 24))), Unplaced)


def test_large_free_blocks_are_not_broken_up() -> None:
    state = put(applied(spec("other")), "other", part("b", 0, 1, 2))
    assert where(needs(2), node("a"), node("b"), node("c"), state=state) == ["b"]


def test_replicas_of_a_deployment_are_spread_over_domains_and_nodes() -> None:
    nodes = (node("a1", domain="a"), node("a2", domain="a"), node("b1", domain="b"))
    state = put(applied(spec("chat")), "chat", part("a1", 0))
    assert where(needs(), *nodes, state=state) == ["b1"]
    assert where(needs(), *nodes, state=put(state, "chat", part("b1", 0))) == ["a2"]


def test_a_model_is_not_fetched_where_it_need_not_be() -> None:
    assert where(needs(), node("a"), node("b", digests=("m",)), digest="m") == ["b"]
    state = put(applied(spec("other")), "other", part("a", 0))
    assert where(needs(), node("a"), node("b", digests=("m",)), digest="m", state=state) == ["a"], "blocks weigh more"


def test_scarce_accelerators_and_clearances_are_left_to_who_needs_them() -> None:
    nodes = (node("h", gpus(8)), node("l", gpus(8, "l4", 24)), node("s", gpus(8, "l4", 24), ceiling=SECRET))
    assert where(needs(), *nodes) == ["l"]
    assert where(needs(device_bytes=40 * GB), *nodes) == ["h"]
    assert where(needs(ceiling=SECRET), *nodes) == ["s"]


def test_the_reason_says_what_is_left_and_what_was_found() -> None:
    assert found(needs(2), node("n", digests=("m",)), digest="m").reason == (
        "n has 6 of 8 devices left, the model is on its disk"
    )


def test_an_index_follows_what_is_taken_kept_and_left() -> None:
    index = OfferIndex(free(node("n", 4)), clears)
    index.take("a", [part("n", 0, 1)], 10 * GB)
    assert place(needs(4), "chat", "", index).refusals[0].sentence == "2 devices free of 4, needs 4"  # type: ignore[union-attr]
    index.leave([part("n", 0, 1)], 10 * GB)
    (offer,) = index
    assert [one.id for one in offer.coming] == ["gpu-0", "gpu-1"]
    assert offer.neighbours == ("a",)
    index.keep([part("n", 0, 1, 2, 3)], 10 * GB)
    assert place(needs(1), "chat", "", index).refusals[0].sentence == (  # type: ignore[union-attr]
        "0 devices free of 4, needs 1; 4 kept for a replica within a guarantee"
    )


# Real bugs of others, each as a test: ORCHESTRATION of the field has them as issues.


@pytest.mark.parametrize("size", [0, -1])
def test_an_estimate_that_failed_places_nothing(size: int) -> None:
    """A claim of nothing became one of 2 GiB elsewhere, and the card ran out of memory."""
    refused = found(needs(device_bytes=size), node("n"))
    assert refused.refusals[0].node == WHOLE
    assert refused.refusals[0].sentence.startswith("the memory that it takes on a device is not known")


@pytest.mark.parametrize("changes", [{"devices": 0}, {"nodes": 0}, {"devices": -1}])
def test_a_replica_of_nothing_is_refused(changes: dict[str, int]) -> None:
    assert found(replace(needs(), **changes), node("n")).refusals[0].node == WHOLE


def test_a_pinned_or_classified_replica_never_lands_elsewhere() -> None:
    """Selectors were ignored in gangs, and models pinned to a GPU came back on another."""
    nodes = (node("a", labels=(("pin", "x"),)), node("b"), node("c", ceiling=SECRET, jurisdiction="IE"))
    assert where(needs(labels=("pin=x",)), *nodes) == ["a"]
    assert isinstance(found(needs(labels=("pin=x",), nodes=2), *nodes), Unplaced)
    assert isinstance(found(needs(ceiling=SECRET, jurisdictions=("GB",)), *nodes), Unplaced)
    unlocked = place(replace(needs(), ceiling=SECRET), "chat", "", free(*nodes))
    assert isinstance(unlocked, Placement), "without a lattice what is the same is cleared"
    assert unlocked.parts[0].node == "c"
