"""Which addresses may be spoken to, to the letter."""

from __future__ import annotations

import pytest

from fastness.perimeter.addresses import ADDRESSES_MAX, Address, parse_address, parse_addresses, reaches_inward
from fastness.perimeter.broker import Refused, connect, permitted

LOGIN = Address("login.example", 443)


def test_nothing_configured_is_nothing_permitted() -> None:
    assert parse_addresses("") == parse_addresses("  ") == ()
    with pytest.raises(Refused, match=r"not among perimeter\.addresses"):
        permitted("login.example:443", ())


def test_names_and_addresses_are_read_in_one_spelling() -> None:
    assert parse_addresses("Login.Example:443 10.0.0.7:8443 [2001:DB8:0::1]:443 login.example:443") == (
        LOGIN,
        Address("10.0.0.7", 8443),
        Address("2001:db8::1", 443),
    )
    assert [str(one) for one in parse_addresses("[::1]:80 a:1")] == ["[::1]:80", "a:1"]
    assert [one.is_name for one in parse_addresses("a:1 10.0.0.1:1 [::1]:1")] == [True, False, False]


@pytest.mark.parametrize(
    "word",
    [
        *("login.example", "login.example:", ":443", "login.example:0", "login.example:65536", "a/b:1", "*:443"),
        *("https://login.example:443", "a b:1", "user@login.example:443", "-a:1", "a..b:1", "login.example:443\n"),
        *("2001:db8::1:443", "[10.0.0.1]:443", "[login]:443", "idp\u0131.example:443"),
        *("127.1:443", "0x7f.1:443", "2130706433:443", "1.2.3.4.5:443"),
    ],
)
def test_what_is_not_host_and_port_is_refused(word: str) -> None:
    with pytest.raises(ValueError, match="is not host:port"):
        parse_address(word)


def test_there_is_a_bound_on_addresses() -> None:
    with pytest.raises(ValueError, match=str(ADDRESSES_MAX)):
        parse_addresses(" ".join(f"host-{number}:443" for number in range(ADDRESSES_MAX + 1)))


@pytest.mark.parametrize("asked", ["login.example:444", "evil.example:443", "login.example.:443", "login.example:4 3"])
def test_what_is_not_configured_to_the_letter_is_refused(asked: str) -> None:
    with pytest.raises(Refused):
        permitted(asked, (LOGIN,))
    assert permitted("LOGIN.example:443", (LOGIN,)) == LOGIN


@pytest.mark.parametrize("inward", ["127.0.0.1", "127.9.9.9", "::1", "169.254.169.254", "fe80::1%eth0", "0.0.0.0"])
def test_a_name_that_leads_to_this_machine_or_link_is_not_followed(
    inward: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert reaches_inward("login.example", inward)
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: [(2, 1, 6, "", (inward, 443))])
    with pytest.raises(Refused, match="this machine or link"):
        connect(LOGIN)


def test_what_was_written_as_an_address_or_as_localhost_may_be_this_machine() -> None:
    assert not reaches_inward("localhost", "127.0.0.1")
    assert not reaches_inward("127.0.0.1", "127.0.0.1")
    assert not reaches_inward("login.example", "192.0.2.7")
    assert reaches_inward("login.example", "::ffff:127.0.0.1")
