"""Which adapters a deployment may have, what a change of them does, and how they are written down and read again."""

from dataclasses import replace

import msgspec
import pytest

from commanded_fleet import LATTICE, MODELS, device_bytes
from fastness.cli.deployment_file import parse_deployments, written
from fastness.control.adapter_checks import ADAPTERS_MAX
from fastness.control.desired_wire import GivenAdapter, GivenDeployment, SpecReader, given_of
from fastness.control.models_here import AdapterFacts, adapters_here
from fastness.control.problem import Problem
from fastness.control.spec_checks import Ground, check_spec
from fastness.core.admission import Admission, AdmissionState, Artefact, ArtefactFile, ArtefactKind
from fastness.core.desired import DeploymentSpec
from fastness.core.fleet_state import Deployed
from fastness.scheduling.memory_adapters import adapters_memory
from fastness.scheduling.revision import replicas_stay, revision_of

SMALL = "a" * 64
ADAPTERS = {
    "plans": AdapterFacts("01" * 32, 1_000_000, SMALL, "gguf"),
    "notes": AdapterFacts("02" * 32, 2_000_000, SMALL, "gguf"),
    "other": AdapterFacts("03" * 32, 1_000_000, "b" * 64, "gguf"),
    "folder": AdapterFacts("04" * 32, 1_000_000, SMALL, "safetensors"),
}
GROUND = Ground(
    MODELS, LATTICE, ("default", "health"), ("llamacpp", "vllm"), {"llamacpp": "gguf"}, ("llamacpp",), ADAPTERS
)


def read(*adapters: object, before: DeploymentSpec | None = None, known: object = None, **more: object):
    given = msgspec.convert({"name": "chat", "model": "small", "adapters": list(adapters)} | more, GivenDeployment)
    return SpecReader(MODELS, LATTICE, device_bytes, ADAPTERS if known is None else known).read(given, before)


def check(spec: DeploymentSpec, ground: Ground = GROUND, *, replaces: bool = True) -> None:
    check_spec(spec, ground, None, replaces=replaces)


def test_adapters_are_named_with_or_without_digest_and_stand_in_the_order_of_their_names() -> None:
    spec = read("plans", {"name": "notes@sha256:020202", "tenants": ["health", "health"]})
    assert [(one.name, one.digest, one.tenants) for one in spec.adapters] == [
        ("notes", "02" * 32, ("health",)),
        ("plans", "01" * 32, None),
    ]
    assert spec.variant == (SMALL, "02" * 32, "01" * 32)
    check(spec)


def test_what_is_written_is_read_as_the_same() -> None:
    spec = read("plans", {"name": "notes", "tenants": ["health"]})
    given = given_of(spec)
    assert given.adapters == (GivenAdapter("notes@sha256:" + "02" * 32, ("health",)), "plans@sha256:" + "01" * 32)
    exported = msgspec.json.decode(msgspec.json.encode([given]))
    (parsed,) = parse_deployments(written(exported).encode(), "a file")
    assert SpecReader(MODELS, LATTICE, device_bytes, ADAPTERS).read(msgspec.convert(parsed, GivenDeployment)) == spec


@pytest.mark.parametrize(
    ("adapters", "code", "words"),
    [
        (["plan"], "model_not_found", "Did you mean plans?"),
        (["plans@sha256:ffffff"], "conflict", "the one here is 010101010101…"),
        (["plans@nonsense"], "invalid_value", "6 to 64 hex digits"),
        (["other"], "conflict", f"was made for the weights {'b' * 12}…; small has {'a' * 12}…"),
        (["folder"], "invalid_value", "here as safetensors; llamacpp reads gguf"),
        (["plans", "plans"], "invalid_value", "'plans' twice"),
        ([{"name": "plans", "tenants": ["nobody"]}], "not_found", "there is no tenant 'nobody'"),
        ([{"name": "plans", "tenants": []}], "invalid_value", "0 names"),
    ],
)
def test_what_a_deployment_cannot_have_is_refused(adapters: list[object], code: str, words: str) -> None:
    with pytest.raises(Problem) as refused:
        check(read(*adapters))
    assert refused.value.code == code
    assert words in f"{refused.value.message} {refused.value.hint}"
    assert refused.value.param in ("adapters", "adapters.tenants")


def test_there_are_no_more_than_fit_into_an_entry() -> None:
    many = {f"a{number}": replace(ADAPTERS["plans"], digest=f"{number:064x}") for number in range(ADAPTERS_MAX + 1)}
    check(read(*list(many)[1:], known=many), replace(GROUND, adapters=many))
    with pytest.raises(Problem, match=f"{ADAPTERS_MAX} are the most"):
        check(read(*many, known=many), replace(GROUND, adapters=many))


def test_a_model_that_embeds_has_no_adapters() -> None:
    with pytest.raises(Problem, match="adapters run on models that write"):
        check(read("plans", model="embed"))


def test_a_replica_on_several_nodes_has_no_adapters() -> None:
    check(read("plans", needs={"nodes": 1}))
    with pytest.raises(Problem, match="a replica is on 2 nodes"):
        check(read("plans", needs={"nodes": 2}))


def test_one_that_is_not_here_any_more_is_left_as_it_is_but_not_given_to_new_replicas() -> None:
    before = read("plans", "notes")
    spec = read("plans", "notes", before=before, known={"notes": ADAPTERS["notes"]})
    assert spec.variant == before.variant
    gone = replace(GROUND, adapters={"notes": ADAPTERS["notes"]})
    check(spec, gone, replaces=False)
    with pytest.raises(Problem, match="plans, 010101010101…, which is not admitted here any more"):
        check(spec, gone)


def test_other_adapters_are_other_replicas_and_who_may_use_one_is_not() -> None:
    before = read("plans")
    assert replicas_stay(before, read({"name": "plans", "tenants": ["health"]}))
    assert not replicas_stay(before, read("plans", "notes"))
    assert not replicas_stay(before, read())
    deployed = Deployed({1: before}, 1, 1, 1, "ann")
    assert revision_of(read("notes"), deployed) == 2


def test_a_replica_takes_more_memory_for_each() -> None:
    none, one, two = read(), read("plans"), read("plans", "notes")
    assert one.needs.device_bytes - none.needs.device_bytes == adapters_memory([1_000_000])
    assert two.needs.device_bytes - none.needs.device_bytes == adapters_memory([1_000_000, 2_000_000])


def test_what_may_be_deployed_is_what_is_admitted() -> None:
    file = ArtefactFile("a.gguf", 7, "05" * 32)
    adapter = Artefact("plans", ArtefactKind.ADAPTER, "gguf", "06" * 32, (file,), 7, "llama", 0, "MIT", "", base=SMALL)
    folder = replace(adapter, name="folder", format="safetensors", files=(file, file), size_bytes=14)
    model = replace(adapter, name="model", kind=ArtefactKind.MODEL)
    quarantined = replace(adapter, name="new")
    states = {"new": AdmissionState.QUARANTINED}
    admissions = [
        Admission(one, states.get(one.name, AdmissionState.ADMITTED), "ann", 0)
        for one in (adapter, folder, model, quarantined)
    ]
    assert adapters_here(admissions) == {
        "plans": AdapterFacts("05" * 32, 7, SMALL, "gguf"),
        "folder": AdapterFacts("06" * 32, 14, SMALL, "safetensors"),
    }
