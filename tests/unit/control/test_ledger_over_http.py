"""Logs over HTTP: what is fetched is enough to check the log, by nothing but the published layout."""

import base64
from hashlib import sha256

import pytest

from fastness.config import LedgerSettings
from fastness.core.event import Event, EventType
from fastness.ledger.file import FileLedger
from fastness.ledger.log_key import LogKey
from fastness.ledger.notary import Signing

COUNT = 300


@pytest.fixture
def ledger(world):
    """A signed log of 300 entries, and one that is not signed."""

    async def fill():
        for log, signing in (("gateway-0", Signing(LogKey(bytes(32), bytes(32)), "health.example")), ("node", None)):
            opened = FileLedger.open(
                world.deps.ledger_directory / log, log, LedgerSettings(), lambda: 1, signing=signing
            )
            for number in range(COUNT):
                opened.append(Event(EventType.BOOT, 1, {"pid": number}))
            await opened.close()

    world.run(fill())
    return world


def fetched(world, path):
    response = world.ask("GET", f"/ledger/logs/gateway-0/{path}")
    assert response.status_code == 200, response.text
    return response


def test_a_log_is_checked_from_what_is_served_alone(ledger):
    assert ledger.get("/ledger/logs") == {"logs": ["gateway-0"]}
    checkpoint = fetched(ledger, "checkpoint")
    assert checkpoint.headers["content-type"] == "text/plain; charset=utf-8"
    origin, size, root = checkpoint.text.split("\n")[:3]
    assert (origin, size) == ("health.example/gateway-0", "300")

    entries, leaves = [], b""
    for suffix, width in (("000", 256), ("001.p/44", 44)):
        bundle = fetched(ledger, f"tile/entries/{suffix}").content
        for _ in range(width):
            length = int.from_bytes(bundle[:2], "big")
            entries.append(bundle[2 : 2 + length])
            bundle = bundle[2 + length :]
        assert bundle == b""
        leaves += fetched(ledger, f"tile/0/{suffix}").content
    assert [sha256(b"\0" + entry).digest() for entry in entries] == [leaves[at : at + 32] for at in range(0, 9_600, 32)]

    def over(hashes):
        if len(hashes) == 1:
            return hashes[0]
        half = 1 << (len(hashes) - 1).bit_length() - 1
        return sha256(b"\1" + over(hashes[:half]) + over(hashes[half:])).digest()

    hashes = [leaves[at : at + 32] for at in range(0, 9_600, 32)]
    assert base64.b64encode(over(hashes)).decode() == root
    assert fetched(ledger, "tile/1/000.p/1").content == over(hashes[:256])


def test_what_never_changes_may_be_kept_and_a_checkpoint_may_not(ledger):
    assert "immutable" in fetched(ledger, "tile/0/000").headers["cache-control"]
    assert fetched(ledger, "checkpoint").headers["cache-control"] == "private, max-age=1"


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("gateway-0/tile/0/001", "is not of a log of 300 entries"),
        ("gateway-0/tile/0/001.p/45", "is not of a log of 300 entries"),
        ("gateway-0/tile/entries/002", "is not of a log of 300 entries"),
        ("gateway-0/tile/0/1", "is not the path of a tile"),
        ("gateway-0/tile/0/..%2f..%2fcheckpoint", "is not the path of a tile"),
        ("node/checkpoint", "There is no signed log 'node'; there are gateway-0."),
        ("..%2fsecrets/checkpoint", "There is no"),
    ],
)
def test_what_is_not_there_is_told(ledger, path, said):
    response = ledger.ask("GET", f"/ledger/logs/{path}")

    assert response.status_code == 404
    assert said in response.json()["detail"]
