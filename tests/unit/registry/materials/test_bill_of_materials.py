"""The bill of materials is CycloneDX, says what is installed, and finds what was changed since."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import tomllib
from functools import cache
from importlib import metadata, resources
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator
from referencing import Registry, Resource

from fastness.core.model import ModelCard, ModelKind
from fastness.registry.materials.bill import bill_of_materials, materials_of
from fastness.registry.materials.distributions import Distribution, installed
from fastness.registry.materials.locks import SHIPPED, canonical, read_locks, shipped_locks

ROOT = Path(__file__).parents[4]
AT_S = 1_800_000_000.0
DIGEST = "ab" * 32


@cache
def schema() -> Draft7Validator:
    """CycloneDX's own schema, as a library of theirs carries it; what it refers to lies beside it."""
    folder = resources.files("cyclonedx.schema") / "_res"
    texts = {name: json.loads((folder / f"{name}.SNAPSHOT.schema.json").read_text()) for name in ("spdx", "jsf-0.82")}
    known = Registry().with_resources(
        (f"http://cyclonedx.org/schema/{name}{end}", Resource.from_contents(text))
        for name, text in texts.items()
        for end in (".schema.json", ".SNAPSHOT.schema.json")
    )
    return Draft7Validator(json.loads((folder / "bom-1.6.SNAPSHOT.schema.json").read_text()), registry=known)


@cache
def here() -> dict[str, Any]:
    return materials_of(Path("/nowhere"), AT_S)


def named(bill: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in bill["components"]}


def facts(component: dict[str, Any]) -> dict[str, str]:
    return {one["name"].removeprefix("fastness:"): one["value"] for one in component["properties"]}


def install(site: Path, name: str, files: dict[str, bytes], *fields: str) -> None:
    """Lay a distribution down as an installer would."""
    about = site / f"{name}-1.0.dist-info"
    about.mkdir(parents=True)
    head = ["Metadata-Version: 2.4", f"Name: {name}", "Version: 1.0", *fields]
    files = files | {f"{about.name}/METADATA": "\n".join(head).encode() + b"\n\n"}
    rows = []
    for path, content in files.items():
        (site / path).parent.mkdir(exist_ok=True)
        (site / path).write_bytes(content)
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")
        rows.append(f"{path},sha256={digest},{len(content)}")
    (about / "RECORD").write_text("\n".join([*rows, f"{about.name}/RECORD,,"]) + "\n")


@pytest.mark.slow
def test_the_bill_of_this_installation_is_cyclonedx() -> None:
    problems = [f"{'/'.join(map(str, one.path))}: {one.message[:200]}" for one in schema().iter_errors(here())]
    assert problems == []


@pytest.mark.parametrize(
    "broken",
    [
        {"bomFormat": "SPDX"},
        {"serialNumber": "1"},
        {"components": [{"type": "library"}]},
        {"components": [{"type": "library", "name": "x", "hashes": [{"alg": "SHA-256", "content": "no"}]}]},
        {"components": [{"type": "library", "name": "x", "licenses": [{"license": {"id": "Beer"}}]}]},
    ],
)
def test_the_schema_would_find_what_is_none(broken: dict[str, Any]) -> None:
    assert not schema().is_valid(here() | broken)


def test_every_reference_is_to_a_component_and_each_is_named_once() -> None:
    bill = here()
    refs = [one["bom-ref"] for one in (bill["metadata"]["component"], *bill["components"])]
    assert len(set(refs)) == len(refs)
    assert {one["ref"] for one in bill["dependencies"]} <= set(refs)
    assert {ref for one in bill["dependencies"] for ref in one["dependsOn"]} <= set(refs)
    assert {ref for one in bill["compositions"] for ref in one["assemblies"]} <= set(refs)


def test_everything_that_a_release_installs_is_in_it_with_licence_and_accepted_hashes() -> None:
    text = "".join((ROOT / "requirements" / name).read_text() for name in ("runtime.txt", "starter-models.txt"))
    asked = re.findall(r"^([\w.-]+)==([^\s;]+)(?! ;)( ;.*)? \\$", text, re.MULTILINE)
    found = named(here())
    for name, version, condition in asked:
        if condition and canonical(name) not in found:
            continue
        one = found[canonical(name)]
        assert one["version"] == version
        assert one["licenses"]
        assert one["hashes"]
        assert facts(one)["locked"] == "true"
        assert facts(one)["files-changed"] == "0", facts(one)
    assert len(asked) > 30
    assert facts(found["pytest"])["locked"] == "false", "what only tests need is not part of a release"


def test_what_comes_with_fastness_is_named_by_digest() -> None:
    models = {one["name"]: one for one in here()["components"] if one["type"] == "machine-learning-model"}
    assert models.keys() == {"smollm2-135m-instruct", "minilm-l6-v2"}
    for one in models.values():
        assert one["version"] == f"sha256:{one['hashes'][0]['content']}"
        assert one["licenses"] == [{"expression": "Apache-2.0"}]


def test_what_is_compiled_into_machine_code_is_not_claimed_to_be_known() -> None:
    (unknown,) = here()["compositions"]
    assert unknown["aggregate"] == "unknown"
    assert any("xllamacpp" in ref for ref in unknown["assemblies"])


def test_the_same_installation_has_the_same_number_at_any_time_and_another_has_another() -> None:
    one = Distribution("a", "1", "MIT", "", "", 0, 0, (), ())
    numbers = [bill_of_materials([one], (), {}, at_s)["serialNumber"] for at_s in (1.0, 2.0)]
    assert numbers[0] == numbers[1]
    assert bill_of_materials([one], (), {("a", "1"): (DIGEST,)}, 1.0)["serialNumber"] != numbers[0]


def test_a_model_that_was_admitted_here_is_in_it() -> None:
    card = ModelCard("ours", ModelKind.CHAT, DIGEST, 12, "Licence of our own", 64, 0)
    bill = bill_of_materials([], [card], {}, AT_S)
    (_, model) = bill["components"]
    assert model["licenses"] == [{"license": {"name": "Licence of our own"}}]
    assert facts(model)["shipped"] == "false"
    assert schema().is_valid(bill)


def test_a_file_that_was_changed_or_removed_is_found(tmp_path: Path) -> None:
    install(tmp_path, "whole", {"whole/one.py": b"1", "whole/core.so": b"2"})
    install(
        tmp_path, "hurt", {"hurt/one.py": b"1", "hurt/two.py": b"2"}, "License: MIT License", "Requires-Dist: Whole>1"
    )
    (tmp_path / "hurt/one.py").write_bytes(b"evil")
    (tmp_path / "hurt/two.py").unlink()
    hurt, whole = installed([str(tmp_path)])
    assert (hurt.name, hurt.changed, hurt.licence, hurt.wants) == (
        "hurt",
        ("hurt/one.py", "hurt/two.py"),
        "MIT",
        ("whole",),
    )
    assert (whole.changed, whole.native, whole.licence) == ((), 1, "")
    bill = bill_of_materials((hurt, whole), (), {}, AT_S)
    assert facts(named(bill)["hurt"])["files-changed"] == "2"
    assert bill["dependencies"][0]["dependsOn"] == ["pkg:pypi/whole@1.0"]
    assert schema().is_valid(bill)


@pytest.mark.parametrize(
    ("fields", "licence"),
    [
        (("License-Expression: MIT OR Apache-2.0",), "MIT OR Apache-2.0"),
        (("License: Apache License, Version 2.0",), "Apache-2.0"),
        (
            ("License: " + "all the text of it " * 20, "Classifier: License :: OSI Approved :: ISC License (ISCL)"),
            "ISC",
        ),
        (("Classifier: License :: OSI Approved :: MIT License",), "MIT"),
        ((), "Apache-2.0"),
    ],
)
def test_a_licence_is_found_where_it_is_said(tmp_path: Path, fields: tuple[str, ...], licence: str) -> None:
    install(tmp_path, "one", {"one-1.0.dist-info/LICENSE": b"\n   Apache License\n  Version 2.0"}, *fields)
    assert installed([str(tmp_path)])[0].licence == licence


def test_of_two_installed_under_one_name_the_one_that_is_imported_counts(tmp_path: Path) -> None:
    install(tmp_path / "first", "one", {"one.py": b"1"}, "License: MIT")
    install(tmp_path / "second", "one", {"one.py": b"2"}, "License: ISC")
    (found,) = installed([str(tmp_path / "first"), str(tmp_path / "second")])
    assert found.licence == "MIT"


def test_a_lock_is_read_as_pip_reads_it() -> None:
    text = (
        f"Some_Thing==1.2 ; sys_platform == 'win32' \\\n    --hash=sha256:{DIGEST} \\\n    --hash=sha256:{'cd' * 32}\n"
    )
    assert read_locks([text]) == {("some-thing", "1.2"): (DIGEST, "cd" * 32)}
    assert read_locks([]) == {}


def test_the_locks_of_a_release_are_those_of_its_extras_and_no_others() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = {f"{name}.txt" for name in project["project"]["optional-dependencies"]}
    locked = {one.name for one in (ROOT / "requirements").glob("*.txt")}
    assert set(SHIPPED) == {"runtime.txt", "starter-models.txt"} | extras & locked
    packed = project["tool"]["setuptools"]["package-data"]["fastness"]
    assert {one for one in packed if "locks" in one} == {f"locks/{name}" for name in SHIPPED}


def test_the_locks_that_are_shipped_are_those_that_installation_used() -> None:
    assert shipped_locks()[("uvloop", metadata.version("uvloop"))]
    assert ("pytest", metadata.version("pytest")) not in shipped_locks()
