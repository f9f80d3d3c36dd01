"""What a captured packet is taken for: inside only when it surely is."""

from __future__ import annotations

import ipaddress
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastness.perimeter.capture import OUTSIDE_MAX, Capture, Counts, Packet, read_packet

IP, IPV6 = 0x0800, 0x86DD
TCP, UDP, ICMP = 6, 17, 1


def ip4(destination: str, protocol: int = TCP, port: int = 443, fragment: int = 0) -> bytes:
    places = ipaddress.ip_address("127.0.0.1").packed + ipaddress.ip_address(destination).packed
    return struct.pack("!BBHHHBBH", 0x45, 0, 60, 1, fragment, 64, protocol, 0) + places + struct.pack("!HH", 999, port)


def ip6(destination: str, protocol: int = UDP, port: int = 53) -> bytes:
    places = ipaddress.ip_address("::1").packed + ipaddress.ip_address(destination).packed
    return struct.pack("!IHBB", 0x6000_0000, 20, protocol, 64) + places + struct.pack("!HH", 999, port)


@pytest.mark.parametrize("destination", ["127.0.0.1", "127.255.0.9"])
def test_what_goes_to_this_machine_is_inside(destination: str) -> None:
    assert read_packet(IP, ip4(destination)) == Packet("tcp", "127.0.0.1", destination, 443, inside=True)
    assert read_packet(IPV6, ip6("::1")) == Packet("udp", "::1", "::1", 53, inside=True)


@pytest.mark.parametrize("destination", ["192.0.2.1", "10.0.0.1", "0.0.0.0", "224.0.0.1", "255.255.255.255"])
def test_what_goes_elsewhere_over_ipv4_is_outside(destination: str) -> None:
    assert read_packet(IP, ip4(destination, UDP, 53)) == Packet("udp", "127.0.0.1", destination, 53, inside=False)


@pytest.mark.parametrize("destination", ["2001:db8::1", "ff02::1", "fe80::1", "::", "::ffff:7f00:1"])
def test_what_goes_elsewhere_over_ipv6_is_outside(destination: str) -> None:
    assert not read_packet(IPV6, ip6(destination)).inside


def test_a_packet_without_ports_has_none() -> None:
    assert read_packet(IP, ip4("192.0.2.1", ICMP)).port == 0
    assert read_packet(IP, ip4("192.0.2.1", fragment=7)).port == 0
    assert read_packet(IP, ip4("192.0.2.1", 99)).protocol == "protocol 99"


def test_what_is_no_internet_packet_or_cannot_be_read_is_outside() -> None:
    assert read_packet(0x0806, bytes(28)) == Packet("ethertype 0x0806", "?", "?", 0, inside=False)
    assert read_packet(IP, b"") == Packet("unreadable", "?", "?", 0, inside=False)
    assert read_packet(IP, ip4("127.0.0.1")[:21]).inside is False


@given(ethertype=st.sampled_from([IP, IPV6, 0x0806, 0]), head=st.binary(max_size=128))
def test_any_bytes_are_read_and_never_taken_for_inside_without_a_loopback_address(ethertype: int, head: bytes) -> None:
    packet = read_packet(ethertype, head)
    if packet.inside:
        assert ipaddress.ip_address(packet.destination).is_loopback


def test_of_many_different_packets_a_bounded_number_is_listed_and_all_are_counted() -> None:
    capture = Capture.__new__(Capture)
    capture.counts = Counts()
    for number in range(OUTSIDE_MAX + 50):
        for _ in range(2):
            capture._count("eth0", Packet("tcp", "127.0.0.1", "192.0.2.1", number + 1, inside=False))
    assert len(capture.counts.outside) == OUTSIDE_MAX
    assert capture.counts.outside_total == capture.counts.by_interface["eth0"] == 2 * (OUTSIDE_MAX + 50)
