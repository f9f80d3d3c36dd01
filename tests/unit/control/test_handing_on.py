"""What the head hands on about models: who has what a node lacks, the nearest first, and the records of admission."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastness.control import wanted_models
from fastness.control.handing_on import ModelHost, NoModels, missing_models, records_of
from fastness.control.wanted_models import NobodyHasIt, WantedModels, fetch_stage
from fastness.core.desired import DeploymentSpec, Needs, WantedAdapter
from fastness.core.fleet_event import Part
from fastness.core.marking import Label, Node
from fastness.core.node import FleetNode
from fastness.core.observation import Assignment, NodeOrders
from fastness.fleet.door.orders import DoorReport, FetchState, HostPlace, WantedModel

OFFICIAL = Label("OFFICIAL")
HERE = ModelHost("head", "10.0.0.1:7443", "", ("aa", "bb"))


class Known(NoModels):
    def size_bytes(self, model: str, digest: str) -> int | None:
        return {"aa": 10, "bb": 20, "cc": 30}.get(digest)

    def record(self, model: str) -> str:
        return "" if model == "shipped" else f'"{model}"'

    def here(self) -> ModelHost:
        return HERE


def node(*digests: str, domain: str = "rack-b7") -> FleetNode:
    place = Node("bristol-07", "GB", "", "", OFFICIAL)
    return FleetNode(place, (), 1, domain=domain, digests=digests)


def orders(**digests: str) -> NodeOrders:
    specs = [
        DeploymentSpec(model, "health", model, digest, "chat", OFFICIAL, Needs(OFFICIAL, 1))
        for model, digest in digests.items()
    ]
    part = Part("bristol-07", ())
    return NodeOrders("bristol-07", 1, tuple(Assignment(f"{spec.name}-1", spec, 1, 1, part) for spec in specs))


def names(found: tuple[WantedModel, ...]) -> list[list[str]]:
    return [[source.host for source in one.sources] for one in found]


def test_what_a_node_lacks_comes_from_its_own_domain_then_from_any_then_from_the_head():
    others = [
        ModelHost("leeds-01", "10.0.0.9:7443", "rack-l1", ("aa",)),
        ModelHost("york-02", "10.0.0.8:7443", "", ("aa",)),
        ModelHost("bristol-09", "10.0.0.3:7443", "rack-b7", ("aa", "cc")),
        ModelHost("bristol-08", "10.0.0.2:7443", "rack-b7", ("cc",)),
    ]
    found = missing_models(node(), orders(chat="aa", embed="cc"), others, Known())
    assert names(found) == [["bristol-09", "leeds-01", "york-02", "head"], ["bristol-08", "bristol-09"]]
    assert found[0].size_bytes == 10 and found[0].sources[0] == HostPlace("bristol-09", "10.0.0.3:7443")


def test_nodes_that_say_nothing_of_domains_are_not_near_each_other():
    others = [ModelHost("a", "1", "x", ("aa",)), ModelHost("b", "2", "", ("aa",))]
    assert names(missing_models(node(domain=""), orders(chat="aa"), others, Known())) == [["a", "b", "head"]]


def test_what_is_there_or_not_admitted_is_not_handed_on():
    assert missing_models(node("aa"), orders(chat="aa"), [], Known()) == ()
    assert missing_models(node(), orders(chat="zz"), [], Known()) == ()
    assert missing_models(node(), None, [], Known()) == ()
    assert records_of(None, Known()) == ()


def test_the_records_of_what_was_ordered_travel_along():
    assert records_of(orders(chat="aa", shipped="bb", other="aa"), Known()) == ('"chat"', '"other"')


def test_adapters_travel_as_models_do():
    spec = orders(chat="aa").assignments[0].spec
    with_adapter = replace(spec, adapters=(WantedAdapter("plans", "cc"), WantedAdapter("shipped", "zz")))
    wanted = replace(orders(), assignments=(replace(orders(chat="aa").assignments[0], spec=with_adapter),))
    assert [one.digest for one in missing_models(node(), wanted, [], Known())] == ["aa", "cc"]
    assert [one.digest for one in missing_models(node("aa"), wanted, [], Known())] == ["cc"]
    assert records_of(wanted, Known()) == ('"chat"', '"plans"')


DIGESTS = st.lists(st.sampled_from(["aa", "bb", "cc"]), max_size=3)


@given(DIGESTS, DIGESTS)
def test_a_node_is_told_of_exactly_what_it_lacks(has, wants):
    found = missing_models(node(*has), orders(**{f"m{n}": digest for n, digest in enumerate(wants)}), [], Known())
    assert {one.digest for one in found} == set(wants) - set(has)


def test_a_replica_waits_until_its_model_is_here_and_tells_how_far_it_is():
    async def main():
        reports, told, here = [DoorReport(1, (FetchState("aa", 41, 100, "bristol-03"),))], [], [False]
        models = WantedModels(lambda: reports.pop() if reports else None)
        models.offer((WantedModel("aa", 100, (HostPlace("bristol-03", "p"),)), WantedModel("bb", 1, ())))
        assert models.wanted() == ()
        waiting = asyncio.ensure_future(models.obtain("aa", lambda: here[0], told.append))
        await asyncio.sleep(0.05)
        assert [one.digest for one in models.wanted()] == ["aa"]
        here[0] = True
        await waiting
        assert told == ["fetch 41% of 0 MB from bristol-03"] and models.wanted() == ()

    asyncio.run(main())


def test_a_model_that_nobody_has_is_not_waited_for_for_ever(monkeypatch):
    async def main():
        monkeypatch.setattr(wanted_models, "PATIENCE_S", 0.05)
        models = WantedModels(lambda: None)
        with pytest.raises(NobodyHasIt, match="no host"):
            await models.obtain("aa", lambda: False, lambda _: None)
        assert models.wanted() == ()

    asyncio.run(main())


def test_how_far_a_model_is_is_said_in_words():
    state = FetchState("aa", 8_118_000_000, 19_800_000_000, "bristol-03")
    assert fetch_stage(state) == "fetch 41% of 19.8 GB from bristol-03"
    broken = replace(state, source="", trouble="leeds-01: it broke off")
    assert fetch_stage(broken) == "fetch 41% of 19.8 GB (leeds-01: it broke off)"
    assert fetch_stage(replace(state, done_bytes=19_800_000_000)) == "verify 19.8 GB"
    assert fetch_stage(None) == "fetch"
