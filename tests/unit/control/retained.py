"""Routes of retention on a world, three tenants with auditors, and content sealed as a gateway does."""

import io
import zipfile
from dataclasses import replace

from fastness.control.api import build_app
from fastness.control.disclosing import Disclosing
from fastness.control.disclosures import Disclosures, Parts
from fastness.control.retention import Retentions
from fastness.control.retention_api import ROUTES, RetentionApi
from fastness.control.routes import bound
from fastness.control.sealing import Sealing
from fastness.core.event import Event, EventType
from fastness.core.retention import SealingSnapshot
from fastness.ledger.file import FileLedger
from fastness.perimeter.signing import signing_key
from fastness.sealed.key_files import KeyFiles
from fastness.sealed.keyring import Keyring
from fastness.sealed.port import Kept
from fastness.sealed.safe import Safe
from fastness.sealed.writer import Sealer
from fastness.store.database import Database, sqlite_url
from fastness.store.disclosures import SqlDisclosureStore
from fastness.store.snapshot_file import SnapshotReader

BODY = b'{"model":"m","user":"citizen-7","messages":[{"role":"user","content":"plainly-the-question"}]}'
ANSWER = b'{"choices":[{"message":{"content":"plainly-the-answer"}}]}'
LIFETIME_S = 3_600


def retaining(world):
    """A world with routes of retention, the tenants health and tax, and auditors of both and of the installation."""
    database = Database.open(sqlite_url(world.root / "disclosures.db"))
    world.safe = Safe(Keyring(world.root / "sealed", KeyFiles(world.root / "secrets/tenants")))
    path = world.run_directory / "sealing.json"
    world.sealing = Sealing(world.safe, world.access, world.ledger, path, 1_000_000, world.clock)
    parts = Parts(
        store=SqlDisclosureStore(database),
        access=world.access,
        policies=world.policies,
        ledger=world.ledger,
        safe=world.safe,
        disclosure_s=LIFETIME_S,
        clock=world.clock,
        entropy=world.entropy,
    )
    world.disclosures = Disclosures(parts)
    acts = Disclosing(world.disclosures, world.sealing, world.root, lambda: signing_key(world.root), lambda _: b"proof")
    api = RetentionApi(Retentions(world.access, world.sealing, world.disclosures), world.disclosures, acts, world.clock)
    world.app = build_app(replace(world.deps, extra_routes=bound(ROUTES, api)))
    world.keys = {}
    for tenant in ("default", "health", "tax"):
        world.post("/tenants", {"id": tenant})
        for name, role in (("ann", "auditor"), ("bob", "auditor"), ("dev", "developer"), ("eve", "admin")):
            issued = world.post("/keys", {"tenant": tenant, "name": name, "role": role})
            world.keys[f"{name}@{tenant}"] = issued
    world.sealing_snapshot = lambda: SnapshotReader(path, SealingSnapshot).poll()
    yield world
    database.close()


def ask(site, who, method, path, **request):
    headers = {} if who is None else {"authorization": f"Bearer {site.keys[who]['key']}"}
    return site.ask(method, f"/retention{path}", headers=headers, **request)


def ok(site, who, method, path, body=None):
    answer = ask(site, who, method, path, json=body) if method == "POST" else ask(site, who, method, path)
    assert answer.is_success, answer.text
    return answer.json()


def code(answer):
    return answer.status_code, answer.json()["code"]


def keep(site, *numbers, tenant="health", marking="OFFICIAL", body=BODY):
    """Seal content as a gateway does."""

    async def seal():
        sealer = Sealer(site.root / "sealed", "gateway-0", 10_000_000, 10_000_000, site.clock)
        sealer.replace(site.sealing_snapshot())
        for number in numbers:
            at_ms = int(site.clock() * 1_000) + number
            await sealer.keep(
                Kept(
                    tenant,
                    f"req_{number}",
                    at_ms,
                    "key_1",
                    marking,
                    "p",
                    "chat",
                    "m",
                    body,
                    ANSWER,
                    True,
                    b"[]",
                    {"a": "b"},
                    number.to_bytes(32),
                )
            )
        await sealer.close()

    site.run(seal())


def sealed(site, *numbers, **how):
    ok(site, None, "POST", "", {"tenant": how.get("tenant", "health"), "retention": "sealed", "days": 30})
    keep(site, *numbers, **how)


def asked(site, who="ann@health", purpose="open", tenant="health", selection=None, **more):
    wish = {"purpose": purpose, "tenant": tenant, "reason": "FOI 2026/114", "selection": selection or {}}
    return ok(site, who, "POST", "/requests", wish | more)["id"]


def approved(site, who="bob@health", **how):
    disclosure = asked(site, **how)
    ok(site, who, "POST", f"/requests/{disclosure}/approve")
    return disclosure


def kinds(site):
    return [kind for kind, _ in site.events()]


def last(site):
    return site.events()[-1]


def answered(site, *requests):
    """Write entries as a gateway does."""

    async def write():
        ledger = FileLedger.open(site.root / "ledger/gateway-0", "gateway-0", site_settings(), lambda: 5)
        for request in requests:
            await ledger.commit(Event(EventType.INFERENCE_COMPLETED, 5, {"request_id": request, "tenant": "health"}))
        await ledger.close()

    site.run(write())


def site_settings():
    from fastness.config import LedgerSettings

    return LedgerSettings()


def unzipped(content):
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}
