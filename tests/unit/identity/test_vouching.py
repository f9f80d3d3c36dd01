"""Signed envelopes: what is opened is what the sender signed, for us, for this purpose, and for the first time."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster_world import NOW_S, World, claims
from fastness.identity.cluster.certificate import NotTrusted
from fastness.identity.cluster.claims import HostRole
from fastness.identity.cluster.counters import Counter, Counters
from fastness.identity.cluster.membership import Membership
from fastness.identity.cluster.vouching import Vouched, Voucher, open_vouched

NOW_MS = int(NOW_S * 1_000)


class Hosts:
    """A head and a node of one cluster, and a head of another of the same name."""

    def __init__(self, path: Path) -> None:
        self.world = World(path / "ours")
        self.head, self.node = self.world.host("head", HostRole.HEAD), self.world.host()
        self.stranger = World(path / "other").host("head", HostRole.HEAD)

    def orders(self, body: bytes = b"run nothing", by: Membership | None = None, to: str = "bristol-07") -> bytes:
        return Voucher(by or self.head, "orders", NOW_MS).vouch(to, body, NOW_MS)

    def read(self, message: bytes, purpose: str = "orders", heard: Counters | None = None, **more: object) -> Vouched:
        counters = Counters() if heard is None else heard
        return open_vouched(message, self.node, purpose, counters, NOW_S, **more)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Hosts:
    return Hosts(tmp_path_factory.mktemp("hosts"))


@given(body=st.binary(max_size=2_000))
@settings(deadline=None)
def test_what_was_vouched_for_is_read_with_the_claims_of_the_certificate(hosts: Hosts, body: bytes) -> None:
    found = hosts.read(hosts.orders(body))
    assert (found.body, found.claims) == (body, claims("head", HostRole.HEAD))
    assert (found.counter, found.at_ms) == (Counter(NOW_MS, 1), NOW_MS)


@pytest.mark.slow
@given(at=st.integers(0, 1_200), flip=st.integers(1, 255))
@settings(deadline=None, max_examples=300)
def test_an_envelope_with_any_byte_changed_is_refused(hosts: Hosts, at: int, flip: int) -> None:
    message = bytearray(hosts.orders())
    message[at % len(message)] ^= flip
    with pytest.raises(NotTrusted):
        hosts.read(bytes(message))


@given(cut=st.integers(0, 1_200), more=st.binary(max_size=3))
@settings(deadline=None)
def test_an_envelope_that_is_cut_or_longer_is_refused(hosts: Hosts, cut: int, more: bytes) -> None:
    message = hosts.orders()
    other = message[:cut] + more
    if other != message:
        with pytest.raises(NotTrusted):
            hosts.read(other)


def test_an_envelope_of_another_cluster_is_refused(hosts: Hosts) -> None:
    with pytest.raises(NotTrusted, match=r"authority|issuer"):
        hosts.read(hosts.orders(by=hosts.stranger))


def test_an_envelope_for_another_purpose_or_host_is_refused(hosts: Hosts) -> None:
    with pytest.raises(NotTrusted, match="another purpose"):
        hosts.read(hosts.orders(), "report")
    with pytest.raises(NotTrusted, match="another host"):
        hosts.read(hosts.orders(to="leeds-01"))


def test_only_a_host_of_the_right_role_is_heard(hosts: Hosts) -> None:
    with pytest.raises(NotTrusted, match="role node"):
        hosts.read(hosts.orders(by=hosts.node), roles={HostRole.HEAD})
    assert hosts.read(hosts.orders(), roles={HostRole.HEAD}).claims.name == "head"


@pytest.mark.parametrize("made_s", [NOW_S - 31, NOW_S + 31])
def test_an_envelope_that_is_too_old_or_from_the_future_is_refused(hosts: Hosts, made_s: float) -> None:
    message = Voucher(hosts.head, "orders", NOW_MS).vouch("bristol-07", b"", int(made_s * 1_000))
    with pytest.raises(NotTrusted, match="clock"):
        hosts.read(message, age_s_max=30)
    assert hosts.read(message).body == b""


def test_an_envelope_counts_once_and_nothing_older_counts_after_it(hosts: Hosts) -> None:
    voucher, counters = Voucher(hosts.head, "orders", NOW_MS), Counters()
    first, second, third = (voucher.vouch("bristol-07", text, NOW_MS) for text in (b"1", b"2", b"3"))
    assert [hosts.read(one, heard=counters).body for one in (first, third)] == [b"1", b"3"]
    for copy in (first, second, third):
        with pytest.raises(NotTrusted, match="copy, or older"):
            hosts.read(copy, heard=counters)
    later = Voucher(hosts.head, "orders", NOW_MS + 1).vouch("bristol-07", b"4", NOW_MS)
    assert hosts.read(later, heard=counters).body == b"4"


@given(order=st.permutations(range(6)))
@settings(deadline=None)
def test_in_whatever_order_they_come_only_newer_ones_are_heard(hosts: Hosts, order: list[int]) -> None:
    messages = [
        Voucher(hosts.head, "orders", NOW_MS + start).vouch("bristol-07", bytes([start]), NOW_MS) for start in range(6)
    ]
    counters, heard = Counters(), []
    for number in order:
        try:
            heard.append(hosts.read(messages[number], heard=counters).body[0])
        except NotTrusted:
            assert number < max(heard)
    assert heard == sorted(set(heard)) and heard[-1] == 5


def test_a_refused_envelope_does_not_use_its_number_up(hosts: Hosts) -> None:
    counters, message = Counters(), hosts.orders()
    with pytest.raises(NotTrusted):
        hosts.read(message, "report", counters)
    assert hosts.read(message, heard=counters).body


def test_a_copy_is_refused_after_a_restart_too(hosts: Hosts, tmp_path: Path) -> None:
    message, path = hosts.orders(), tmp_path / "heard.json"
    hosts.read(message, heard=Counters(path))
    with pytest.raises(NotTrusted, match="copy"):
        hosts.read(message, heard=Counters(path))
    path.write_text("{")
    with pytest.raises(NotTrusted, match="damaged"):
        Counters(path)


def test_a_revoked_or_ended_sender_is_refused(tmp_path: Path) -> None:
    hosts = Hosts(tmp_path)
    message = hosts.orders()
    with pytest.raises(NotTrusted, match="ended"):
        open_vouched(message, hosts.node, "orders", Counters(), NOW_S + 366 * 86_400)
    hosts.node.take_revoked(hosts.world.revoke(hosts.head.certificate.serial))
    with pytest.raises(NotTrusted, match="revoked"):
        hosts.read(message)


def test_a_body_that_is_too_large_is_not_sent(hosts: Hosts) -> None:
    with pytest.raises(ValueError, match="67108864"):
        hosts.orders(bytes(67_108_865))
