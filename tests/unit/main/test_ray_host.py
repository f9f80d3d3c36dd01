"""How a host takes part in Ray: where it is, and what is said when something is missing."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import pytest

from cluster_world import World
from fastness.config import ConfigError, RaySettings, Settings
from fastness.identity.cluster.claims import HostRole
from fastness.main.host import run_node
from fastness.main.outside import RAY_PATH_BYTES_MAX, ray_directory, ray_host


@pytest.fixture
def head(tmp_path: Path) -> Settings:
    World(tmp_path).host("head", HostRole.HEAD, addresses=("10.0.0.1", "10.1.0.1"))
    return Settings(home=tmp_path / "head", ray=RaySettings(address="10.1.0.1"))


def test_the_head_is_where_it_was_told_to_be_if_it_is_certified_for_that(head: Settings) -> None:
    found = ray_host(head)
    assert found.is_head and (found.name, found.address, found.gcs) == ("head", "10.1.0.1", "10.1.0.1:6379")
    with pytest.raises(ConfigError, match=r"ray\.address is 10\.9\.9\.9; this host's certificate has 10\.0\.0\.1"):
        ray_host(replace(head, ray=RaySettings(address="10.9.9.9")))


def test_a_node_finds_the_head_by_its_invitation_or_by_what_it_is_told(tmp_path: Path) -> None:
    World(tmp_path).host("leeds-01")
    settings = Settings(home=tmp_path / "leeds-01")
    found = ray_host(settings)
    assert not found.is_head and (found.address, found.head) == ("10.0.0.7", "10.0.0.1")
    assert ray_host(replace(settings, ray=RaySettings(address="10.1.0.1"))).head == "10.1.0.1"


def test_a_host_of_no_cluster_is_told_how_to_belong(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="fastness init cluster"):
        ray_host(Settings(home=tmp_path))


def test_the_head_does_not_join_itself(head: Settings) -> None:
    with pytest.raises(ConfigError, match=r"head is the head of its cluster.*fastness up --ray 10\.0\.0\.1"):
        run_node(head, None, False, lambda _joined: None)  # type: ignore[arg-type]


def test_where_ray_is_missing_the_extra_is_named(head: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(ConfigError, match=r"requirements/ray\.txt, or fastness\[ray\]"):
        ray_host(head)


@pytest.mark.parametrize("run", ["/run/fastness", "/var/lib/fastness/of/a/department/with/a/long/name/run"])
def test_rays_sockets_have_paths_that_are_short_enough_below_a_directory_of_their_own(run: str) -> None:
    found = ray_directory(Path(run))
    assert len(bytes(found)) <= RAY_PATH_BYTES_MAX
    assert found.parent not in (Path("/tmp"), Path("/"))
