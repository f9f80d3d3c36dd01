"""A whole bundle: its parts put together, its manifest signed."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fastness.control.bundling.logs import add_logs
from fastness.control.bundling.members import MANIFEST, SIGNATURE, Draft
from fastness.control.bundling.records import add_records
from fastness.control.bundling.sources import Sources, add_sources
from fastness.control.deterministic_zip import written
from fastness.perimeter.report_shape import Signature, canonical
from fastness.perimeter.signing import fingerprint, raw


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle, as its file and its manifest."""

    content: bytes
    manifest: bytes
    members: int
    unknown: tuple[tuple[str, str], ...]


def make_bundle(
    from_ms: int, to_ms: int, sources: Sources, key: Callable[[], Ed25519PrivateKey], version: str
) -> Bundle:
    """Make the bundle of a period; blocks. The same state and period give the same bytes.

    Raises OSError, LedgerCorrupt, TreeDamaged, KeyUnusable, store.port.Unavailable.
    """
    draft, signer = Draft(from_ms, to_ms), key()
    draft.add("key", "signing.pub", (sources.home / "signing.pub").read_bytes())
    add_logs(draft, sources.home / "ledger")
    add_sources(draft, sources)
    add_records(draft)
    public = raw(signer.public_key())
    manifest = draft.manifest(fingerprint(public), version)
    signature = Signature(
        "Ed25519", base64.b64encode(public).decode(), base64.b64encode(signer.sign(manifest)).decode()
    )
    content = written(draft.members | {MANIFEST: manifest, SIGNATURE: canonical(signature)})
    return Bundle(content, manifest, len(draft.members) + 2, tuple((one.what, one.why) for one in draft.unknown))


def write_bundle(path: Path, bundle: Bundle) -> None:
    """Write a bundle's file, for its owner to read; raises FileExistsError, OSError."""
    with path.open("xb") as file:
        path.chmod(0o600)
        file.write(bundle.content)
