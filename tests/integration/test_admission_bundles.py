"""Bundles between installations: what is carried must be admitted again, and nothing old, mixed or revoked comes in."""

from __future__ import annotations

import shutil

import pytest

from admission_world import ANN, BEN, LOCAL, NOW_S, SECRET, place, problem, tiny_gguf, worlds_in
from fastness.core.admission import AdmissionState, ArtefactKind
from fastness.registry.library import ModelLibrary, ModelRefused, ModelUnavailable
from hostile_parts import gguf, gguf_adapter


@pytest.fixture
def worlds(tmp_path):
    with worlds_in(tmp_path) as make:
        yield make


@pytest.fixture
def world(worlds):
    return worlds("home")


@pytest.fixture
def weights(tmp_path):
    return place(tmp_path / "medium/tiny.gguf")


def carried(world, other):
    """Let `other` trust what `world` exports."""
    (other.home / "trust").mkdir(exist_ok=True)
    shutil.copy(world.home / "secrets/export-key.pub.pem", other.home / "trust/world.pem")


@pytest.mark.parametrize("as_file", [True, False])
def test_an_installation_is_carried_across_and_must_be_admitted_there_too(world, worlds, weights, tmp_path, as_file):
    world.take_in(weights)
    world.admit()
    sent = world.send(tmp_path / "bundle", as_file=as_file, policy=True)
    assert (sent.manifest.version, world.events()[-1]) == (1, "model.exported")
    other = worlds("other")
    assert "bundle.signature" in problem(other.take, tmp_path / "bundle").message
    carried(world, other)
    taken = other.take(tmp_path / "bundle")
    assert [one.artefact.name for one in taken.new] == ["tiny"]
    assert taken.new[0].artefact.signer == sent.signer
    assert taken.policy.exists()
    assert other.events() == ["model.refused", "bundle.imported", "model.imported"]
    with pytest.raises(ModelUnavailable):
        other.served()
    assert other.admit("SECRET", ANN).state is AdmissionState.QUARANTINED
    assert other.admit("SECRET", BEN).ceiling == SECRET, "the bundle's signer is trusted here"
    assert other.served()[1].read_bytes() == tiny_gguf()


def test_only_what_is_admitted_is_exported(world, weights, tmp_path):
    world.take_in(weights)
    assert problem(world.send, tmp_path / "bundle", "tiny").code == "not_found"
    assert world.send(tmp_path / "empty").manifest.artefacts == ()


def test_rollback_replay_and_freeze_are_refused(world, worlds, weights, tmp_path):
    world.take_in(weights)
    world.admit()
    world.send(tmp_path / "one")
    world.take_in(place(tmp_path / "second/b.gguf", 2), "second")
    world.admit(name="second")
    world.send(tmp_path / "two")
    other = worlds("other")
    carried(world, other)
    assert len(other.take(tmp_path / "two").new) == 2
    for old in ("one", "two"):
        refused = problem(other.take, tmp_path / old)
        assert "bundle.rollback" in refused.message
    late = worlds("late")
    carried(world, late)
    late.now_s += 86_401
    assert "bundle.freeze" in problem(late.take, tmp_path / "two").message
    late.now_s = NOW_S - 200_000
    assert "bundle.freeze" in problem(late.take, tmp_path / "two").message
    assert late.run(late.admissions.all()) == ()


def test_a_bundle_that_brings_back_what_was_revoked_here_is_refused_as_a_whole(world, worlds, weights, tmp_path):
    other = worlds("other")
    other.take_in(weights)
    other.run(other.admissions.revoke("tiny", LOCAL))
    world.take_in(weights)
    world.take_in(place(tmp_path / "second/b.gguf", 2), "second")
    world.admit()
    world.admit(name="second")
    world.send(tmp_path / "bundle")
    carried(world, other)
    assert "admission.revoked" in problem(other.take, tmp_path / "bundle").message
    assert len(other.run(other.admissions.all())) == 1


def test_what_is_known_already_is_not_taken_twice(world, worlds, weights, tmp_path):
    other = worlds("other")
    other.take_in(weights)
    world.take_in(weights)
    world.admit()
    world.send(tmp_path / "bundle")
    carried(world, other)
    taken = other.take(tmp_path / "bundle")
    assert (taken.new, [one.artefact.name for one in taken.known]) == ((), ["tiny"])


def test_a_copy_that_was_changed_is_not_exported(world, weights, tmp_path):
    admission = world.take_in(weights)
    world.admit()
    copy = world.admissions.quarantine.folder(admission.artefact.digest) / "files/tiny.gguf"
    copy.chmod(0o600)
    copy.write_bytes(tiny_gguf(5))
    assert "not exported" in problem(world.send, tmp_path / "bundle").message
    assert not (tmp_path / "bundle").exists()


def with_adapter(world, tmp_path):
    """Import and admit a model and an adapter on it; return the digest of the model's weights."""
    (tmp_path / "small.gguf").write_bytes(gguf({"tokenizer.chat_template": None}))
    (tmp_path / "lora.gguf").write_bytes(gguf_adapter())
    weights = world.take_in(tmp_path / "small.gguf", "small").artefact.files[0].digest
    adapter = world.take_in(tmp_path / "lora.gguf", "health", kind=ArtefactKind.ADAPTER, base="small")
    assert adapter.artefact.base == weights
    for name in ("small", "health"):
        world.admit(name=name)
    return weights


def test_an_adapter_is_imported_for_its_base_admitted_and_handed_out_with_it(world, tmp_path):
    weights = with_adapter(world, tmp_path)
    library = ModelLibrary(world.home)
    adapter, path = library.locate_adapter("health")
    assert (adapter.base, path.read_bytes()) == (weights, gguf_adapter())
    world.run(world.admissions.revoke("health", LOCAL))
    with pytest.raises(ModelRefused, match="revoked"):
        library.locate_adapter("health")


def test_an_adapter_needs_a_base_that_is_known_here(world, tmp_path):
    (tmp_path / "lora.gguf").write_bytes(gguf_adapter())
    take = world.take_in
    assert "adapter.base" in problem(take, tmp_path / "lora.gguf", "health", kind=ArtefactKind.ADAPTER).message
    refused = problem(take, tmp_path / "lora.gguf", "health", kind=ArtefactKind.ADAPTER, base="nobody")
    assert (refused.code, "'nobody'" in refused.message) == ("not_found", True)


def test_a_bundle_brings_an_adapter_with_its_base_or_finds_the_base_here(world, worlds, tmp_path):
    weights = with_adapter(world, tmp_path)
    world.send(tmp_path / "adapter-alone", "health")
    world.send(tmp_path / "both")
    other = worlds("other")
    carried(world, other)
    refused = problem(other.take, tmp_path / "adapter-alone")
    assert "neither here nor with it" in refused.message
    assert [one.artefact.name for one in other.take(tmp_path / "both").new] == ["small", "health"]
    for name in ("small", "health"):
        other.admit(name=name)
    assert ModelLibrary(other.home).locate_adapter("health")[0].base == weights


def test_a_bundle_overwrites_nothing_and_such_an_attempt_uses_no_version_up(world, weights, tmp_path):
    world.take_in(weights)
    world.admit()
    (tmp_path / "there").write_bytes(b"x")
    assert problem(world.send, tmp_path / "there").code == "conflict"
    assert world.send(tmp_path / "free").manifest.version == 1
