"""`fastness init cluster` and `fastness node`: the files that they make, and what they say."""

import time

from fastness.identity.cluster.invitation import install_invitation
from fastness.identity.cluster.membership import Membership


def test_a_cluster_is_made_and_a_host_is_invited(fastness, tmp_path):
    made = fastness("init", "cluster", "--name", "head", "--address", "10.0.0.1")
    assert made.exit_code == 0 and "head is the head of a new cluster" in made.stdout
    assert "ca.key" in made.stderr
    file = tmp_path / "bristol-07.invitation"
    said = fastness("node", "invite", "bristol-07", "--address", "10.0.0.7", "--label", "rack=b7", "--out", file)
    assert said.exit_code == 0 and "fastness node join bristol-07.invitation" in said.stderr
    assert file.stat().st_mode & 0o777 == 0o600
    install_invitation(file.read_bytes(), tmp_path / "node/cluster", time.time())
    assert Membership(tmp_path / "node/cluster").claims.labels == (("rack", "b7"),)
    assert "PRIVATE" not in said.stdout + said.stderr


def test_the_hosts_are_listed_and_revoked(fastness, tmp_path):
    assert "No cluster here yet" in fastness("node").stderr
    fastness.ok("init", "cluster", "--address", "10.0.0.1")
    fastness.ok("node", "invite", "leeds-01", "--address", "10.0.0.9", "--out", tmp_path / "leeds")
    assert "leeds-01" in fastness.ok("node", "list")
    assert "1 certificates of leeds-01 are revoked" in fastness.ok("node", "revoke", "leeds-01", "--yes")
    (revoked,) = [one for one in fastness.document("node")["hosts"] if one["name"] == "leeds-01"]
    assert revoked["revoked_s"] is not None
    assert "revoked" in fastness.ok("node", "list")


def test_nothing_is_replaced(fastness, tmp_path):
    fastness.ok("init", "cluster", "--address", "10.0.0.1")
    again = fastness("init", "cluster", "--address", "10.0.0.1")
    assert again.exit_code == 1 and "belongs to a cluster already" in again.stderr
    (tmp_path / "there").write_text("mine")
    kept = fastness("node", "invite", "leeds-01", "--address", "10.0.0.9", "--out", tmp_path / "there")
    assert kept.exit_code == 2 and (tmp_path / "there").read_text() == "mine"
    assert [one["name"] for one in fastness.document("node")["hosts"]] == ["local"]
