"""Configuration speaks when it says something new, and a person's word counts more."""

import asyncio
from dataclasses import replace
from pathlib import Path

from fastness.config import EngineSettings, NodeSettings, Settings
from fastness.control.configured import CONFIGURATION, Configured, configured_specs, last_configured
from fastness.control.declaration import declare
from fastness.control.fleet_log import FleetLog
from fastness.control.fleet_record import from_ledger
from fastness.core.event import Event, EventType
from fastness.core.fleet_event import DeploymentApplied, DeploymentRemoved
from fastness.core.fleet_state import FleetState, fold
from fastness.core.marking import Label, Lattice
from fastness.core.model import ModelCard, ModelKind
from fastness.ledger.memory import MemoryLedger
from fastness.policy.profile import shipped_profile

LATTICE = Lattice(shipped_profile("uk"))
CARDS = {
    "small": ModelCard("small", ModelKind.CHAT, "ab" * 32, 1_000, "MIT", 8_192, 0),
    "mini": ModelCard("mini", ModelKind.EMBEDDING, "cd" * 32, 500, "MIT", 512, 0),
}


def settings(node=None, **engine) -> Settings:
    chosen = EngineSettings(**{"chat_model": "small", "embedding_model": "mini", "replicas": 2} | engine)
    return Settings(home=Path("/nowhere"), engine=chosen, node=node or NodeSettings())


def specs(chosen: Settings):
    return configured_specs(
        chosen,
        declare(chosen, LATTICE),
        CARDS.get,
        lambda card, parameters, _devices: card.size_bytes + parameters.slots,
    )


class Starts:
    """An installation that is started again and again, each time under some configuration."""

    def __init__(self) -> None:
        self.ledger = MemoryLedger("control")

    def happened(self):
        entries = (Event(EventType(one.type), one.time_ms, one.fields) for one in self.ledger.entries())
        return [found for found in map(from_ledger, entries) if found]

    def start(self, **engine) -> FleetState:
        log = FleetLog(self.ledger, fold(self.happened()), lambda: 0)
        wanted = specs(settings(**engine))
        configured = Configured(lambda: wanted, last_configured(self.happened()))

        async def twice():
            await configured.settle(log)
            await configured.settle(log)

        asyncio.run(twice())
        return log.state

    def person(self, event) -> None:
        log = FleetLog(self.ledger, fold(self.happened()), lambda: 0)
        asyncio.run(log.decide(lambda _state: (event,)))


def test_what_configuration_names_is_deployed_under_the_models_names():
    state = Starts().start(slots=4, slot_context_tokens=512, threads=1)
    chat, mini = state.deployments["small"], state.deployments["mini"]
    assert (chat.replicas, mini.replicas) == (2, 1)
    assert (chat.by, chat.revision, chat.spec.model_digest) == (CONFIGURATION, 1, "ab" * 32)
    assert (chat.spec.parameters.slots, chat.spec.parameters.slot_context_tokens, chat.spec.parameters.threads) == (
        4, 512, 1,
    )  # fmt: skip
    assert chat.spec.ceiling == Label("OFFICIAL")


def test_a_start_under_the_same_configuration_says_nothing():
    starts = Starts()
    first = starts.start()
    assert starts.start() == first
    assert len(starts.happened()) == 2


def test_a_changed_configuration_changes_what_it_said_and_replaces_replicas_only_where_they_must_be():
    starts = Starts()
    starts.start()
    assert starts.start(replicas=3).deployments["small"].revision == 1
    changed = starts.start(replicas=3, slots=2).deployments["small"]
    assert (changed.revision, changed.spec.parameters.slots, changed.replicas) == (2, 2, 3)


def test_what_configuration_names_no_longer_is_removed_and_may_come_back():
    starts = Starts()
    starts.start()
    assert set(starts.start(embedding_model="").deployments) == {"small"}
    assert set(starts.start().deployments) == {"small", "mini"}


def test_a_model_that_may_not_be_loaded_now_is_left_as_it_is():
    starts = Starts()
    starts.start()
    kept = starts.start(chat_model="unknown", embedding_model="mini")
    assert set(kept.deployments) == {"mini"}, "another name is another wish"
    starts.start()
    try:
        gone = CARDS.pop("small")
        assert set(starts.start().deployments) == {"small", "mini"}
    finally:
        CARDS["small"] = gone


def test_a_deployment_that_a_person_applied_is_left_alone():
    starts = Starts()
    mine = replace(starts.start().deployments["small"].spec, owner="health")
    starts.person(DeploymentApplied(mine, 1, "ann"))
    assert starts.start(slots=2).deployments["small"].spec == mine
    assert starts.start(chat_model="").deployments["small"].spec == mine


def test_a_deployment_that_a_person_removed_stays_away_until_configuration_says_something_new():
    starts = Starts()
    starts.start()
    starts.person(DeploymentRemoved("small", "ann"))
    assert set(starts.start().deployments) == {"mini"}
    assert set(starts.start(slots=2).deployments) == {"small", "mini"}


def test_a_ceiling_above_that_of_this_machine_keeps_no_replica_off_it():
    found = specs(settings(NodeSettings(ceiling="OFFICIAL"), ceiling="SECRET"))["small"]
    assert found and (found.ceiling, found.needs.ceiling) == (Label("SECRET"), Label("OFFICIAL"))


def test_a_new_ceiling_is_no_new_revision():
    starts = Starts()
    starts.start()
    changed = starts.start(ceiling="OFFICIAL-SENSITIVE").deployments["small"]
    assert (changed.revision, changed.spec.ceiling) == (1, Label("OFFICIAL-SENSITIVE"))
