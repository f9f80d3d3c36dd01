"""What gateways are told names every model that a deployment has replicas of, so that none of them is a stranger."""

from dataclasses import replace

from fastness.control.declaration import Declaration
from fastness.control.routing import Known, routing_snapshot
from fastness.core.desired import DeploymentSpec, Needs, Scaling
from fastness.core.fleet_event import Part
from fastness.core.marking import Label, Lattice, Node
from fastness.core.model import ModelCard, ModelKind
from fastness.core.observation import Assignment, NodeOrders
from fastness.policy.profile import shipped_profile

OFFICIAL = Label("OFFICIAL")
OLD = DeploymentSpec("chat", "health", "old", "01" * 32, "chat", OFFICIAL, Needs(OFFICIAL, 1))
NEW = replace(OLD, model="new", model_digest="02" * 32, scaling=Scaling(min=0), hedges=True)
CARDS = Known(
    {
        spec.model: (ModelCard(spec.model, ModelKind.CHAT, spec.model_digest, 1, "MIT", 2_048, 0), "OFFICIAL")
        for spec in (OLD, NEW)
    }
)
HERE = Declaration(Node("here", "GB", "", "", OFFICIAL), OFFICIAL, Lattice(shipped_profile("uk")))


def held(replica: str, spec: DeploymentSpec, revision: int) -> Assignment:
    return Assignment(replica, spec, revision, revision, Part("here", (f"cpu-{revision}",)))


def described(*assignments: Assignment, served: tuple[DeploymentSpec, ...] = (OLD,)) -> list[tuple[str, str]]:
    orders = NodeOrders("here", 3, assignments, served)
    return [(one.name, one.model) for one in routing_snapshot(1, orders, (), CARDS, HERE).deployments]


def test_while_a_new_model_takes_the_place_of_another_both_are_named_the_stable_one_first():
    assert described(held("chat-2", NEW, 2), held("chat-1", OLD, 1)) == [("chat", "old"), ("chat", "new")]
    assert described(held("chat-1", OLD, 1)) == [("chat", "old")]
    assert described(held("chat-2", NEW, 2), served=(NEW,)) == [("chat", "new")]


def test_another_revision_with_the_same_model_is_named_once():
    assert described(held("chat-1", OLD, 1), held("chat-2", replace(OLD, urgent=True), 2)) == [("chat", "old")]


def test_what_is_removed_is_not_named_for_the_sake_of_what_drains():
    assert described(held("chat-1", OLD, 1), served=()) == []


def test_gateways_know_how_many_are_wanted():
    orders = NodeOrders("here", 3, (), (OLD,), (("chat", 3),))
    assert routing_snapshot(1, orders, (), CARDS, HERE).wanted == (("chat", 3),)


def test_gateways_know_what_wakes_and_what_may_be_asked_of_two():
    (one,) = routing_snapshot(1, NodeOrders("here", 3, (), (NEW,)), (), CARDS, HERE).deployments
    assert (one.wakes, one.hedges, one.model_digest) == (True, True, NEW.model_digest)
    (one,) = routing_snapshot(1, NodeOrders("here", 3, (), (OLD,)), (), CARDS, HERE).deployments
    assert (one.wakes, one.hedges) == (False, False)
