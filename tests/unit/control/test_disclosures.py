"""Law 3 at the management API: it takes two people to see what was kept, and as many to destroy it."""

import base64
import hashlib
import json
import re

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from fastness.control import retention_wire, shred_certificate
from fastness.core.retention import DAY_S
from fastness.perimeter.signing import raw, signing_key
from fastness.sealed.addressed import read_addressed
from retained import (
    ANSWER,
    BODY,
    LIFETIME_S,
    answered,
    approved,
    ask,
    asked,
    code,
    keep,
    kinds,
    last,
    ok,
    retaining,
    sealed,
    unzipped,
)


@pytest.fixture
def site(world):
    yield from retaining(world)


def test_two_people_open_what_a_citizen_asked_and_every_step_is_an_event(site):
    sealed(site, 1, 2)
    keep(site, 3, body=b'{"user":"citizen-8"}')
    found = ok(site, "ann@health", "POST", "/find", {"tenant": "health", "selection": {"end_user": "citizen-7"}})
    assert [one["request_id"] for one in found["found"]] == ["req_1", "req_2"]
    disclosure = approved(site, selection={"end_user": "citizen-7"})
    opened = ok(site, "ann@health", "POST", f"/requests/{disclosure}/open")["opened"]
    assert [(one["request"], one["answer"]) for one in opened] == [(BODY.decode(), ANSWER.decode())] * 2
    assert kinds(site)[-3:] == ["disclosure.asked", "disclosure.approved", "disclosure.opened"]
    _, fields = last(site)
    ann, bob = site.keys["ann@health"]["id"], site.keys["bob@health"]["id"]
    assert (fields["by"], fields["approved_by"], fields["requests"]) == (ann, bob, 2)
    assert ok(site, None, "GET", "/requests")["requests"][0]["state"] == "done"


def test_neither_reason_nor_selection_nor_content_is_in_the_ledger_or_the_log(site):
    sealed(site, 1)
    disclosure = approved(site, selection={"end_user": "citizen-7"})
    ok(site, "ann@health", "POST", f"/requests/{disclosure}/open")
    said = json.dumps([site.events(), site.log.records])
    assert not re.search("FOI|citizen|plainly", said)
    assert "citizen" not in json.dumps(ok(site, None, "GET", "/requests"))


def test_whoever_asks_does_not_approve_and_nobody_else_opens(site):
    sealed(site, 1)
    disclosure = asked(site)
    path = f"/requests/{disclosure}"
    assert code(ask(site, "ann@health", "POST", f"{path}/open")) == (403, "permission_denied")
    refused = ask(site, "ann@health", "POST", f"{path}/approve")
    assert code(refused) == (403, "permission_denied")
    assert "two people" in refused.json()["detail"]
    ok(site, "bob@health", "POST", f"{path}/approve")
    assert code(ask(site, "bob@health", "POST", f"{path}/open")) == (403, "permission_denied")
    assert code(ask(site, "bob@health", "POST", f"{path}/approve")) == (409, "conflict")
    assert "disclosure.opened" not in kinds(site)


@pytest.mark.parametrize("who", [None, "dev@health", "eve@health", "eve@default", "ann@tax", "bob@tax"])
def test_who_may_not_open_may_not_find_ask_approve_or_see_it(site, who):
    sealed(site, 1)
    disclosure = asked(site)
    wish = {"purpose": "open", "tenant": "health", "reason": "because", "selection": {}}
    for method, path, body in (
        ("POST", "/find", {"tenant": "health"}),
        ("POST", "/requests", wish),
        ("GET", f"/requests/{disclosure}", None),
        ("POST", f"/requests/{disclosure}/approve", {}),
        ("POST", f"/requests/{disclosure}/open", {}),
    ):
        answer = ask(site, who, method, path, **({} if body is None else {"json": body}))
        assert code(answer) == (403, "permission_denied"), (method, path)
        assert not re.search("FOI|citizen|plainly", answer.text)


def test_two_of_the_installation_break_the_glass_and_that_is_an_event_of_its_own(site):
    sealed(site, 1)
    disclosure = asked(site, who="ann@default")
    ok(site, "bob@default", "POST", f"/requests/{disclosure}/approve")
    assert ok(site, "ann@default", "POST", f"/requests/{disclosure}/open")["opened"]
    assert kinds(site)[-2:] == ["breakglass.opened", "disclosure.opened"]


def test_one_of_the_installation_is_enough_to_break_the_glass(site):
    sealed(site, 1)
    disclosure = approved(site, who="bob@default")
    ok(site, "ann@health", "POST", f"/requests/{disclosure}/open")
    assert kinds(site)[-2:] == ["breakglass.opened", "disclosure.opened"]


def test_the_entry_comes_before_the_content(site):
    sealed(site, 1)
    disclosure = approved(site)
    site.ledger.refusal = "the disk is full"
    assert code(ask(site, "ann@health", "POST", f"/requests/{disclosure}/open")) == (503, "ledger_unavailable")
    assert code(ask(site, "ann@health", "POST", f"/requests/{disclosure}/open"))[0] == 503


def test_an_approval_is_for_what_was_found_when_it_was_asked(site):
    sealed(site, 1)
    disclosure = approved(site)
    keep(site, 2)
    opened = ok(site, "ann@health", "POST", f"/requests/{disclosure}/open")["opened"]
    assert [one["request_id"] for one in opened] == ["req_1"]


def test_what_is_marked_above_ones_clearance_is_not_opened(site):
    sealed(site, 1, marking="SECRET")
    wish = {"purpose": "open", "tenant": "health", "reason": "because", "selection": {}}
    assert code(ask(site, "ann@health", "POST", "/requests", json=wish)) == (403, "marking_not_cleared")


def test_both_steps_have_to_fit_into_the_time(site):
    sealed(site, 1)
    late, opened_late = asked(site), approved(site)
    site.clock.now_s += LIFETIME_S
    assert code(ask(site, "bob@health", "POST", f"/requests/{late}/approve")) == (409, "conflict")
    assert code(ask(site, "ann@health", "POST", f"/requests/{opened_late}/open")) == (409, "conflict")
    assert [one["state"] for one in ok(site, None, "GET", "/requests")["requests"]] == ["lapsed", "lapsed"]


def test_a_revoked_key_opens_nothing_that_was_approved_for_it(site):
    sealed(site, 1)
    disclosure = approved(site)
    site.post(f"/keys/{site.keys['ann@health']['id']}/revoke")
    assert ask(site, "ann@health", "POST", f"/requests/{disclosure}/open").status_code == 401


def test_a_purpose_is_kept_to_and_nothing_is_asked_without_a_reason_or_for_nothing(site):
    sealed(site, 1)
    disclosure = approved(site)
    for other in ("export", "shred"):
        assert code(ask(site, "ann@health", "POST", f"/requests/{disclosure}/{other}")) == (409, "conflict")
    wish = {"purpose": "open", "tenant": "health", "reason": " ", "selection": {}}
    assert code(ask(site, "ann@health", "POST", "/requests", json=wish)) == (400, "missing_field")
    nothing = wish | {"reason": "x", "selection": {"end_user": "nobody"}}
    assert code(ask(site, "ann@health", "POST", "/requests", json=nothing)) == (404, "not_found")
    all_of_it = wish | {"reason": "x", "everything": True}
    assert code(ask(site, "ann@health", "POST", "/requests", json=all_of_it)) == (400, "invalid_value")


def test_an_export_has_the_content_to_the_byte_and_what_proves_it(site):
    sealed(site, 1)
    answered(site, "req_0", "req_1")
    disclosure = approved(site, purpose="export")
    answer = ok(site, "ann@health", "POST", f"/requests/{disclosure}/export", {})
    content = base64.b64decode(answer["file"])
    members = unzipped(content)
    assert members["requests/req_1/request.json"] == BODY
    assert members["requests/req_1/answer"] == ANSWER
    assert json.loads(members["requests/req_1/sealed.json"])["salts"] == {"a": "b"}
    assert json.loads(members["requests/req_1/entry.json"])["fields"]["request_id"] == "req_1"
    assert members["requests/req_1/entry.tlog-proof"] == b"proof"
    files = json.loads(members["manifest.json"])["files"]
    assert files == {name: hashlib.sha256(one).hexdigest() for name, one in members.items() if name != "manifest.json"}
    kind, fields = last(site)
    assert (kind, fields["encrypted"]) == ("disclosure.exported", False)
    assert fields["file_sha256"] == hashlib.sha256(content).hexdigest() == answer["sha256"]
    again = ok(site, "ann@health", "POST", f"/requests/{disclosure}/export", {})
    assert again == answer


def test_an_export_is_sealed_to_its_reader_alone(site):
    sealed(site, 1)
    disclosure = approved(site, purpose="export")
    reader = X25519PrivateKey.generate()
    pem = reader.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    answer = ok(site, "ann@health", "POST", f"/requests/{disclosure}/export", {"reader": pem})
    content = base64.b64decode(answer["file"])
    assert b"plainly" not in content
    assert unzipped(read_addressed(content, reader))["requests/req_1/request.json"] == BODY
    assert last(site)[1]["encrypted"] is True
    refused = ask(site, "ann@health", "POST", f"/requests/{disclosure}/export", json={"reader": "no key"})
    assert code(refused) == (400, "invalid_value")


def test_selected_content_is_shredded_with_a_certificate_and_the_rest_opens(site):
    sealed(site, 1, 2, 3)
    disclosure = approved(site, who="eve@default", purpose="shred", selection={"requests": ["req_2"]})
    certificate = ask(site, "ann@health", "POST", f"/requests/{disclosure}/shred").content
    body = shred_certificate.verify(certificate + b"\n", raw(signing_key(site.root).public_key()))
    assert (body.requests, body.opened_after, body.everything) == (("req_2",), 0, False)
    entry = site.ledger.entries()[body.index]
    assert (entry.type, entry.fields["disclosure"], entry.fields["opened_after"]) == (
        "retention.shredded",
        disclosure,
        0,
    )
    assert entry.fields["requests_sha256"] == hashlib.sha256(b"req_2\n").hexdigest() == body.requests_sha256
    assert [one.head.request_id for one in site.safe.find("health", retention_wire.Selection())] == ["req_1", "req_3"]
    kept = site.root / f"retention/certificates/{disclosure}.json"
    assert kept.read_bytes() == certificate
    with pytest.raises(shred_certificate.CertificateRefused):
        shred_certificate.verify(certificate.replace(b"req_2", b"req_1"), raw(signing_key(site.root).public_key()))


def test_everything_of_a_tenant_is_shredded_and_what_is_asked_next_is_kept_under_new_keys(site):
    sealed(site, 1, 2)
    sealed(site, 9, tenant="tax")
    before = {key.id for key in site.sealing_snapshot().keys if key.tenant == "health"}
    disclosure = approved(site, purpose="shred", everything=True)
    certificate = ask(site, "ann@health", "POST", f"/requests/{disclosure}/shred").content
    body = shred_certificate.verify(certificate, raw(signing_key(site.root).public_key()))
    assert (body.everything, body.tenant_key_destroyed, body.requests_total, body.opened_after) == (True, True, 2, 0)
    assert {key.id for key in body.keys} == before
    assert site.safe.find("health", retention_wire.Selection()) == []
    assert len(site.safe.find("tax", retention_wire.Selection())) == 1
    assert before.isdisjoint(key.id for key in site.sealing_snapshot().keys)
    keep(site, 3)
    assert len(site.safe.find("health", retention_wire.Selection())) == 1


def test_nothing_is_shredded_and_nothing_expires_while_there_is_a_hold(site):
    sealed(site, 1)
    earlier = approved(site, purpose="shred")
    ok(site, None, "POST", "", {"tenant": "health", "retention": "hold"})
    assert code(ask(site, "ann@health", "POST", f"/requests/{earlier}/shred")) == (409, "conflict")
    wish = {"purpose": "shred", "tenant": "health", "reason": "x", "everything": True}
    assert code(ask(site, "ann@health", "POST", "/requests", json=wish)) == (409, "conflict")
    site.clock.now_s += 400 * DAY_S
    assert site.run(site.sealing.expire()) == 0
    assert len(site.safe.find("health", retention_wire.Selection())) == 1
    change = {"tenant": "health", "retention": "sealed", "days": 30}
    assert code(ask(site, None, "POST", "", json=change)) == (409, "conflict")
    release = asked(site, who=None, purpose="release")
    assert code(ask(site, None, "POST", "", json=change | {"release": release})) == (403, "permission_denied")
    assert code(ask(site, None, "POST", f"/requests/{release}/approve", json={})) == (403, "permission_denied")
    ok(site, "eve@health", "POST", f"/requests/{release}/approve")
    assert code(ask(site, "eve@health", "POST", "", json=change | {"release": release})) == (403, "permission_denied")
    ok(site, None, "POST", "", change | {"release": release})
    assert site.safe.find("health", retention_wire.Selection()) == []
    assert "retention.expired" in kinds(site)


def test_people_of_another_tenant_shred_nothing(site):
    sealed(site, 1)
    wish = {"purpose": "shred", "tenant": "health", "reason": "x", "selection": {}}
    assert code(ask(site, "eve@tax", "POST", "/requests", json=wish)) == (403, "permission_denied")
    disclosure = asked(site, purpose="shred")
    assert code(ask(site, "ann@tax", "POST", f"/requests/{disclosure}/approve")) == (403, "permission_denied")
