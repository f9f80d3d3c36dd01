"""Admission as a whole, on the real store, policy and inspection: who must agree, what is recorded, what is refused."""

from __future__ import annotations

import asyncio
import shutil

import pytest

from admission_world import (
    ANN,
    BEN,
    LOCAL,
    SECRET,
    approver,
    new_key,
    place,
    place_bert,
    problem,
    tiny_gguf,
    trust_key,
    wish,
    worlds_in,
)
from fastness.config import RegistrySettings
from fastness.control.admission_words import ImportWish
from fastness.control.problem import Problem
from fastness.core.admission import AdmissionState, ArtefactKind
from fastness.core.marking import Label
from fastness.core.tenant import Principal
from fastness.ledger.port import LedgerUnavailable
from fastness.registry.inspection.direct import DirectInspector
from fastness.registry.library import ModelRefused, ModelUnavailable
from fastness.registry.signing import oms
from fastness.registry.signing.keys import Signer


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


@pytest.fixture
def signed(world, weights):
    """A directory with weights, and a signature beside them by somebody who is trusted."""
    signer = Signer(new_key())
    trust_key(world.home / "trust", signer)
    inspected = DirectInspector(RegistrySettings()).inspect(weights.parent, wish())
    (weights.parent / "model.sig").write_bytes(oms.sign("tiny", inspected.artefact.files, signer))
    return weights.parent


def test_a_model_is_imported_admitted_and_served_and_each_step_is_an_entry(world, weights):
    assert world.take_in(weights).state is AdmissionState.QUARANTINED
    assert world.events() == ["model.imported"]
    with pytest.raises(ModelUnavailable):
        world.served()
    assert world.admit().ceiling == Label("OFFICIAL")
    assert world.events() == ["model.imported", "model.approved", "model.admitted"]
    card, path, ceiling = world.served()
    assert (card.licence, path.read_bytes(), ceiling) == ("MIT", tiny_gguf(), "OFFICIAL")
    admitted = world.ledger.entries()[-1].fields
    assert (admitted["approvers"], admitted["licence"], admitted["signer"]) == ("local", "MIT", None)


def test_above_the_setting_two_distinct_approvers_are_needed(world, signed):
    world.take_in(signed)
    assert world.admit("OFFICIAL-SENSITIVE", ANN).state is AdmissionState.QUARANTINED
    assert world.admit("OFFICIAL-SENSITIVE", ANN).state is AdmissionState.QUARANTINED, "the same approver twice"
    assert world.events().count("model.approved") == 1
    with pytest.raises(ModelUnavailable):
        world.served()
    assert world.admit("SECRET", BEN).ceiling == Label("OFFICIAL-SENSITIVE")
    assert world.served()[2] == "OFFICIAL-SENSITIVE"
    assert world.admit("SECRET", ANN).ceiling == SECRET, "the highest that both cover"
    assert world.events().count("model.admitted") == 2


def test_the_local_operator_is_one_approver(world, signed):
    world.take_in(signed)
    assert world.admit("SECRET", LOCAL).state is AdmissionState.QUARANTINED
    assert world.admit("SECRET", ANN).ceiling == SECRET


def test_an_approver_may_not_agree_to_more_than_they_are_cleared_for(world, signed):
    world.take_in(signed)
    refused = problem(world.admit, "SECRET", approver("key_low", Label("OFFICIAL-SENSITIVE")))
    assert refused.code == "marking_not_cleared"
    assert "Needed" in refused.message
    developer = Principal("key_dev", "security", frozenset({"developer"}), clearance=SECRET, tenant_clearance=SECRET)
    assert problem(world.admit, "OFFICIAL", developer).status == 403
    assert "model.approved" not in world.events()


def test_a_marking_that_the_profile_does_not_know_is_refused(world, weights):
    world.take_in(weights)
    assert problem(world.admit, "COSMIC").code == "unknown_marking"


def test_above_the_setting_somebody_trusted_must_have_signed(world, weights):
    world.take_in(weights)
    refused = problem(world.admit, "SECRET", ANN)
    assert "admission.signer" in refused.message
    assert world.events()[-1] == "model.refused"
    assert world.admit("OFFICIAL", ANN).ceiling == Label("OFFICIAL")


def test_a_signer_taken_out_of_trust_since_the_import_counts_no_more(world, signed):
    world.take_in(signed)
    world.admit("SECRET", ANN)
    (world.home / "trust/signer.pem").unlink()
    assert "admission.signer" in problem(world.admit, "SECRET", BEN).message


def test_a_signature_of_somebody_trusted_on_other_files_is_refused(world, signed):
    (signed / "tiny.gguf").write_bytes(tiny_gguf(7))
    refused = problem(world.take_in, signed)
    assert (refused.code, world.events()) == ("artefact_refused", ["model.refused"])
    assert "not on these files" in refused.message
    assert [one.name for one in world.admissions.quarantine.root.iterdir()] == [".lock"]


def test_a_signature_of_a_stranger_is_told_to_the_approver_and_worth_nothing(world, signed):
    (world.home / "trust/signer.pem").unlink()
    admission = world.take_in(signed)
    assert admission.artefact.signer is None
    assert "nobody trusted here" in world.run(world.admissions.shown("tiny"))[1].signature


def test_a_signature_that_is_given_must_be_trusted(world, signed, tmp_path):
    (signed / "model.sig").rename(tmp_path / "given.sig")
    assert world.take_in(signed, signature=tmp_path / "given.sig").artefact.signer is not None
    (world.home / "trust/signer.pem").unlink()
    refused = problem(world.take_in, place(tmp_path / "b/b.gguf", 3), "b", signature=tmp_path / "given.sig")
    assert "admission.signature" in refused.message


def test_a_damaged_file_of_trust_stops_imports_and_says_which(world, weights):
    (world.home / "trust").mkdir()
    (world.home / "trust/broken.pem").write_bytes(b"x")
    (weights.parent / "model.sig").write_bytes(b"{}")
    assert "broken.pem" in problem(world.take_in, weights.parent).message


def test_what_breaks_a_rule_is_refused_recorded_and_not_kept(world, tmp_path):
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad/model.gguf").write_bytes(b"GGUF nonsense")
    refused = problem(world.take_in, tmp_path / "bad")
    assert refused.code == "artefact_refused"
    assert world.events() == ["model.refused"]
    assert [one.name for one in world.admissions.quarantine.root.iterdir()] == [".lock"]


def test_a_revoked_model_does_not_load_at_the_next_start_and_never_comes_back(world, weights):
    world.take_in(weights)
    world.admit()
    world.run(world.admissions.revoke("tiny", ANN))
    assert world.events()[-1] == "model.revoked"
    with pytest.raises(ModelRefused, match="revoked by key_ann"):
        world.served()
    assert "for good" in problem(world.admit).message
    again = problem(world.take_in, weights, "other-name")
    assert "do not come back" in again.message
    assert world.take_in(place(weights.with_name("new.gguf"), 1)).state is AdmissionState.QUARANTINED, (
        "the name is free"
    )
    world.admit()
    assert world.served()[2] == "OFFICIAL"


def test_revoking_twice_is_harmless(world, weights):
    world.take_in(weights)
    once = world.run(world.admissions.revoke("tiny", ANN))
    assert world.run(world.admissions.revoke("tiny", BEN)) == once
    assert world.events().count("model.revoked") == 1


def test_a_change_between_import_and_admission_is_refused_and_recorded(world, weights):
    admission = world.take_in(weights)
    copy = world.admissions.quarantine.folder(admission.artefact.digest) / "files/tiny.gguf"
    copy.chmod(0o600)
    copy.write_bytes(tiny_gguf(5))
    refused = problem(world.admit)
    assert "admission.changed" in refused.message
    assert world.events() == ["model.imported", "model.refused"]
    with pytest.raises(ModelUnavailable):
        world.served()


def test_a_source_that_changes_after_the_copy_changes_nothing(world, weights):
    world.take_in(weights)
    weights.write_bytes(tiny_gguf(9))
    world.admit()
    assert world.served()[1].read_bytes() == tiny_gguf()


def test_the_same_bytes_and_the_same_name_are_taken_once(world, weights, tmp_path):
    world.take_in(weights)
    assert problem(world.take_in, weights, "second").code == "conflict"
    assert problem(world.take_in, place(tmp_path / "x/x.gguf", 1)).code == "conflict"


@pytest.mark.parametrize("name", ["UPPER", "a/b", "..", "", "a" * 64, "ünï"])
def test_a_name_that_is_none_is_refused(world, weights, name):
    assert problem(world.take_in, weights, name).param == "name"


def test_two_imports_at_once_are_both_whole(world, tmp_path):
    async def both():
        wishes = [
            ImportWish(place(tmp_path / f"{one}/m.gguf", one), f"m{one}", ArtefactKind.MODEL, "MIT", "x")
            for one in range(4)
        ]
        await asyncio.gather(*(world.admissions.take_in(one, LOCAL) for one in wishes))

    world.run(both())
    for one in range(4):
        world.admit(name=f"m{one}")
        assert world.served(f"m{one}")[1].read_bytes() == tiny_gguf(one)


def test_two_imports_of_the_same_at_once_leave_one(world, weights):
    async def both():
        wish = ImportWish(weights, "tiny", ArtefactKind.MODEL, "MIT", "x")
        return await asyncio.gather(*(world.admissions.take_in(wish, LOCAL) for _ in range(3)), return_exceptions=True)

    outcomes = world.run(both())
    assert sum(isinstance(one, Problem) for one in outcomes) == 2
    assert len(world.run(world.admissions.all())) == 1
    world.admit()
    assert world.served()[1].read_bytes() == tiny_gguf()


def test_what_a_crash_cut_off_is_finished_at_the_next_start(world, weights):
    world.take_in(weights)
    world.admit()
    shutil.rmtree(world.home / "models")
    world.build()
    world.run(world.admissions.finish())
    assert world.served()[2] == "OFFICIAL"
    record = (world.home / "models/admitted/tiny.json").read_bytes()
    world.run(world.admissions.revoke("tiny", LOCAL))
    (world.home / "models/admitted/tiny.json").write_bytes(record)
    world.run(world.admissions.finish())
    with pytest.raises(ModelRefused, match="revoked"):
        world.served()


def test_nothing_is_admitted_without_an_entry(world, weights, monkeypatch):
    world.take_in(weights)

    async def full(event):
        raise LedgerUnavailable("disk full")

    monkeypatch.setattr(world.ledger, "commit", full)
    with pytest.raises(LedgerUnavailable, match="disk full"):
        world.admit()
    assert world.run(world.admissions.all())[0].state is AdmissionState.QUARANTINED
    with pytest.raises(ModelUnavailable):
        world.served()


def test_what_cannot_be_laid_down_is_not_admitted_either(world, tmp_path):
    folder = place_bert(tmp_path / "bert")
    config = folder / "config.json"
    config.write_text(config.read_text().replace('"gelu"', '"mish"'))
    world.take_in(folder)
    assert "admission.convert" in problem(world.admit).message
    assert world.events() == ["model.imported", "model.refused"]
    assert world.run(world.admissions.all())[0].state is AdmissionState.QUARANTINED


def test_a_bert_in_safetensors_is_served_converted(world, tmp_path):
    world.take_in(place_bert(tmp_path / "bert"))
    world.admit()
    assert world.served()[0].kind == "embedding"


def test_what_cannot_be_finished_is_named_and_keeps_nothing_else_from_being_finished(world, weights, tmp_path):
    admission = world.take_in(weights)
    world.take_in(place(tmp_path / "second/b.gguf", 2), "second")
    for name in ("tiny", "second"):
        world.admit(name=name)
        (world.home / f"models/admitted/{name}.json").write_text("{")
    (world.admissions.quarantine.folder(admission.artefact.digest) / "files/tiny.gguf").unlink()
    world.build()
    assert world.run(world.admissions.finish()) == ("tiny",)
    assert world.served("second")[2] == "OFFICIAL"
    with pytest.raises(ModelRefused):
        world.served()
