"""Bundles between installations: what is carried must be admitted again, and nothing old, mixed or revoked comes in."""

from __future__ import annotations

import shutil

import pytest

from admission_world import ANN, BEN, LOCAL, NOW_S, SECRET, place, problem, tiny_gguf, worlds_in
from fastness.core.admission import AdmissionState
from fastness.registry.library import ModelUnavailable


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
