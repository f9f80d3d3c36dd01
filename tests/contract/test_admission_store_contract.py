"""What an admission store does: nothing is imported twice, no name is used twice, no change is lost."""

from dataclasses import replace

import pytest

from fastness.core.admission import Admission, AdmissionState, Approval, Artefact, ArtefactFile, ArtefactKind
from fastness.core.marking import Label
from fastness.store.admissions import AdmissionStore, BundleMark, Direction, SqlAdmissionStore
from fastness.store.database import Database
from fastness.store.port import Conflict, Missing


def admission(name="town", digest="1" * 64, **changes):
    files = (ArtefactFile("model.gguf", 9, "f" * 64),)
    artefact = Artefact(name, ArtefactKind.MODEL, "gguf", digest, files, 9, "llama", 2_048, "MIT", "a gift")
    return replace(Admission(artefact, AdmissionState.QUARANTINED, "local", 5), **changes)


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request, url_in):
    database = Database.open(url_in(request.param))
    yield SqlAdmissionStore(database)
    database.close()


def test_what_was_added_comes_back_as_it_was(store: AdmissionStore):
    full = admission(
        state=AdmissionState.ADMITTED,
        approvals=(Approval("key_1", 6, Label("SECRET", ("EYES ONLY",))),),
        ceiling=Label("SECRET", ("EYES ONLY",)),
    )
    store.add_admissions([full, admission("other", "2" * 64)])
    assert store.admissions() == (full, admission("other", "2" * 64))
    assert store.admission("town") == full
    assert store.admission_of("2" * 64).artefact.name == "other"
    assert store.admission_of("3" * 64) is None


def test_an_unknown_name_is_missing(store: AdmissionStore):
    with pytest.raises(Missing, match="'nobody'"):
        store.admission("nobody")


@pytest.mark.parametrize("state", list(AdmissionState))
def test_the_same_bytes_are_never_imported_twice(store: AdmissionStore, state):
    store.add_admissions([admission(state=state)])
    with pytest.raises(Conflict, match=f"as town, and are {state.value}"):
        store.add_admissions([admission("again")])


def test_a_name_is_free_again_only_when_it_was_revoked(store: AdmissionStore):
    store.add_admissions([admission()])
    with pytest.raises(Conflict, match="other bytes"):
        store.add_admissions([admission(digest="2" * 64)])
    revoked = admission(state=AdmissionState.REVOKED)
    store.change_admission(admission(), revoked)
    assert store.admission("town") == revoked
    store.add_admissions([admission(digest="2" * 64)])
    assert store.admission("town").artefact.digest == "2" * 64


def test_a_change_from_something_that_is_no_more_is_a_conflict(store: AdmissionStore):
    store.add_admissions([admission()])
    store.change_admission(admission(), admission(approvals=(Approval("a", 1, Label("OFFICIAL")),)))
    with pytest.raises(Conflict, match="somebody else"):
        store.change_admission(admission(), admission(approvals=(Approval("b", 1, Label("OFFICIAL")),)))
    assert [one.by for one in store.admission("town").approvals] == ["a"]


def test_a_bundle_only_goes_forward_and_takes_its_artefacts_with_it(store: AdmissionStore):
    mark = BundleMark("b1", Direction.IN, 3, "d" * 64, 7)
    assert store.bundle_version("b1", Direction.IN) == 0
    store.add_admissions([admission()], mark)
    assert store.bundle_version("b1", Direction.IN) == 3
    assert store.bundle_version("b1", Direction.OUT) == 0
    with pytest.raises(Conflict, match="3 is not newer"):
        store.add_admissions([admission("other", "2" * 64)], mark)
    assert store.admission_of("2" * 64) is None
    store.mark_bundle(replace(mark, direction=Direction.OUT, version=1))
    assert store.bundle_version("b1", Direction.OUT) == 1
