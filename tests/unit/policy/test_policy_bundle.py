"""Bundles: one digest for one policy, read from a directory within bounds, carried as JSON."""

from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from fastness.core.policy import PolicyBundle, PolicySnapshot, PolicyText
from fastness.policy.bundle import (
    BUNDLE_BYTES_MAX,
    FILES_MAX,
    bundle_from_directory,
    check_digest,
    make_bundle,
    mandatory_digest,
    shipped_bundle,
)
from fastness.policy.port import PolicyProblem
from fastness.policy.profile import PROFILE_BYTES_MAX, shipped_profile
from fastness.policy.statements import TEXT_BYTES_MAX
from policy_examples import SHIPPED, UK

PROFILE = Path(shipped_profile.__code__.co_filename).parent / "profiles" / "uk.toml"


def directory(path: Path, **files: str) -> Path:
    (path / "profile.toml").write_text(PROFILE.read_text())
    for name, text in files.items():
        (path / f"{name}.cedar").write_text(text)
    return path


def test_a_snapshot_survives_json():
    snapshot = PolicySnapshot(3, SHIPPED, 1_763_800_000, "key_1")
    assert msgspec.json.decode(msgspec.json.encode(snapshot), type=PolicySnapshot) == snapshot


def test_the_order_of_files_is_nothing_and_every_byte_of_them_is_something():
    one, two = PolicyText("a.cedar", "// a"), PolicyText("b.cedar", "// b")
    digest = make_bundle(UK, (one, two)).digest
    assert make_bundle(UK, (two, one)).digest == digest
    others = [
        make_bundle(UK, (one, PolicyText("b.cedar", "// b "))),
        make_bundle(UK, (one, PolicyText("c.cedar", "// b"))),
        make_bundle(UK, (one,)),
        make_bundle(replace(UK, default="SECRET"), (one, two)),
    ]
    assert len({digest, *(bundle.digest for bundle in others)}) == 5


def test_a_digest_that_is_not_the_text_s_is_found_out():
    check_digest(SHIPPED)
    altered = replace(SHIPPED, policies=(*SHIPPED.policies, PolicyText("more.cedar", "")))
    with pytest.raises(PolicyProblem, match=altered.digest):
        check_digest(altered)


def test_a_directory_is_read_whole(tmp_path):
    texts = {one.name.removesuffix(".cedar"): one.text for one in SHIPPED.policies}
    (tmp_path / "notes.txt").write_text("not a policy")
    assert bundle_from_directory(directory(tmp_path, **texts)) == SHIPPED


@pytest.mark.parametrize("name", ["de", "uk"])
def test_each_shipped_profile_has_its_bundle(name):
    bundle = shipped_bundle(shipped_profile(name))
    assert [one.name for one in bundle.policies] == ["bounds.cedar", "roles.cedar"]
    check_digest(bundle)


def test_a_directory_without_a_profile_says_so(tmp_path):
    with pytest.raises(PolicyProblem, match=r"profile\.toml: No such file"):
        bundle_from_directory(tmp_path)
    with pytest.raises(PolicyProblem, match="not a directory"):
        bundle_from_directory(tmp_path / "gone")


def test_huge_files_are_not_read(tmp_path):
    directory(tmp_path, huge="x" * (TEXT_BYTES_MAX + 1))
    with pytest.raises(PolicyProblem, match=rf"huge\.cedar: more than {TEXT_BYTES_MAX} bytes"):
        bundle_from_directory(tmp_path)
    (tmp_path / "profile.toml").write_text("#" * (PROFILE_BYTES_MAX + 1))
    with pytest.raises(PolicyProblem, match=rf"profile\.toml: more than {PROFILE_BYTES_MAX} bytes"):
        bundle_from_directory(tmp_path)


def test_many_files_are_not_read(tmp_path):
    directory(tmp_path, **{f"p{number}": "" for number in range(FILES_MAX + 1)})
    with pytest.raises(PolicyProblem, match=f"there may be {FILES_MAX}"):
        bundle_from_directory(tmp_path)


def test_a_bundle_is_bounded_in_all():
    texts = tuple(PolicyText(f"{number}.cedar", "x" * TEXT_BYTES_MAX) for number in range(9))
    with pytest.raises(PolicyProblem, match=f"{BUNDLE_BYTES_MAX} is the most"):
        make_bundle(UK, texts)
    with pytest.raises(PolicyProblem, match="two files"):
        make_bundle(UK, (texts[0], texts[0]))
    with pytest.raises(PolicyProblem, match="visible characters"):
        make_bundle(UK, (PolicyText("a\nb.cedar", ""),))


def test_what_is_not_utf_8_is_no_policy(tmp_path):
    directory(tmp_path)
    (tmp_path / "odd.cedar").write_bytes(b"// \xff")
    with pytest.raises(PolicyProblem, match=r"odd\.cedar: not UTF-8 at byte 3"):
        bundle_from_directory(tmp_path)
    with pytest.raises(PolicyProblem, match="surrogate"):
        make_bundle(UK, (PolicyText("odd.cedar", "// \ud800"),))


def test_the_mandatory_rules_have_a_digest_of_their_own():
    assert len(mandatory_digest()) == 64
    assert isinstance(SHIPPED, PolicyBundle)
