"""An installation is ready when what configuration names is served as it was ordered last."""

from dataclasses import replace

from fastness.control.settling import is_settled, troubles
from fastness.core.desired import DeploymentSpec, Needs, Scaling
from fastness.core.fleet_event import Part
from fastness.core.marking import Label
from fastness.core.observation import Assignment, NodeOrders
from fastness.core.replica import Diagnosis, Replica, ReplicaState

OFFICIAL = Label("OFFICIAL")
SPEC = DeploymentSpec("chat", "health", "small", "ab" * 32, "chat", OFFICIAL, Needs(OFFICIAL, 1))
ONE = Assignment("chat-1", SPEC, 1, 1, Part("here", ("cpu-0",)))
ORDERS = NodeOrders("here", 3, (ONE,), (SPEC,))
READY = Replica("chat-1", "small", "fake", ReplicaState.READY, "s", 1, 16, 1, True)


def test_all_ready_and_of_one_revision_is_settled():
    assert is_settled(("chat",), ORDERS, (READY,))


def test_what_is_not_wanted_is_not_waited_for():
    assert is_settled(("other",), ORDERS, ())


def test_a_deployment_that_may_have_no_replica_is_settled_without_one():
    asleep = replace(SPEC, scaling=Scaling(min=0))
    assert is_settled(("chat",), NodeOrders("here", 3, (), (asleep,)), ())


def test_one_without_a_place_says_so():
    assert "has no place on here" in troubles(("chat",), NodeOrders("here", 3, (), (SPEC,)), ())[0]


def test_one_that_starts_or_fails_says_why():
    failed = replace(READY, state=ReplicaState.FAILED, diagnosis=Diagnosis("x", "It is another.", "Look."))
    assert troubles(("chat",), ORDERS, (replace(READY, state=ReplicaState.STARTING),)) == ("chat-1 is starting.",)
    assert troubles(("chat",), ORDERS, (failed,)) == ("chat-1 is failed: It is another. Look.",)
    assert troubles(("chat",), ORDERS, ()) == ("chat-1 was not begun.",)


def test_a_roll_is_waited_for_to_its_end():
    new = Assignment("chat-2", SPEC, 2, 2, Part("here", ("cpu-1",)))
    both = (READY, replace(READY, id="chat-2"))
    assert not is_settled(("chat",), replace(ORDERS, assignments=(ONE, new)), both)
    assert not is_settled(("chat",), replace(ORDERS, assignments=(replace(ONE, routed=False), new)), both)
    assert is_settled(("chat",), replace(ORDERS, assignments=(new,)), both[1:])
