"""What is declared of this machine, and how a setting that a profile cannot read is refused."""

from dataclasses import replace

import pytest

from fastness.config import ConfigError, load
from fastness.control.declaration import Declared, chosen_profile, declare
from fastness.core.admission import Admission, AdmissionState, Artefact, ArtefactKind
from fastness.core.marking import Label, Lattice, Node
from fastness.core.model import ModelCard, ModelKind
from fastness.core.policy import PolicySnapshot
from fastness.policy.bundle import shipped_bundle
from fastness.policy.profile import shipped_profile
from fastness.store.snapshot_file import write_snapshot

UK = Lattice(shipped_profile("uk"))
CHAT = ModelCard("small", ModelKind.CHAT, "d" * 64, 98, "Apache-2.0", 2048, 1)


def settings(tmp_path, **given):
    environ = {f"FASTNESS__{name.upper()}": value for name, value in given.items()}
    return load({"FASTNESS_HOME": str(tmp_path)} | environ)[0]


def publish(path, profile, version=1):
    write_snapshot(path, PolicySnapshot(version, shipped_bundle(shipped_profile(profile)), 1, "local"))


def test_nothing_is_declared_by_default_and_only_the_lowest_is_handled(tmp_path):
    declared = declare(settings(tmp_path), UK)
    assert declared.node == Node("local", "GB", "", "", Label("OFFICIAL"))
    assert declared.deployment(CHAT).model_ceiling == Label("OFFICIAL")


def test_the_owner_of_a_declared_operator_is_what_the_profile_says(tmp_path):
    declared = declare(settings(tmp_path, node__operator="crown", node__ceiling="secret; uk eyes only"), UK)
    assert declared.node == Node("local", "GB", "crown", "GB", Label("SECRET", ("UK EYES ONLY",)))
    foreign = declare(settings(tmp_path, node__operator="example-cloud-uk"), UK)
    assert foreign.node.owner == "US"


def test_a_deployment_has_its_own_ceiling_and_its_models(tmp_path):
    declared = declare(settings(tmp_path, engine__ceiling="SECRET"), UK)
    made = declared.deployment(CHAT, "official-sensitive")
    assert (made.name, made.model_digest) == ("small", CHAT.digest)
    assert (made.ceiling, made.model_ceiling) == (Label("SECRET"), Label("OFFICIAL-SENSITIVE"))
    assert declared.served((CHAT,)).nodes_of("small") == [declared.node]


def test_what_would_be_served_is_for_what_it_was_admitted_for(tmp_path):
    artefact = Artefact("small", ArtefactKind.MODEL, "gguf", "a" * 64, (), 1, "llama", 1, "MIT", "")
    secret = Admission(artefact, AdmissionState.ADMITTED, "key_1", 1, ceiling=Label("SECRET"))
    declared = declare(settings(tmp_path), UK)
    assert declared.served((CHAT,), (secret,)).deployments[0].model_ceiling == Label("SECRET")
    revoked = replace(secret, state=AdmissionState.REVOKED)
    assert declared.served((CHAT,), (revoked,)).deployments[0].model_ceiling == Label("OFFICIAL")


def test_a_model_admitted_for_what_the_profile_does_not_know_is_for_nothing(tmp_path):
    declared = declare(settings(tmp_path), UK)
    ceiling = declared.deployment(CHAT, "VS-NfD").model_ceiling
    assert not any(UK.dominates(ceiling, Label(one.name)) for one in UK.profile.markings)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"node__ceiling": "COSMIC"}, "node.ceiling is 'COSMIC'"),
        ({"node__ceiling": "OFFICIAL; NOPE"}, "node.ceiling"),
        ({"node__ceiling": ""}, "node.ceiling"),
        ({"engine__ceiling": "none"}, "engine.ceiling is 'none'"),
        ({"node__jurisdiction": "XX"}, "node.jurisdiction is 'XX'.*GB"),
        ({"node__operator": "stranger"}, "node.operator is 'stranger'.*crown"),
        ({"node__name": "A B"}, "node.name is 'A B'"),
    ],
)
def test_a_setting_that_the_profile_cannot_read_is_refused_by_its_name(tmp_path, given, says):
    with pytest.raises(ConfigError, match=says):
        declare(settings(tmp_path, **given), UK)


def test_the_profile_is_a_shipped_one_or_a_file(tmp_path):
    assert chosen_profile(settings(tmp_path)).name == "uk"
    assert chosen_profile(settings(tmp_path, policy__profile="de")).name == "de"
    mine = tmp_path / "mine.toml"
    mine.write_text('name = "mine"\ntitle = "Mine"\ndefault = "OPEN"\n[[marking]]\nname = "OPEN"\nmeaning = "All."\n')
    assert chosen_profile(settings(tmp_path, policy__profile=str(mine))).default == "OPEN"


@pytest.mark.parametrize("content", [None, b"default = ", b"\xff", b"#" * 300_000])
def test_a_profile_that_cannot_be_read_is_refused_by_the_name_of_the_setting(tmp_path, content):
    path = tmp_path / "mine.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"policy\.profile"):
        chosen_profile(settings(tmp_path, policy__profile=str(path)))


def test_a_directory_is_no_profile(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        chosen_profile(settings(tmp_path, policy__profile=str(tmp_path)))


def test_the_published_policy_counts_for_more_than_the_setting(tmp_path):
    path = tmp_path / "policy.json"
    publish(path, "de")
    german = {"node__jurisdiction": "DE", "node__ceiling": "VS-NfD", "engine__ceiling": "OFFEN"}
    declared = Declared(settings(tmp_path, **german), path)
    assert declared.declaration.node.ceiling == Label("VS-NfD")
    with pytest.raises(ConfigError, match=r"node\.(jurisdiction|ceiling)"):
        Declared(settings(tmp_path, **german), tmp_path / "none.json")


def test_a_policy_with_another_profile_is_followed_and_the_same_one_changes_nothing(tmp_path):
    path = tmp_path / "policy.json"
    declared = Declared(settings(tmp_path, node__jurisdiction="US"), path)
    assert not declared.poll()
    publish(path, "uk")
    assert not declared.poll()
    publish(path, "de", 2)
    with pytest.raises(ConfigError, match="OFFICIAL"):
        declared.poll()
    assert declared.declaration.node.ceiling == Label("OFFICIAL"), "a word that the new policy does not know"
    publish(path, "uk", 3)
    assert not declared.poll()
