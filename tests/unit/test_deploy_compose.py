"""The container: nothing privileged, nothing fetched while it is built, and what the seal needs is permitted.

No container engine is started here: the files are read, and held against the tables of the seal.
"""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import yaml

from fastness.config import EngineSettings, GatewaySettings, load
from fastness.perimeter.namespaces import CLONE_NEWIPC, CLONE_NEWNET, CLONE_NEWUSER, CLONE_NEWUTS
from fastness.perimeter.syscalls import allowed_numbers, conditional_numbers

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "deploy/compose"
(SERVICE,) = yaml.safe_load((COMPOSE / "compose.yaml").read_text())["services"].values()
PROFILE: dict[str, Any] = json.loads((COMPOSE / "seccomp.json").read_text())
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
SEALING = {"unshare", "prctl", "seccomp", "landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self"}
OUR_OWN = {
    "memfd_create",
    "io_setup",
    "io_submit",
    "io_getevents",
    "vfork",
    "pidfd_open",
    "pidfd_send_signal",
    "fdatasync",
}
OF_THE_SEAL = CLONE_NEWUSER | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS
EVERY_NAMESPACE = 0x7E02_0000


def instructions() -> list[tuple[str, str]]:
    text = re.sub(r"^#.*\n", "", (COMPOSE / "Containerfile").read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return [(line.split()[0], line.partition(" ")[2]) for line in text.splitlines() if line]


def test_the_container_has_no_privilege_and_no_way_to_the_engine_that_runs_it() -> None:
    text = (COMPOSE / "compose.yaml").read_text()
    assert not {"privileged", "cap_add", "devices", "pid", "ipc", "network_mode", "userns_mode"} & SERVICE.keys()
    assert ".sock" not in text
    assert SERVICE["cap_drop"] == ["ALL"]
    assert SERVICE["read_only"] is True
    assert "no-new-privileges:true" in SERVICE["security_opt"]
    assert not any("unconfined" in option for option in SERVICE["security_opt"])
    assert SERVICE["user"].split(":")[0] not in {"", "0", "root"}
    assert all(one.partition(":")[0] == "state" for one in SERVICE["volumes"]), "nothing of the host's files"


def test_it_can_be_reached_from_its_host_only() -> None:
    assert SERVICE["ports"] == [f"127.0.0.1:{GatewaySettings().port}:{GatewaySettings().port}"]


def test_answers_may_finish_before_it_is_ended() -> None:
    assert float(SERVICE["stop_grace_period"].rstrip("s")) > (
        GatewaySettings().drain_timeout_s + EngineSettings().stop_timeout_s + 5
    )


def test_there_is_a_tmp_to_write_to_or_the_proof_cannot_tell_who_refused() -> None:
    assert [one.partition(":")[0] for one in SERVICE["tmpfs"]] == ["/tmp"]


def test_the_image_is_built_with_no_network_and_of_hashed_files_only() -> None:
    assert SERVICE["build"]["network"] == "none"
    installs = [
        part for kind, text in instructions() if kind == "RUN" for part in text.split("&&") if "install " in part
    ]
    pip = [part for part in installs if "/pip install" in part]
    assert len(pip) == 4
    assert all("--no-index" in part for part in pip)
    assert [("--require-hashes" in part) for part in pip] == [True, True, True, False], "the last is our own wheel"
    (extras,) = [part for part in pip if "$extra" in part]
    for name in extras.partition(" in ")[2].partition(";")[0].split():
        assert name in PROJECT["project"]["optional-dependencies"]
    assert not re.search(r"https?://|apt-get|curl|wget", " ".join(text for _, text in instructions()))


def test_the_image_takes_nothing_along_but_what_was_installed() -> None:
    copies = [text for kind, text in instructions() if kind == "COPY"]
    assert copies == ["wheelhouse /wheelhouse", "--from=build /opt/fastness /opt/fastness"]
    assert {kind for kind, _ in instructions()} <= {
        "ARG",
        "FROM",
        "COPY",
        "ENV",
        "RUN",
        "USER",
        "EXPOSE",
        "STOPSIGNAL",
        "CMD",
    }


def test_the_image_has_its_bill_of_materials_made_of_what_was_installed() -> None:
    (made,) = [text for kind, text in instructions() if kind == "RUN" and "/opt/fastness" in text and "pip" in text]
    assert made.split("&&")[-1].split() == [
        "/opt/fastness/bin/fastness", "sbom", "--output", "/opt/fastness/sbom.cdx.json",
    ]  # fmt: skip


def test_the_image_says_what_the_compose_file_says() -> None:
    told = dict(instructions())
    assert told["USER"] == SERVICE["user"]
    assert re.search(r"-o 10001 -g 10001 -m 0700 /var/lib/fastness", " ".join(text for _, text in instructions()))
    assert "state:/var/lib/fastness" in SERVICE["volumes"]


def test_the_settings_of_the_image_are_settings(tmp_path: Path) -> None:
    (given,) = [text for kind, text in instructions() if kind == "ENV" and "FASTNESS_HOME" in text]
    environ = dict(pair.split("=", 1) for pair in given.split())
    settings, _ = load(environ)
    assert str(settings.home) == "/var/lib/fastness"
    assert settings.gateway.host == "0.0.0.0"


def test_the_first_admin_key_goes_into_no_log() -> None:
    (command,) = [text for kind, text in instructions() if kind == "CMD"]
    assert json.loads(command) == ["/bin/sh", "-c", "exec fastness up --json > /dev/null"]
    assert not {"command", "entrypoint"} & SERVICE.keys()


def refused(arguments: bool) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for rule in PROFILE["syscalls"]:
        assert rule["action"] == "SCMP_ACT_ERRNO"
        if bool(rule.get("args")) is arguments:
            for name in rule["names"]:
                found.setdefault(name, []).append(rule)
    return found


def test_the_profile_refuses_no_call_that_we_or_an_engine_make() -> None:
    needed = SEALING | OUR_OWN | set(allowed_numbers("x86_64")) | set(conditional_numbers("x86_64"))
    assert needed & refused(arguments=False).keys() == set()


def test_the_profile_refuses_mounts_tracing_modules_keys_and_rings() -> None:
    assert refused(arguments=False).keys() >= {
        "mount", "move_mount", "pivot_root", "setns", "ptrace", "process_vm_readv", "pidfd_getfd", "bpf", "keyctl",
        "init_module", "finit_module", "kexec_load", "io_uring_setup", "userfaultfd",
        "perf_event_open", "open_by_handle_at",
    }  # fmt: skip


def test_a_process_may_have_the_namespaces_of_the_seal_and_no_others() -> None:
    masks = {"unshare": 0, "clone": 0}
    for name, rules in refused(arguments=True).items():
        for rule in rules:
            (test,) = rule["args"]
            assert (test["index"], test["op"], test["value"]) == (0, "SCMP_CMP_MASKED_EQ", test["valueTwo"])
            masks[name] |= test["value"]
    assert masks["unshare"] & OF_THE_SEAL == 0
    assert masks["unshare"] & EVERY_NAMESPACE == EVERY_NAMESPACE & ~OF_THE_SEAL
    assert masks["clone"] == EVERY_NAMESPACE
    (clone3,) = refused(arguments=False)["clone3"]
    assert clone3["errnoRet"] == 38, "ENOSYS, so that programs fall back to clone, whose flags a filter can see"


def test_calls_of_another_architecture_are_refused_and_not_the_end_of_a_process() -> None:
    """A profile that does not list x32 ends who calls by it, and the proof's probe of that has no answer."""
    known = {one["architecture"]: set(one["subArchitectures"]) for one in PROFILE["archMap"]}
    assert known["SCMP_ARCH_X86_64"] >= {"SCMP_ARCH_X86", "SCMP_ARCH_X32"}
    assert "SCMP_ARCH_AARCH64" in known


def test_a_wheelhouse_is_never_committed() -> None:
    assert "deploy/compose/wheelhouse/" in (ROOT / ".gitignore").read_text().splitlines()
