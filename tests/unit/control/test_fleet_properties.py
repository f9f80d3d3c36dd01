"""No sequence of commands raises anything but a Problem, and the state is the fold of what the ledger has."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from commanded_fleet import LATTICE, MODELS, Site, chat, device_bytes
from fastness.control.desired_wire import GivenDeployment, SpecReader, given_of
from fastness.control.fleet_log import history
from fastness.control.problem import Problem
from fastness.control.spec_checks import Ground, check_spec
from fastness.core.fleet_state import fold

READER = SpecReader(MODELS, LATTICE, device_bytes)
GROUND = Ground(MODELS, LATTICE, ("default", "health", "justice"))

names = st.sampled_from(["chat", "embed", "a", "Bad!", ""])
numbers = st.integers(-1, 70)
seconds = st.sampled_from([0.0, 0.5, 1.0, 60.0, 1e9])
parameters = st.fixed_dictionaries(
    {},
    optional={
        "engine": st.sampled_from(["llamacpp", "vllm"]),
        "slots": numbers,
        "slot_context_tokens": st.sampled_from([128, 512, 8_192, 9_999]),
        "threads": numbers,
        "cache_type": st.sampled_from(["f16", "q8_0", "f12"]),
    },
)
needs = st.fixed_dictionaries(
    {},
    optional={
        "devices": st.integers(0, 5),
        "nodes": st.integers(0, 3),
        "accelerator": st.sampled_from(["", "h100", "a100", "A!"]),
        "pool": st.sampled_from(["default", "gold", "A"]),
        "labels": st.lists(st.sampled_from(["gpu=h100", "!spot", "gpu", "a b", "="]), max_size=2),
        "jurisdictions": st.lists(st.sampled_from(["GB", "IE", "XX"]), max_size=2),
        "operators": st.lists(st.sampled_from(["crown", "nobody"]), max_size=1),
        "apart": st.booleans(),
        "device_bytes": st.sampled_from([0, 1, 10**9, 10**11]),
    },
)
scaling = st.fixed_dictionaries(
    {}, optional={"min": numbers, "max": numbers, "busy_part": st.sampled_from([0.0, 0.5, 2.0]), "idle_s": seconds}
)
rollout = st.fixed_dictionaries({}, optional={"surge": numbers, "canary_percent": st.integers(-1, 101)})
wishes = st.fixed_dictionaries(
    {"name": names, "model": st.sampled_from(["small", "large", "embed", "none", "small@sha256:aaaaaa", "small@x"])},
    optional={
        "owner": st.sampled_from(["health", "health/team", "justice", "nobody", "a/b/c", ""]),
        "ceiling": st.sampled_from(["OFFICIAL", "official-sensitive", "SECRET", "PURPLE"]),
        "tenants": st.lists(st.sampled_from(["health", "justice", "nobody"]), max_size=2),
        "urgent": st.booleans(),
        "drain_timeout_s": seconds,
        "parameters": parameters,
        "needs": needs,
        "scaling": scaling,
        "rollout": rollout,
    },
)


def post(path, **body):
    return st.tuples(st.just("POST"), path, st.fixed_dictionaries(body))


named = st.sampled_from(["chat", "embed", "a", "none"])
nodes = st.sampled_from(["bristol", "leeds", "york"])
commands = st.one_of(
    post(st.just("/deployments"), deployment=st.lists(wishes, max_size=2), pending=st.booleans()),
    post(st.just("/plan"), deployment=st.lists(wishes, max_size=1), remove=st.lists(named, max_size=1)),
    post(named.map("/deployments/{}/scale".format), replicas=st.none() | numbers, max=st.none() | numbers),
    post(named.map("/deployments/{}/roll".format), model=st.sampled_from([None, "large"]), parameters=parameters),
    post(named.map("/deployments/{}/roll".format), back=st.just(True)),
    post(named.map("/deployments/{}/remove".format)),
    post(nodes.map("/nodes/{}/cordon".format), drain=st.booleans(), reason=st.text(max_size=5)),
    post(nodes.map("/nodes/{}/uncordon".format)),
    post(
        nodes.map("/nodes/{}/label".format),
        put=st.dictionaries(st.sampled_from(["gpu", "a b"]), st.text(max_size=4), max_size=2),
        remove=st.lists(st.sampled_from(["gpu", "rack"]), max_size=1),
    ),
    post(
        st.just("/shares"),
        owner=st.sampled_from(["health", "health/team", "justice", "nobody"]),
        devices=numbers,
        pool=st.sampled_from(["default", "gold", "A"]),
    ),
    st.tuples(st.just("GET"), named.map("/deployments/{}/why".format), st.none()),
    st.tuples(st.just("GET"), st.sampled_from(["/deployments", "/nodes", "/shares", "/events"]), st.none()),
    st.tuples(st.just("STEP"), st.integers(1, 4), st.none()),
)


@pytest.fixture
def site(world):
    found = Site(world)
    yield found
    found.close()


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(commands, max_size=12))
def test_no_sequence_of_commands_fails_in_a_way_that_was_not_foreseen(site, sequence):
    site.begin_anew()
    site.apply(chat(scaling={"min": 1, "max": 4}), chat("embed", model="embed"))
    for method, path, body in sequence:
        if method == "STEP":
            for _ in range(path):
                site.step()
                site.clock.now_s += 1.0
            continue
        response = site.world.ask(method, path, **({} if body is None else {"json": body}))
        if not response.is_success:
            problem = response.json()
            assert problem["code"] not in {"internal_error", "ledger_unavailable"}, (path, body, site.world.log.records)
            assert problem["detail"] and problem["hint"]
    assert fold(event for _, event in history(site.directory)) == site.state


@settings(max_examples=200, deadline=None)
@given(wishes)
def test_what_is_exported_reads_back_as_the_same_spec(wish):
    try:
        spec = READER.read(msgspec.convert(wish, GivenDeployment, strict=False))
        check_spec(spec, GROUND, None, replaces=True)
    except (Problem, msgspec.ValidationError):
        return
    exported = given_of(spec)
    assert READER.read(exported) == spec
    assert given_of(READER.read(msgspec.convert(msgspec.to_builtins(exported), GivenDeployment))) == exported
