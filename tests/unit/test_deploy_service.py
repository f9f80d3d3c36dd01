"""The unit for systemd takes away what Fastness does not need, and nothing that the seal of an engine needs."""

from __future__ import annotations

import shutil
import subprocess
from collections import defaultdict
from pathlib import Path

import pytest

from fastness.cli.outcome import ExitCode
from fastness.config import EngineSettings, GatewaySettings
from fastness.perimeter.namespaces import CLONE_NEWIPC, CLONE_NEWNET, CLONE_NEWUSER, CLONE_NEWUTS

UNIT = Path(__file__).parents[2] / "deploy/systemd/fastness.service"
KNOWN = {
    "Unit": "Description After StartLimitIntervalSec StartLimitBurst",
    "Service": """
        Type User Group Environment StateDirectory StateDirectoryMode UMask ExecStart StandardOutput StandardError
        Restart RestartSec RestartPreventExitStatus KillMode TimeoutStopSec LimitNOFILE TasksMax ProtectSystem
        ProtectHome PrivateTmp
        PrivateDevices ProtectProc ProtectClock ProtectControlGroups ProtectHostname ProtectKernelLogs
        ProtectKernelModules ProtectKernelTunables RemoveIPC KeyringMode NoNewPrivileges CapabilityBoundingSet
        AmbientCapabilities RestrictSUIDSGID MemoryDenyWriteExecute RestrictRealtime LockPersonality
        RestrictNamespaces RestrictAddressFamilies SystemCallFilter SystemCallErrorNumber IPAddressDeny IPAddressAllow
    """,
    "Install": "WantedBy",
}
"""Keys of systemd.unit(5), systemd.service(5), systemd.exec(5), systemd.kill(5), systemd.resource-control(5) in use."""
NAMESPACES = {"user": CLONE_NEWUSER, "net": CLONE_NEWNET, "ipc": CLONE_NEWIPC, "uts": CLONE_NEWUTS}
EXPOSURE_MAX = 2.5
"""Of 10, as `systemd-analyze security` counts; what is left are namespaces, TCP and /proc, which are needed."""


def sections() -> dict[str, dict[str, list[str]]]:
    found: dict[str, dict[str, list[str]]] = {}
    for line in UNIT.read_text().splitlines():
        if line.startswith("["):
            section = found.setdefault(line.strip("[]"), defaultdict(list))
        elif line and not line.startswith("#"):
            key, equals, value = line.partition("=")
            assert equals, line
            section[key].append(value)
    return found


SERVICE = {key: values[0] for key, values in sections()["Service"].items()}


def test_every_key_is_one_that_systemd_documents_and_stands_once() -> None:
    for section, keys in sections().items():
        assert keys.keys() <= set(KNOWN[section].split())
        assert [key for key, values in keys.items() if len(values) > 1] == []


def test_the_service_is_a_user_of_its_own_without_any_privilege() -> None:
    assert SERVICE["User"] not in {"root", "nobody"}
    assert SERVICE["CapabilityBoundingSet"] == SERVICE["AmbientCapabilities"] == ""
    taken = {key for key, value in SERVICE.items() if value == "yes"}
    assert taken >= {"NoNewPrivileges", "PrivateDevices", "PrivateTmp", "ProtectHome", "RestrictSUIDSGID"}
    assert SERVICE["ProtectSystem"] == "strict"


def test_the_namespaces_of_the_seal_are_permitted_and_no_others() -> None:
    assert set(SERVICE["RestrictNamespaces"].split()) == set(NAMESPACES)


def test_the_calls_of_the_seal_are_permitted_by_name() -> None:
    """systemd 252 has Landlock's calls in no group: with @system-service alone no engine is ever started."""
    calls = SERVICE["SystemCallFilter"].split()
    assert calls[0] == "@system-service"
    assert set(calls[1:]) == {"seccomp"} | {
        f"landlock_{name}" for name in ("create_ruleset", "add_rule", "restrict_self")
    }
    assert SERVICE["SystemCallErrorNumber"] == "EPERM", "a process that is ended instead cannot say what it lacked"


def test_what_would_break_the_proof_of_the_seal_is_left_out_and_said() -> None:
    text = UNIT.read_text()
    for line in ("SystemCallArchitectures=native", "ProtectProc=invisible", "LimitCORE=0", "ProcSubset=pid"):
        assert f"#   {line} " in text
        assert f"\n{line}" not in text
    assert "SystemCallArchitectures" not in SERVICE
    assert "LimitCORE" not in SERVICE


def test_answers_may_finish_before_anything_is_ended() -> None:
    assert SERVICE["KillMode"] == "mixed", "else engines are told to end together with the supervisor"
    assert float(SERVICE["TimeoutStopSec"]) > GatewaySettings().drain_timeout_s + EngineSettings().stop_timeout_s + 5


def test_every_connection_that_settings_allow_has_a_descriptor() -> None:
    assert int(SERVICE["LimitNOFILE"]) >= 2 * GatewaySettings().connections_max


def test_what_does_not_get_better_by_starting_again_is_not_started_again() -> None:
    codes = {int(code) for code in SERVICE["RestartPreventExitStatus"].split()}
    assert codes == {ExitCode.USAGE, ExitCode.REFUSED}


def test_the_first_admin_key_goes_into_no_journal() -> None:
    assert SERVICE["ExecStart"].endswith("fastness up --json")
    assert SERVICE["StandardOutput"] == "null"
    assert SERVICE["StandardError"] == "journal", "unless it is said, it goes where standard output goes"


def analyse(*words: str) -> str:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is not installed: apt-get install systemd")
    done = subprocess.run([program, *words, str(UNIT)], capture_output=True, text=True, timeout=60)
    return done.stdout + done.stderr


def test_systemd_itself_has_nothing_to_say_but_that_it_is_not_installed() -> None:
    said = [line for line in analyse("verify").splitlines() if "fastness" in line]
    assert [line for line in said if "/opt/fastness/bin/fastness is not executable" not in line] == []


def test_systemd_counts_little_that_it_is_exposed_to() -> None:
    told = analyse("security", "--offline=true")
    if "Overall exposure" not in told:
        pytest.skip("this systemd-analyze cannot look at a file: 250 or later is needed")
    assert float(told.partition("fastness.service: ")[2].split()[0]) <= EXPOSURE_MAX, told
