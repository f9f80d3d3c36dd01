"""`fastness retention` and `fastness evidence`, on an installation that does not run."""

from __future__ import annotations

import asyncio
import json
import time

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from fastness.core.retention import SealingSnapshot
from fastness.sealed.port import Kept
from fastness.sealed.writer import Sealer
from fastness.store.snapshot_file import SnapshotReader

BODY = b'{"user":"case-7","messages":[{"role":"user","content":"plainly-the-question"}]}'


def people(fastness):
    """A tenant that has its content kept, with two auditors: their keys."""
    fastness.ok("tenants", "create", "health")
    fastness.ok("retention", "set", "health", "sealed", "--days", 30)
    made = [
        fastness.document("keys", "create", "--tenant", "health", "--name", name, "--role", "auditor")
        for name in ("ann", "bob")
    ]
    return [one["key"] for one in made]


def seal(fastness, *numbers):
    """Seal content as a gateway does."""

    async def work():
        sealer = Sealer(fastness.home / "sealed", "gateway-0", 1_000_000, 1_000_000, time.time)
        sealer.replace(SnapshotReader(fastness.run_directory / "sealing.json", SealingSnapshot).poll())
        for number in numbers:
            at_ms, said = int(time.time() * 1_000), b'[{"content":"plainly-the-answer"}]'
            fields = "health", f"req_{number}", at_ms, "key_1", "OFFICIAL", "p", "chat", "m"
            await sealer.keep(Kept(*fields, BODY, b"{}", True, said, {}, number.to_bytes(32)))
        await sealer.close()

    asyncio.run(work())


def acting(fastness, key, *words):
    fastness.environ["FASTNESS_KEY"] = key
    try:
        return fastness(*words)
    finally:
        del fastness.environ["FASTNESS_KEY"]


def approved(fastness, ann, bob, purpose):
    words = ("retention", "ask", purpose, "--tenant", "health", "--end-user", "case-7", "--reason", "SAR 1")
    disclosure = acting(fastness, ann, *words).stdout.strip()
    said = acting(fastness, bob, "retention", "approve", disclosure, "--yes")
    assert "asks to" in said.stderr, said.stderr
    return disclosure


def test_a_retention_is_set_and_shown(fastness):
    people(fastness)
    seal(fastness, 1, 2)
    assert "sealed for 30 days" in fastness.ok("retention")
    (one,) = fastness.document("retention", "show")["retention"]
    assert (one["requests"], one["destroyed"]) == (2, 0)
    assert fastness("retention", "set", "health", "sealed").exit_code != 0
    assert "Retention of health: none." in fastness("retention", "set", "health", "none").stderr


def test_two_people_open_and_what_it_says_is_for_them_alone(fastness):
    ann, bob = people(fastness)
    seal(fastness, 1)
    found = json.loads(acting(fastness, ann, "retention", "find", "--tenant", "health", "--json").stdout)
    assert [one["request_id"] for one in found["found"]] == ["req_1"]
    assert fastness("retention", "find", "--tenant", "health").exit_code != 0
    disclosure = approved(fastness, ann, bob, "open")
    opened = acting(fastness, ann, "retention", "open", disclosure).stdout
    assert "plainly-the-question" in opened
    assert "plainly-the-answer" in opened
    assert acting(fastness, bob, "retention", "open", disclosure).exit_code != 0
    assert "SAR 1" in acting(fastness, bob, "retention", "requests", disclosure).stdout
    assert "done" in fastness.ok("retention", "requests")


def test_an_export_is_for_its_reader(fastness, tmp_path):
    ann, bob = people(fastness)
    seal(fastness, 1)
    reader = X25519PrivateKey.generate()
    public = reader.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "reader.pub").write_bytes(public)
    (tmp_path / "reader.key").write_bytes(reader.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    disclosure, sealed = approved(fastness, ann, bob, "export"), tmp_path / "export.sealed"
    done = acting(fastness, ann, "retention", "export", disclosure, "-o", sealed, "--reader", tmp_path / "reader.pub")
    assert done.exit_code == 0, done.stderr
    assert b"plainly" not in sealed.read_bytes()
    assert sealed.stat().st_mode & 0o077 == 0
    plain = tmp_path / "export.zip"
    fastness.ok("retention", "decrypt", sealed, "--key", tmp_path / "reader.key", "-o", plain)
    assert b"plainly-the-question" in plain.read_bytes()
    again = acting(fastness, ann, "retention", "export", disclosure, "-o", plain)
    assert "nothing is overwritten" in again.stderr
    unproved = fastness("retention", "verify", plain)
    assert unproved.exit_code != 0
    assert "no entry of the ledger is with it" in unproved.stdout


def test_a_shredding_leaves_a_certificate_that_verifies(fastness, tmp_path):
    ann, bob = people(fastness)
    seal(fastness, 1, 2)
    certificate = tmp_path / "certificate.json"
    disclosure = approved(fastness, ann, bob, "shred")
    done = acting(fastness, ann, "retention", "shred", disclosure, "-o", certificate, "--yes")
    assert "2 requests of health destroyed; 0 of them still open" in done.stderr
    assert "good, by" in fastness.ok("retention", "verify", certificate)
    certificate.write_bytes(certificate.read_bytes().replace(b"req_1", b"req_3"))
    assert "not over what it says" in fastness("retention", "verify", certificate).stderr


def test_a_time_that_is_none_is_told(fastness):
    people(fastness)
    assert "2026-11-01T09:30" in fastness("retention", "find", "--tenant", "health", "--from", "soon").stderr


@pytest.mark.slow
def test_a_bundle_is_written_once(fastness, tmp_path):
    fastness.ok("tenants", "create", "health")
    bundle = tmp_path / "bundle.zip"
    made = fastness.document("evidence", "export", "-o", bundle, "--from", "2026-01-01")
    assert (made["size_bytes"], made["unknown"]) == (bundle.stat().st_size, [])
    assert "nothing is overwritten" in fastness("evidence", "export", "-o", bundle).stderr
