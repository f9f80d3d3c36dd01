"""The evidence bundle is what its page says: the same each time, signed, whole; each line of a record has evidence."""

import ast
import base64
import hashlib
import io
import json
import re
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from fastness.config import LedgerSettings
from fastness.control.api import build_app
from fastness.control.bundling import records
from fastness.control.bundling.members import FORMAT, MEMBERS_MAX, Draft
from fastness.control.bundling.sources import Sources
from fastness.control.deterministic_zip import written
from fastness.control.evidence_api import ROUTES, EvidenceApi, EvidenceView, NewEvidence
from fastness.control.routes import bound
from fastness.core.event import Event, EventType
from fastness.ledger import verify_alone
from fastness.ledger.checkpoint import parse_checkpoint
from fastness.ledger.file import FileLedger
from fastness.ledger.log_key import LogKey
from fastness.ledger.notary import Signing
from fastness.ledger.note import SignatureType, parse_note
from fastness.perimeter.signing import read_public_key, signing_key

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/reference/evidence-bundle.md").read_text()
SIGNED = Signing(LogKey(b"e" * 32, b"m" * 32), "example.org/ledger", 0.01)
HOUR_MS = 3_600_000


@pytest.fixture
def site(world):
    """A world with an hour of history in two logs, and the route."""
    world.begin_ms = int(world.clock() * 1_000) - HOUR_MS
    world.materials = lambda at_s: {"bomFormat": "CycloneDX", "at": at_s}
    sources = Sources(world.root, world.policy_store, world.deps.settings, lambda at_s: world.materials(at_s))
    api = EvidenceApi(sources, world.ledger, lambda: signing_key(world.root), "0.0.0", world.clock)
    world.app = build_app(replace(world.deps, extra_routes=bound(ROUTES, api)))
    admitted = {"model": "town", "kind": "model", "digest": "d"}
    write(world, "control", [(EventType.BOOT, n * 1_000, {"process": "control", "pid": n}) for n in range(5)])
    write(world, "control", [(EventType.MODEL_ADMITTED, 7_000, admitted)])
    completed = EventType.INFERENCE_COMPLETED
    write(world, "gateway-0", [(completed, n * 60_000, {"request_id": f"req_{n}"}) for n in range(60)])
    world.clock.now_s += 1
    return world


def write(site, log, events):
    async def work():
        directory = site.root / "ledger" / log
        ledger = FileLedger.open(directory, log, LedgerSettings(), lambda: site.begin_ms, signing=SIGNED)
        for kind, after_ms, fields in events:
            await ledger.commit(Event(kind, site.begin_ms + after_ms, fields))
        await ledger.checkpoint()
        await ledger.close()

    site.run(work())


def export(site, name="bundle.zip", **period):
    output = site.root / name
    answer = site.post("/evidence", {"output": str(output), **period})
    content = output.read_bytes()
    assert (answer["sha256"], answer["size_bytes"]) == (hashlib.sha256(content).hexdigest(), len(content))
    return answer, content


def members_of(content):
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def proved(members, log):
    """Follow the page, with nothing of ours: return the entries, and whether they are under the checkpoint's root."""
    said = json.loads(members[f"ledger/{log}/range.json"])
    lines = members[f"ledger/{log}/entries"].splitlines()
    hashes = iter([base64.b64decode(one) for one in said["hashes"]])

    def root(lo, hi):
        if hi <= said["start"] or lo >= said["end"]:
            return next(hashes)
        if hi - lo == 1:
            return hashlib.sha256(b"\x00" + lines[lo - said["start"]]).digest()
        k = 1
        while k * 2 < hi - lo:
            k *= 2
        return hashlib.sha256(b"\x01" + root(lo, lo + k) + root(lo + k, hi)).digest()

    found, rest = root(0, said["size"]), next(hashes, None)
    checkpoint = parse_checkpoint(parse_note(members[f"ledger/{log}/checkpoint"]).text)
    assert checkpoint.size == said["size"]
    return [json.loads(line) for line in lines], found == checkpoint.root and rest is None


def test_the_manifest_names_every_member_and_is_signed(site):
    answer, content = export(site)
    members = members_of(content)
    manifest = json.loads(members["manifest.json"])
    assert manifest["format"] == FORMAT
    assert answer["manifest_sha256"] == hashlib.sha256(members["manifest.json"]).hexdigest()
    listed = {one["path"]: (one["sha256"], one["size_bytes"]) for one in manifest["files"]}
    others = {name: one for name, one in members.items() if name not in ("manifest.json", "manifest.sig")}
    assert listed == {name: (hashlib.sha256(one).hexdigest(), len(one)) for name, one in others.items()}
    assert [one["path"] for one in manifest["files"]] == sorted(listed)
    signature, public = json.loads(members["manifest.sig"]), read_public_key(site.root / "signing.pub")
    assert base64.b64decode(signature["public_key"]) == public
    assert manifest["installation"] == f"sha256:{hashlib.sha256(public).hexdigest()}"
    Ed25519PublicKey.from_public_bytes(public).verify(base64.b64decode(signature["value"]), members["manifest.json"])


def test_the_same_state_and_period_give_the_same_bytes(site):
    period = {"from_ms": site.begin_ms, "to_ms": site.begin_ms + HOUR_MS}
    first = export(site, "one.zip", **period)[1]
    site.clock.now_s += 1_000
    assert export(site, "two.zip", **period)[1] == first
    with zipfile.ZipFile(io.BytesIO(first)) as archive:
        assert archive.namelist() == sorted(archive.namelist())
        assert {(one.date_time, one.compress_type, one.external_attr >> 16) for one in archive.infolist()} == {
            ((1980, 1, 1, 0, 0, 0), zipfile.ZIP_STORED, 0o100644)
        }


@pytest.mark.parametrize(("first", "last"), [(0, 60), (10, 20), (0, 1), (59, 60), (31, 33)])
def test_the_entries_of_the_period_are_under_the_checkpoint(site, first, last):
    begin = site.begin_ms
    members = members_of(export(site, from_ms=begin + first * 60_000, to_ms=begin + last * 60_000)[1])
    entries, is_proved = proved(members, "gateway-0")
    assert [one["fields"]["request_id"] for one in entries] == [f"req_{n}" for n in range(first, last)]
    assert is_proved
    assert members["ledger/gateway-0/vkey"].startswith(b"example.org/ledger/gateway-0+")


def test_logs_that_are_not_of_gateways_are_whole_and_an_empty_period_proves_itself(site):
    members = members_of(export(site, from_ms=site.begin_ms - 10, to_ms=site.begin_ms - 5)[1])
    entries, is_proved = proved(members, "control")
    assert (len(entries), is_proved) == (6, True)
    entries, is_proved = proved(members, "gateway-0")
    assert (entries, is_proved) == ([], True)


def test_one_changed_byte_of_an_entry_is_seen(site):
    members = members_of(export(site)[1])
    members["ledger/gateway-0/entries"] = members["ledger/gateway-0/entries"].replace(b"req_7", b"req_8", 1)
    assert not proved(members, "gateway-0")[1]


def test_a_clock_that_stepped_back_leaves_no_entry_of_the_period_out(site):
    completed = EventType.INFERENCE_COMPLETED
    times = (10_000, 50_000, 20_000, 60_000)
    write(site, "gateway-1", [(completed, at, {"request_id": f"req_{at}"}) for at in times])
    members = members_of(export(site, from_ms=site.begin_ms + 15_000, to_ms=site.begin_ms + 30_000)[1])
    entries, is_proved = proved(members, "gateway-1")
    assert ([one["time_ms"] - site.begin_ms for one in entries], is_proved) == ([20_000], True)
    members = members_of(export(site, "more.zip", from_ms=site.begin_ms + 5_000, to_ms=site.begin_ms + 30_000)[1])
    entries, _ = proved(members, "gateway-1")
    assert [one["time_ms"] - site.begin_ms for one in entries] == [10_000, 50_000, 20_000]


def test_policies_settings_and_materials_are_in_it_and_what_lacks_is_said(site):
    proof = {"report_sha256": "ab" * 32, "holds": True}
    write(site, "control", [(EventType.PERIMETER_PROVED, 8_000, proof)])
    members = members_of(export(site)[1])
    assert json.loads(members["policies/1.json"])["bundle"]["digest"] == site.policies.in_force.snapshot.bundle.digest
    assert json.loads(members["sbom/fastness.cdx.json"])["bomFormat"] == "CycloneDX"
    assert "gateway.port" in json.loads(members["configuration.json"])["settings"]
    lacking = {one["what"] for one in json.loads(members["manifest.json"])["unknown"]}
    assert f"perimeter/{'ab' * 32}.json" in lacking


def test_what_was_kept_of_proofs_and_certificates_is_in_it(site):
    report = b'{"a":"report"}'
    name = hashlib.sha256(report).hexdigest()
    for folder, file in (("perimeter/reports", f"{name}.json"), ("retention/certificates", "disc_1.json")):
        (site.root / folder).mkdir(parents=True)
        (site.root / folder / file).write_bytes(report)
    write(site, "control", [(EventType.PERIMETER_PROVED, 8_000, {"report_sha256": name})])
    write(site, "control", [(EventType.RETENTION_SHREDDED, 9_000, {"disclosure": "disc_1"})])
    members = members_of(export(site)[1])
    assert members[f"perimeter/{name}.json"] == members["retention/disc_1.json"] == report


def test_a_log_without_a_checkpoint_is_said_to_lack_one(site):
    async def work():
        ledger = FileLedger.open(site.root / "ledger/node", "node", LedgerSettings(), lambda: 5)
        await ledger.commit(Event(EventType.BOOT, 5, {"pid": 1}))
        await ledger.close()

    site.run(work())
    members = members_of(export(site)[1])
    assert {"what": "ledger/node", "why": "no checkpoint of it was signed yet"} in json.loads(members["manifest.json"])[
        "unknown"
    ]
    assert not any(name.startswith("ledger/node/") for name in members)


def test_an_export_is_an_entry_and_nothing_is_overwritten(site):
    answer, _ = export(site)
    kind, fields = site.events()[-1]
    assert (kind, fields["manifest_sha256"], fields["by"]) == ("evidence.exported", answer["manifest_sha256"], "local")
    refused = site.ask("POST", "/evidence", json={"output": str(site.root / "bundle.zip")})
    assert (refused.status_code, refused.json()["param"]) == (400, "output")
    assert site.ask("POST", "/evidence", json={"output": "bundle.zip"}).status_code == 400
    backwards = {"output": str(site.root / "x.zip"), "from_ms": 5, "to_ms": 5}
    assert site.ask("POST", "/evidence", json=backwards).status_code == 400


def test_the_program_that_auditors_carry_away_proves_it_and_sees_a_change(site):
    _, content = export(site)
    trust, path = site.root / "trust.txt", site.root / "bundle.zip"
    keys = [signer.verifier for log in ("control", "gateway-0") for signer in SIGNED.key.signers(SIGNED.origin(log))]
    trust.write_text("".join(f"log {key}\n" for key in keys if key.type is SignatureType.ED25519) + "quorum none\n")
    claims, code = verify_alone.verify(path, trust, None, {})
    assert code == 0, claims
    assert sum(claim.verdict == "proved" for claim in claims) == 2
    members = members_of(content)
    members["ledger/gateway-0/entries"] = members["ledger/gateway-0/entries"].replace(b"req_7", b"req_8", 1)
    path.write_bytes(written(members))
    assert verify_alone.verify(path, trust, None, {})[1] == 1


def test_the_password_of_a_store_is_not_in_it(site):
    explained = site.deps.settings["store.url"]
    secret = replace(explained, value="postgresql://user:hunter2@/fastness?host=/run/pg")
    sources = Sources(site.root, site.policy_store, {**site.deps.settings, "store.url": secret}, lambda _: {})
    api = EvidenceApi(sources, site.ledger, lambda: signing_key(site.root), "0.0.0", site.clock)
    site.app = build_app(replace(site.deps, extra_routes=bound(ROUTES, api)))
    assert b"hunter2" not in export(site)[1]


def test_every_test_and_page_that_a_record_names_exists():
    assert len(records.tests_named()) > 40
    for named in records.tests_named():
        path, _, name = named.partition("::")
        tree = ast.parse((ROOT / path).read_text())
        assert name in {node.name for node in ast.walk(tree) if hasattr(node, "name")}, named
    pages = {page for name in records.NAMES for line in records.given(name).line for page in line.documents}
    assert [page for page in pages if not (ROOT / page).is_file()] == []


def test_every_event_and_kind_that_a_record_points_to_exists():
    kinds = set(re.findall(r"^\| `([a-z]+)` \| `", PAGE, re.MULTILINE))
    for name in records.NAMES:
        for line in records.given(name).line:
            assert set(line.entries) <= set(EventType)
            assert set(line.members) <= kinds, line.members


def test_a_line_with_nothing_to_point_to_claims_nothing(site):
    members = members_of(export(site)[1])
    for name in records.NAMES:
        record = json.loads(members[f"records/{name}.json"])
        assert record["draft"] is True
        assert len(record["lines"]) > 10
        for line in record["lines"]:
            assert line["evidence"] or line["statement"].startswith(records.OPEN), line
            for one in line["evidence"]:
                if one["kind"] == "member":
                    assert one["path"] in members
                if one["kind"] == "entry":
                    said = json.loads(members[f"ledger/{one['log']}/range.json"])
                    assert said["start"] <= one["index"] < said["end"]
        text = members[f"records/{name}.md"].decode()
        assert all(line["statement"] in text for line in record["lines"])
    empty = Draft(0, 1)
    bare = records.made(
        "x", records.GivenRecord("X", (records.GivenLine("1", "H", "It does.", entries=("boot",)),)), empty
    )
    assert bare.lines[0].statement == "Not claimed: It does. (Not in this bundle: no entry `boot`.)"


def test_the_page_has_the_format_and_the_bounds():
    assert f"`{FORMAT}`" in PAGE
    assert f"{MEMBERS_MAX:,}" in PAGE
    for name in records.NAMES:
        assert f"`records/{name}`" in PAGE


def test_the_page_has_the_route_and_all_that_it_takes_and_gives():
    section = PAGE.partition("### `POST /api/v1/evidence`")[2]
    assert {(row[0], row[1]) for row in ROUTES} == {("POST", "/api/v1/evidence")}
    for kind in (NewEvidence, EvidenceView):
        for name in kind.__struct_fields__:
            assert f"`{name}`" in section, name
    assert "Needs `read`" in section
