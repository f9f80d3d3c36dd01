"""What processes and hosts of two releases tell each other, while one takes the place of the other, both can read."""

from __future__ import annotations

import json
from dataclasses import MISSING, fields
from typing import Any

import msgspec
import pytest

from fastness.control.letters import Word, read_report, read_word, write
from fastness.core.desired import DeploymentSpec, Needs, Parameters, Rollout, Scaling
from fastness.core.fleet_event import Part
from fastness.core.marking import Label, Node
from fastness.core.node import FleetNode
from fastness.core.observation import Assignment, DeploymentLoad, GatewayReport, NodeOrders, NodeReport, RevisionLoad
from fastness.core.replica import Diagnosis, Replica, ReplicaState, RoutingSnapshot

OFFICIAL = Label("OFFICIAL")
SPEC = DeploymentSpec("chat", "health", "small", "01" * 32, "chat", OFFICIAL, Needs(OFFICIAL, 1))
ORDERS = NodeOrders("a", 3, (Assignment("chat-1", SPEC, 1, 1, Part("a", ("cpu-0",))),), (SPEC,), (("chat", 1),))
REPLICA = Replica(
    "chat-1", "small", "llamacpp", ReplicaState.READY, "/s", 4, 512, 1, sealed=True, diagnosis=Diagnosis("x", "y", "z")
)
REPORT = NodeReport(FleetNode(Node("a", "GB", "", "", OFFICIAL), (), 1), 1, 3, (REPLICA,), (("chat-1", "load"),))
GATEWAY = GatewayReport("gateway-0", 1, 2, (), (("chat-1", 1),), (
    DeploymentLoad("chat", 0, 0, 0.0, 1, 2, revisions=(RevisionLoad(1, 1, 0, 5, 6),)),
))  # fmt: skip
ROUTING = RoutingSnapshot(1, (), (REPLICA,), wanted=(("chat", 1),))
TOLD = [Word(1, ORDERS), ORDERS, REPORT, GATEWAY, ROUTING]
NEEDED = {
    Word: {"answers_ms"},
    NodeOrders: {"node", "version"},
    Assignment: {"replica", "spec", "revision", "term", "part"},
    NodeReport: {"node", "at_ms", "version"},
    GatewayReport: {"gateway", "at_ms", "routing_version"},
    RoutingSnapshot: {"version", "models", "replicas"},
    DeploymentSpec: {"name", "owner", "model", "model_digest", "kind", "ceiling", "needs"},
    Needs: {"ceiling", "device_bytes"},
    Parameters: set(),
    Scaling: set(),
    Rollout: set(),
    Replica: {
        "id", "model", "engine", "state", "socket", "slots", "context_tokens", "epoch", "sealed",
    },
}  # fmt: skip
"""Fields without a default: those of the first release. One that comes later has a default, or older words lack it."""


def of_a_later_release(value: Any) -> Any:
    """The same words with something in each object that this release has never heard of."""
    if isinstance(value, dict):
        return {key: of_a_later_release(one) for key, one in value.items()} | {"added_later": {"deep": [1]}}
    return [of_a_later_release(one) for one in value] if isinstance(value, list) else value


@pytest.mark.parametrize("told", TOLD, ids=lambda told: type(told).__name__)
def test_what_a_later_release_adds_is_passed_over(told: Any) -> None:
    text = json.dumps(of_a_later_release(json.loads(msgspec.json.encode(told))))
    assert msgspec.json.decode(text, type=type(told)) == told


def test_letters_between_hosts_of_two_releases_are_read() -> None:
    for content, read in ((Word(1, ORDERS), read_word), (REPORT, read_report)):
        assert read(json.dumps(of_a_later_release(json.loads(write(content)))).encode()) == content  # type: ignore[operator]


@pytest.mark.parametrize("kind", NEEDED, ids=lambda kind: kind.__name__)
def test_nothing_that_an_older_release_does_not_say_is_needed(kind: type) -> None:
    needed = {one.name for one in fields(kind) if one.default is MISSING and one.default_factory is MISSING}
    assert needed == NEEDED[kind], "give a new field a default, so that words without it are understood"
