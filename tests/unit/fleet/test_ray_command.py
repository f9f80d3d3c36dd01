"""How Ray is run: on declared ports, with token and certificates, whatever the environment says."""

from __future__ import annotations

from pathlib import Path

import pytest

from fastness.fleet.ray.command import COURIER_RUN, RayHost
from fastness.fleet.ray.courier import Courier
from fastness.fleet.ray.ports import PORTS, RayPorts


def host(address: str = "10.0.0.7") -> RayHost:
    return RayHost("leeds-01", address, "10.0.0.1", RayPorts(6379), Path("/c"), Path("/r"), Path("/r/ray"))


def test_every_port_is_one_of_the_row_and_no_two_are_the_same() -> None:
    ports = RayPorts(7000)
    single = [7000, ports.node_manager, ports.object_manager, ports.agent, *ports.unused]
    low, high = ports.workers
    assert ports.all() == tuple(range(7000, 7000 + PORTS))
    assert sorted({*single, *range(low, high + 1)}) == sorted([*single, *range(low, high + 1)])
    assert {*single, *range(low, high + 1)} <= set(ports.all())


@pytest.mark.parametrize(("address", "role"), [("10.0.0.1", "--head"), ("10.0.0.7", "--address=10.0.0.1:6379")])
def test_a_host_begins_or_joins_and_every_listener_has_its_port(address: str, role: str) -> None:
    argv = host(address).argv()
    assert role in argv and ("--head" in argv) == (address == "10.0.0.1")
    given = [one for one in argv if "port=" in one]
    assert {int(one.partition("=")[2]) for one in given} <= set(RayPorts(6379).all())
    assert "--no-monitor" in argv and "--disable-usage-stats" in argv


def test_token_and_tls_are_on_and_usage_statistics_off_whatever_is_set_and_no_setting_of_ours_is_passed_on() -> None:
    ours = {
        "RAY_AUTH_MODE": "disabled", "RAY_USE_TLS": "0", "RAY_USAGE_STATS_ENABLED": "1", "PATH": "/bin",
        "FASTNESS__STORE__URL": "postgresql://secret", "RAY_ADDRESS": "elsewhere",
    }  # fmt: skip
    found = host().environ(ours, "ab" * 32)
    assert (found["RAY_AUTH_MODE"], found["RAY_USE_TLS"], found["RAY_USAGE_STATS_ENABLED"]) == ("token", "1", "0")
    assert found["PATH"] == "/bin" and "RAY_ADDRESS" not in found
    assert [one for one in found if one.startswith("FASTNESS")] == [COURIER_RUN]


def test_an_address_of_version_six_is_written_in_brackets() -> None:
    assert RayHost("a", "fd00::1", "fd00::1", RayPorts(1), Path(), Path(), Path()).gcs == "[fd00::1]:1"


def test_a_courier_exchanges_files_and_survives_that_nobody_lives_there(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv(COURIER_RUN, str(tmp_path))
    courier = Courier()
    assert courier.exchange(b"lost") == b""
    for name in ("in", "out"):
        (tmp_path / "letters" / name).mkdir(parents=True)
    (tmp_path / "letters/out/head").write_bytes(b"report")
    assert courier.exchange(b"word") == b"report"
    assert (tmp_path / "letters/in/head").read_bytes() == b"word"
    assert courier.exchange(b"") == b"report"
    assert (tmp_path / "letters/in/head").read_bytes() == b"word", "no letter is not an empty letter"
