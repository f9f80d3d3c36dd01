"""What a disclosure store does: what was asked comes back as it was, and of two changes one is told."""

from dataclasses import replace

import pytest

from fastness.core.retention import Disclosure, Purpose, Selection
from fastness.store.database import Database
from fastness.store.disclosures import DisclosureStore, SqlDisclosureStore
from fastness.store.port import Conflict, Missing

ASKED = Disclosure(
    id="disc_1",
    purpose=Purpose.OPEN,
    tenant="health",
    reason="FOI 2026/114, é",
    selection=Selection(("req_1",), "key_1", "citizen-7", 1, 2),
    salt="ab" * 32,
    digest="cd" * 32,
    requests=("req_1",),
    labels=("OFFICIAL",),
    asked_by="key_1",
    asked_s=100,
    expires_s=200,
)


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request, url_in):
    database = Database.open(url_in(request.param))
    yield SqlDisclosureStore(database)
    database.close()


def test_what_was_asked_comes_back_as_it_was(store: DisclosureStore):
    other = replace(ASKED, id="disc_2", selection=Selection(), everything=True, purpose=Purpose.SHRED)
    store.add_disclosure(ASKED)
    store.add_disclosure(other)
    assert store.disclosures() == (ASKED, other)
    assert store.disclosure("disc_2") == other
    with pytest.raises(Missing, match="disc_3"):
        store.disclosure("disc_3")
    with pytest.raises(Conflict):
        store.add_disclosure(ASKED)


def test_of_two_changes_from_the_same_state_one_is_told(store: DisclosureStore):
    store.add_disclosure(ASKED)
    approved = replace(ASKED, approved_by="key_2", approved_s=150)
    store.change_disclosure(ASKED, approved)
    with pytest.raises(Conflict, match="disc_1 was changed"):
        store.change_disclosure(ASKED, replace(ASKED, approved_by="key_3", approved_s=150))
    assert store.disclosure("disc_1") == approved


def test_old_ones_are_forgotten(store: DisclosureStore):
    store.add_disclosure(ASKED)
    store.add_disclosure(replace(ASKED, id="disc_2", asked_s=500))
    assert store.forget_disclosures(500) == 1
    assert [one.id for one in store.disclosures()] == ["disc_2"]
