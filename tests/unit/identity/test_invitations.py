"""Invitations and the folder of a host: all of it or nothing, never twice by accident, secrets for the owner alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cluster_world import NOW_S, YEAR_S, World, as_object, claims
from fastness.identity.cluster import folder as files
from fastness.identity.cluster.certificate import NotTrusted
from fastness.identity.cluster.invitation import HeadPlace, install_invitation, read_head, write_invitation
from fastness.identity.cluster.membership import Membership

PLACE = HeadPlace("head", ("10.0.0.1", "fd00::1"), 7443)


def invitation(world: World, name: str = "bristol-07") -> bytes:
    return write_invitation(world.contents(world.issue(claims(name))), PLACE).encode()


def test_an_invitation_makes_a_host_belong(tmp_path: Path) -> None:
    folder = tmp_path / "home/cluster"
    installed = install_invitation(invitation(World(tmp_path / "head")), folder, NOW_S)
    assert installed.claims == claims() == Membership(folder).claims
    assert read_head(folder) == PLACE
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {one.name: one.stat().st_mode & 0o777 for one in folder.iterdir()} == dict.fromkeys(
        ("ca.pem", "node.pem", "node.key", "token", "revoked.pem", "head.json"), 0o600
    )


def test_a_second_invitation_renews_a_host(tmp_path: Path) -> None:
    world, folder = World(tmp_path / "head"), tmp_path / "home/cluster"
    first = install_invitation(invitation(world), folder, NOW_S)
    second = install_invitation(invitation(world), folder, NOW_S)
    assert second.serial != first.serial and Membership(folder).certificate.serial == second.serial


@pytest.mark.parametrize("of", ["another cluster", "another name"])
def test_an_invitation_for_somebody_else_changes_nothing(tmp_path: Path, of: str) -> None:
    world, folder = World(tmp_path / "head"), tmp_path / "home/cluster"
    first = install_invitation(invitation(world), folder, NOW_S)
    other = invitation(World(tmp_path / "other")) if of == "another cluster" else invitation(world, "leeds-01")
    with pytest.raises(NotTrusted, match="Nothing was changed"):
        install_invitation(other, folder, NOW_S)
    assert Membership(folder).certificate.serial == first.serial


def test_an_invitation_that_has_ended_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotTrusted, match="ended"):
        install_invitation(invitation(World(tmp_path / "head")), tmp_path / "home/cluster", NOW_S + YEAR_S)
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize("key", ["kind", "ca.pem", "node.key", "head.json", "more"])
def test_an_invitation_with_a_part_missing_or_more_is_refused(tmp_path: Path, key: str) -> None:
    whole = as_object(invitation(World(tmp_path / "head")).decode())
    changed = {**whole, "more": ""} if key == "more" else {name: one for name, one in whole.items() if name != key}
    with pytest.raises(NotTrusted, match="invitation"):
        install_invitation(json.dumps(changed).encode(), tmp_path / "home/cluster", NOW_S)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b'{"kind": "fastness invitation 1", "kind": 1}'])
def test_what_is_no_invitation_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(NotTrusted, match="invitation"):
        install_invitation(content, tmp_path / "cluster", NOW_S)


def test_a_folder_is_not_made_twice(tmp_path: Path) -> None:
    files.make_folder(tmp_path / "cluster", {"token": b"first"})
    with pytest.raises(NotTrusted, match="Nothing was changed"):
        files.make_folder(tmp_path / "cluster", {"token": b"second"})
    assert files.read_file(tmp_path / "cluster", "token") == b"first"
    assert [one.name for one in tmp_path.iterdir()] == ["cluster"]


def test_a_secret_that_others_may_read_is_not_used(tmp_path: Path) -> None:
    host = World(tmp_path).host()
    (host.folder / files.KEY).chmod(0o640)
    with pytest.raises(NotTrusted, match="chmod 600"):
        Membership(host.folder)


@pytest.mark.parametrize("damage", ["missing", "link", "other key", "no key"])
def test_a_damaged_folder_says_what_is_wrong(tmp_path: Path, damage: str) -> None:
    world = World(tmp_path)
    host, other = world.host(), world.host("leeds-01")
    path = host.folder / files.KEY
    path.unlink()
    if damage == "link":
        path.symlink_to(other.folder / files.KEY)
    elif damage != "missing":
        files.replace_file(
            host.folder, files.KEY, (other.folder / files.KEY).read_bytes() if "other" in damage else b""
        )
    with pytest.raises(NotTrusted, match=r"node\.key|key in"):
        Membership(host.folder)
