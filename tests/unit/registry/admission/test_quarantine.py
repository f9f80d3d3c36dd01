"""Quarantine and records: nothing half, nothing changed, nothing loaded that was not admitted."""

import multiprocessing
import os
import stat
import threading
from dataclasses import replace

import msgspec
import pytest
from tiny_models import place, place_bert, tiny_gguf, wish

from fastness.config import RegistrySettings
from fastness.core.admission import Admission, AdmissionState, ArtefactKind
from fastness.core.deployment import Adapter
from fastness.core.marking import Label
from fastness.registry.admission.loading import admitted_ceiling, ensure_folder
from fastness.registry.admission.quarantine import FILES, Quarantine, Review
from fastness.registry.admission.record import Record, Records, served_by
from fastness.registry.admission.refusal import AdmissionRefused
from fastness.registry.durable import PARTIAL_SUFFIX
from fastness.registry.inspection.direct import DirectInspector
from fastness.registry.library import ModelLibrary, ModelRefused, ModelUnavailable
from fastness.registry.sealed_copy import sealed_copy

SETTINGS = RegistrySettings()


def silent(stage, done_bytes, total_bytes):
    pass


@pytest.fixture
def home(tmp_path):
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


@pytest.fixture
def quarantine(home):
    return Quarantine(home, SETTINGS)


def taken_in(quarantine, source, name="tiny"):
    with quarantine.draft() as draft:
        quarantine.copy_in(draft, source)
        inspected = DirectInspector(SETTINGS).inspect(draft.content, wish(name))
        quarantine.keep(draft, inspected.artefact, Review(inspected, "not signed"), b"signature")
    return Admission(inspected.artefact, AdmissionState.QUARANTINED, "local", 5)


def admitted(one, ceiling="OFFICIAL"):
    return replace(one, state=AdmissionState.ADMITTED, ceiling=Label(ceiling))


@pytest.fixture
def tiny(quarantine, tmp_path):
    return taken_in(quarantine, place(tmp_path / "tiny.gguf"))


def weights_of(quarantine, one):
    return quarantine.folder(one.artefact.digest) / FILES / one.artefact.files[0].path


def test_what_was_kept_is_whole_and_what_was_not_is_gone(quarantine, tiny, tmp_path):
    assert {one.name for one in quarantine.root.iterdir()} == {".lock", tiny.artefact.digest}
    assert quarantine.review(tiny.artefact.digest).inspected.artefact == tiny.artefact
    assert quarantine.signature(tiny.artefact.digest) == b"signature"
    with quarantine.draft() as draft:
        quarantine.copy_in(draft, place(tmp_path / "other.gguf", 1))
        assert draft.content.exists()
    assert {one.name for one in quarantine.root.iterdir()} == {".lock", tiny.artefact.digest}


def test_what_a_dead_process_left_is_cleared_and_what_lives_is_not(quarantine):
    quarantine.root.mkdir(mode=0o700)
    left = quarantine.root / f"tmpdead{PARTIAL_SUFFIX}"
    (left / FILES).mkdir(parents=True)
    (left / FILES / "half").write_bytes(b"half")
    with quarantine.draft() as first, quarantine.draft() as second:
        assert not left.exists()
        assert first.folder.exists() and second.folder.exists()


def hold(home, ready):
    with Quarantine(home, SETTINGS).draft() as draft:
        (draft.folder / "half").write_bytes(b"half")
        ready.send(str(draft.folder))
        threading.Event().wait()


def test_a_process_killed_in_the_middle_leaves_nothing_half(home, quarantine):
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=hold, args=(home, there))
    process.start()
    try:
        assert here.poll(60)
        left = here.recv()
        with quarantine.draft():
            assert os.path.exists(left), "it is at work"
    finally:
        process.kill()
        process.join()
        process.close()
        here.close()
        there.close()
    with quarantine.draft():
        assert not os.path.exists(left)


def test_several_at_once_are_each_whole(quarantine, tmp_path):
    found, sources = [], [place(tmp_path / f"{number}.gguf", number) for number in range(6)]
    threads = [
        threading.Thread(target=lambda one=one: found.append(taken_in(quarantine, one, f"m{one.stem}")))
        for one in sources
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({one.artefact.digest for one in found}) == 6
    for one in found:
        quarantine.check(one.artefact)


def test_admission_gives_the_weights_their_name_and_a_record(home, quarantine, tiny):
    record = Records(home).lay_down(admitted(tiny), quarantine)
    weights = Records(home).weights(tiny.artefact.files[0].digest)
    assert stat.S_IMODE(weights.stat().st_mode) == 0o444
    assert (record.card.name, record.card.context_tokens, record.card.embedding_dimensions) == ("tiny", 16, 4)
    assert Records(home).lay_down(admitted(tiny), quarantine) == record, "again is harmless"
    assert sorted(one.name for one in (home / "models").iterdir()) == [".lock", weights.name, "admitted"]


def test_an_admitted_model_is_served_with_its_ceiling(home, quarantine, tiny):
    library = ModelLibrary(home, {})
    Records(home).lay_down(admitted(tiny, "OFFICIAL-SENSITIVE"), quarantine)
    card, path, ceiling = library.ensure("tiny", silent)
    assert (card.name, ceiling) == ("tiny", "OFFICIAL-SENSITIVE")
    assert path.read_bytes() == weights_of(quarantine, tiny).read_bytes()
    assert library.cards() == (card,)
    assert admitted_ceiling(home, "tiny") == Label("OFFICIAL-SENSITIVE")


def test_what_is_only_in_quarantine_is_not_served(home, tiny):
    with pytest.raises(ModelUnavailable, match="must be admitted first"):
        ModelLibrary(home, {}).ensure("tiny", silent)
    assert admitted_ceiling(home, "tiny") is None


def test_a_revoked_model_is_not_served_any_more_and_says_who_and_when(home, quarantine, tiny):
    Records(home).lay_down(admitted(tiny), quarantine)
    revoked = replace(admitted(tiny), state=AdmissionState.REVOKED, revoked_by="key_9", revoked_s=1_795_000_000)
    Records(home).write(Record(revoked, None))
    with pytest.raises(ModelRefused, match="revoked by key_9 on 2026-"):
        ModelLibrary(home, {}).ensure("tiny", silent)
    assert ModelLibrary(home, {}).cards() == ()


def rewrite(path, content):
    path.chmod(0o600)
    path.write_bytes(content)


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    rewrite(path, bytes(content))


def replaced(path):
    """Another file under the same name: what a swap between check and load is."""
    place(path.with_name("other"), 9).replace(path)


def linked(path):
    place(path.with_name("other"), 9)
    path.unlink()
    path.symlink_to(path.with_name("other"))


def linked_to_the_same(path):
    """The right bytes, but through a link, which can lead elsewhere a moment later."""
    path.rename(path.with_name("same"))
    path.symlink_to(path.with_name("same"))


SWAPS = pytest.mark.parametrize("swap", [flip, replaced, linked, linked_to_the_same, os.unlink])


@SWAPS
def test_a_change_between_inspection_and_admission_is_caught(home, quarantine, tiny, swap):
    swap(weights_of(quarantine, tiny))
    with pytest.raises(AdmissionRefused) as refused:
        Records(home).lay_down(admitted(tiny), quarantine)
    assert refused.value.rule == "admission.changed"
    assert ModelLibrary(home, {}).cards() == ()
    assert not list((home / "models").glob("*.gguf"))


@pytest.mark.parametrize("swap", [flip, replaced, linked, os.unlink])
def test_a_change_between_admission_and_load_is_caught(home, quarantine, tiny, swap):
    Records(home).lay_down(admitted(tiny), quarantine)
    swap(Records(home).weights(tiny.artefact.files[0].digest))
    with pytest.raises((ModelRefused, ModelUnavailable)):
        ModelLibrary(home, {}).ensure("tiny", silent)


def test_a_swap_while_the_weights_get_their_name_is_caught(home, quarantine, tiny, monkeypatch):
    real = os.link

    def swap(source, target, **options):
        replaced(source)
        real(source, target, **options)

    monkeypatch.setattr(os, "link", swap)
    with pytest.raises(AdmissionRefused, match="was inspected"):
        Records(home).lay_down(admitted(tiny), quarantine)
    assert not list((home / "models").glob("*gguf*"))


def test_a_damaged_record_serves_nothing(home, quarantine, tiny):
    Records(home).lay_down(admitted(tiny), quarantine)
    (home / "models/admitted/tiny.json").write_text("{")
    with pytest.raises(ModelRefused, match="cannot be read"):
        ModelLibrary(home, {}).ensure("tiny", silent)


@pytest.mark.parametrize("name", ["../tiny", "tiny/../tiny", "", "TINY", "a" * 64])
def test_a_name_that_is_none_finds_nothing(home, quarantine, tiny, name):
    Records(home).lay_down(admitted(tiny), quarantine)
    with pytest.raises(ModelUnavailable):
        ModelLibrary(home, {}).ensure(name, silent)


def test_a_damaged_review_is_said(quarantine, tiny):
    (quarantine.folder(tiny.artefact.digest) / "review.json").write_text("{}")
    with pytest.raises(AdmissionRefused, match="Import it again"):
        quarantine.review(tiny.artefact.digest)


def test_a_whole_directory_is_verified_for_an_engine_of_its_own(home, quarantine, tiny):
    Records(home).lay_down(admitted(tiny), quarantine)
    found, folder = ensure_folder(home, quarantine, "tiny")
    assert (found, folder) == (admitted(tiny), weights_of(quarantine, tiny).parent)
    flip(weights_of(quarantine, tiny))
    with pytest.raises(AdmissionRefused, match="not what was inspected"):
        ensure_folder(home, quarantine, "tiny")


def test_of_an_admitted_adapter_it_is_known_what_is_loaded_and_on_what(home, quarantine, tiny):
    artefact = replace(tiny.artefact, kind=ArtefactKind.ADAPTER, base="b" * 64)
    adapter = replace(admitted(tiny), artefact=artefact)
    record = Records(home).lay_down(adapter, quarantine)
    assert record.card is None
    library = ModelLibrary(home, {})
    found, path = library.locate_adapter("tiny")
    assert (found.digest, found.size_bytes) == (artefact.files[0].digest, artefact.files[0].size_bytes)
    assert path == home / "models" / f"{found.digest}.gguf"
    assert library.known_adapter("tiny") == Adapter("tiny", found.digest, "b" * 64, Label("OFFICIAL"))
    with pytest.raises(ModelRefused, match="cannot be served by itself"):
        library.ensure("tiny", silent)
    os.close(sealed_copy(found, path))
    replaced(path)
    with pytest.raises(ModelRefused, match="SHA-256"):
        sealed_copy(found, path)
    with pytest.raises(ModelRefused, match="there is no adapter"):
        library.locate_adapter("other")
    assert library.adapter("other") is None


def test_a_record_is_one_document_that_says_everything(home, quarantine, tiny):
    Records(home).lay_down(admitted(tiny), quarantine)
    document = msgspec.json.decode((home / "models/admitted/tiny.json").read_bytes())
    assert document["admission"]["state"] == "admitted"
    assert document["admission"]["artefact"]["digest"] == tiny.artefact.digest
    assert document["card"]["digest"] == tiny.artefact.files[0].digest


def test_a_bert_in_safetensors_is_converted_when_it_is_admitted(home, quarantine, tmp_path):
    bert = taken_in(quarantine, place_bert(tmp_path / "bert"), "bert")
    assert "converted" in served_by(bert.artefact)
    record = Records(home).lay_down(admitted(bert), quarantine)
    assert (record.card.kind, record.card.context_tokens, record.card.embedding_dimensions) == ("embedding", 16, 4)
    card, path, ceiling = ModelLibrary(home, {}).ensure("bert", silent)
    assert (card, ceiling) == (record.card, "OFFICIAL")
    assert len(path.read_bytes()) == len(tiny_gguf())
    assert Records(home).lay_down(admitted(bert), quarantine) == record
    flip(quarantine.folder(bert.artefact.digest) / FILES / "vocab.txt")
    with pytest.raises(AdmissionRefused, match="not what was inspected"):
        Records(home).lay_down(admitted(bert), quarantine)


def test_a_bert_that_cannot_be_converted_is_refused_at_admission(home, quarantine, tmp_path):
    folder = place_bert(tmp_path / "bert")
    config = (folder / "config.json").read_text()
    (folder / "config.json").write_text(config.replace('"gelu"', '"mish"'))
    bert = taken_in(quarantine, folder, "bert")
    with pytest.raises(AdmissionRefused, match="cannot be converted"):
        Records(home).lay_down(admitted(bert), quarantine)
    assert not list((home / "models").glob("*gguf*"))
    assert not list((home / "models").glob("*.partial"))
