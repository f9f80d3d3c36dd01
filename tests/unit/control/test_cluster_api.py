"""The cluster over the management API: made once, hosts certified as the profile knows them, revoked, all recorded."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from fastness.config import ClusterSettings, NodeSettings
from fastness.control.api import build_app
from fastness.control.cluster import Cluster
from fastness.control.cluster_api import ROUTES, ClusterApi, HostView
from fastness.control.routes import bound
from fastness.identity.cluster.certificate import NotTrusted
from fastness.identity.cluster.claims import HostRole
from fastness.identity.cluster.invitation import install_invitation, read_head
from fastness.identity.cluster.membership import Membership

PAGE = (Path(__file__).parents[3] / "docs/reference/cluster-api.md").read_text()
HOST = {"name": "bristol-07", "addresses": ["10.0.0.7"], "jurisdiction": "GB", "labels": "rack=b7, spot"}


@pytest.fixture
def site(world):
    world.cluster = Cluster(world.root / "cluster", ClusterSettings(), world.ledger, world.clock, world.entropy)
    api = ClusterApi(world.cluster, world.policies, NodeSettings(pool="head-pool"))
    world.app = build_app(replace(world.deps, extra_routes=bound(ROUTES, api)))
    return world


@pytest.fixture
def head(site):
    site.post("/cluster", {"name": "head", "addresses": ["10.0.0.1"]})
    return Membership(site.root / "cluster")


def installed(site, answer, name="bristol-07"):
    folder = site.root / name / "cluster"
    install_invitation(answer["invitation"].encode(), folder, site.clock())
    return Membership(folder)


def test_a_new_cluster_has_a_head_that_is_as_the_settings_say(site, head):
    assert (head.claims.name, head.claims.role, head.claims.pool) == ("head", HostRole.HEAD, "head-pool")
    assert re.fullmatch(b"[0-9a-f]{64}", (head.folder / "token").read_bytes())
    (event,) = site.events()
    assert event[0] == "certificate.issued"
    assert event[1]["host"] == "head" and int(event[1]["serial"], 16) == head.certificate.serial


def test_a_cluster_is_not_made_twice(site, head):
    before = (head.folder / "ca.pem").read_bytes()
    refused = site.ask("POST", "/cluster", json={"name": "other", "addresses": ["10.0.0.2"]})
    assert refused.status_code == 409 and "belongs to a cluster already" in refused.json()["detail"]
    assert (head.folder / "ca.pem").read_bytes() == before
    assert len(site.events()) == 1


def test_an_invited_host_and_the_head_believe_each_other(site, head):
    answer = site.post("/cluster/hosts", HOST)
    node = installed(site, answer)
    assert node.claims.labels == (("rack", "b7"), ("spot", ""))
    assert head.check(node.certificate_der, site.clock()).claims == node.claims
    assert node.check(head.certificate_der, site.clock()).claims == head.claims
    assert (read_head(node.folder).name, read_head(node.folder).addresses) == ("head", ("10.0.0.1",))


def test_a_key_is_in_the_invitation_and_nowhere_else(site, head):
    answer = site.post("/cluster/hosts", HOST)
    key = installed(site, answer).folder.joinpath("node.key").read_text().splitlines()[1]
    kept = [one.read_text() for one in head.folder.iterdir()]
    assert all(key not in text for text in (*kept, str(site.events()), str(site.log.records), str(answer["host"])))


def test_a_host_is_renewed_as_it_was(site, head):
    first = installed(site, site.post("/cluster/hosts", HOST))
    site.clock.now_s += 1_000
    second = site.post("/cluster/hosts", {"name": "bristol-07", "ceiling": "OFFICIAL"})
    renewed = installed(site, second)
    assert renewed.claims == first.claims and renewed.certificate.serial != first.certificate.serial
    assert [one["name"] for one in site.get("/cluster/hosts")["hosts"]] == ["head", "bristol-07", "bristol-07"]


def test_the_head_is_renewed_as_a_head(site, head):
    answer = site.post("/cluster/hosts", {"name": "head"})
    install_invitation(answer["invitation"].encode(), head.folder, site.clock())
    renewed = Membership(head.folder)
    assert renewed.claims == head.claims and renewed.certificate.serial != head.certificate.serial


def test_a_revoked_host_is_believed_no_more(site, head):
    node = installed(site, site.post("/cluster/hosts", HOST))
    gone = site.post("/cluster/hosts/bristol-07/revoke")
    assert [one["serial"] for one in gone["hosts"]] == [f"{node.certificate.serial:x}"]
    assert head.refresh()
    with pytest.raises(NotTrusted, match="revoked"):
        head.check(node.certificate_der, site.clock())
    assert site.events()[-1][0] == "certificate.revoked"
    assert site.ask("POST", "/cluster/hosts/bristol-07/revoke", json={}).status_code == 404
    back = installed(site, site.post("/cluster/hosts", {"name": "bristol-07"}), "anew")
    assert head.check(back.certificate_der, site.clock())


def test_the_head_cannot_be_revoked(site, head):
    refused = site.ask("POST", "/cluster/hosts/head/revoke", json={})
    assert refused.status_code == 409 and "is the head" in refused.json()["detail"]


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"name": "Bristol"}, "invalid_value"),
        ({"addresses": ["bristol.example"]}, "invalid_value"),
        ({"addresses": []}, "invalid_value"),
        ({"jurisdiction": "XX"}, "invalid_value"),
        ({"operator": "nobody"}, "invalid_value"),
        ({"labels": "a b"}, "invalid_value"),
        ({"ceiling": "VERY SECRET"}, "unknown_marking"),
        ({"key": "mine"}, "unknown_field"),
    ],
)
def test_what_the_profile_does_not_know_is_not_certified(site, head, changed, code):
    refused = site.ask("POST", "/cluster/hosts", json=HOST | changed)
    assert refused.json()["code"] == code, refused.text
    assert len(site.events()) == 1


def test_nobody_is_invited_without_an_authority(site):
    refused = site.ask("POST", "/cluster/hosts", json=HOST)
    assert refused.status_code == 409 and "fastness init cluster" in refused.json()["hint"]


def test_nobody_is_certified_by_an_authority_that_has_ended(site, head):
    site.clock.now_s += 11 * 365 * 86_400
    refused = site.ask("POST", "/cluster/hosts", json=HOST)
    assert refused.status_code == 409 and "ended" in refused.json()["detail"]


def test_the_page_names_every_route_and_field():
    assert set(re.findall(r"^### `(\w+) (\S+)`$", PAGE, re.MULTILINE)) == {
        (method, path) for method, path, *_ in ROUTES
    }
    assert all(f"`{field}`" in PAGE for field in HostView.__struct_fields__)
