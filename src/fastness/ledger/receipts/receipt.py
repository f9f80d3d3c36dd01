"""Making a receipt: the entry of an answer, the proof that it is in the log, and the salts of its commitments.

What makes a receipt reads logs, and writes nothing but its own index. Core, standard library and signatures only.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from fastness.core.ids import is_name
from fastness.ledger.checkpoint import Checkpoint, parse_checkpoint
from fastness.ledger.commitment import salts_of
from fastness.ledger.note import Note, SignatureType, parse_key, parse_note
from fastness.ledger.receipts.index import LogIndex
from fastness.ledger.stored_log import StoredLog
from fastness.ledger.stored_tree import StoredTree
from fastness.ledger.tiles import CHECKPOINT_PATH
from fastness.ledger.tlog_proof import TlogProof
from fastness.ledger.tree import inclusion_proof

RECEIPT_BYTES_MAX: Final = 4_096
PARTIAL: Final = ".partial"
"""Behind the name of a log: its checkpoint that fewer witnesses cosigned than there should be."""
VERSION: Final = 1
KEYS_BYTES_MAX: Final = 65_536
SHREDDED, EXPIRED = "shredded", "expired"
"""Why a receipt has no salts: they went with the content that was kept; or nobody kept it, and their days are over."""


class NotSigned(Exception):  # noqa: N818 - a state of a log
    """The entry is durable, and no checkpoint covers it yet: that takes a second at most."""


@dataclass(frozen=True, slots=True)
class ReceiptId:
    """What a `Fastness-Receipt` header says: a log, and the request whose entry is in it."""

    log: str
    request_id: str


def parse_id(text: str) -> ReceiptId | None:
    """Read a receipt's id; None for what is none."""
    log, _, digits = text.rpartition(".")
    if not is_name(log) or len(digits) != 32 or not set(digits) <= set("0123456789abcdef"):
        return None
    return ReceiptId(log, f"req_{digits}")


class Archive:
    """All logs below `ledger`, for one thread at a time. Indexes are kept below `indexes`, cosignatures in `cosigned`.

    `secret` returns what the salts of an entry's fields follow from, None once it was destroyed. `manifest` returns the
    manifest of an admitted model by the digest of its weights, None where there is none. Methods raise LedgerCorrupt
    and OSError.
    """

    def __init__(
        self,
        ledger: Path,
        indexes: Path,
        cosigned: Path,
        secret: Callable[[Mapping[str, Any]], bytes | None],
        manifest: Callable[[str], str | None],
    ) -> None:
        self._ledger, self._kept, self._cosigned = ledger, indexes, cosigned
        self._secret, self._manifest = secret, manifest
        self._indexes: dict[str, LogIndex] = {}

    def catch_up(self) -> bool:
        """Take in some of what was recorded meanwhile, of each log; tells whether there may be more."""
        for directory in self._ledger.iterdir():
            if directory.name not in self._indexes and is_name(directory.name) and directory.is_dir():
                self._indexes[directory.name] = LogIndex(directory, self._kept / directory.name)
        return any([index.catch_up() for index in self._indexes.values()])  # noqa: C419 - each of them, every time

    def receipt(self, wanted: ReceiptId, tenant: str, *, chain: bool) -> bytes | None:
        """Return a receipt as canonical JSON; None when this tenant has none such. Raises NotSigned.

        With `chain` it also has the entries that tell how the answer came about, and is longer than RECEIPT_BYTES_MAX.
        """
        index = self._indexes.get(wanted.log)
        for at in index.of_request(wanted.request_id) if index else ():
            line = StoredLog(self._ledger / wanted.log).entry(at)
            read = json.loads(line)
            fields = read["fields"]
            if (fields["request_id"], fields["tenant"]) != (wanted.request_id, tenant):
                continue
            found: dict[str, object] = {
                "v": VERSION,
                "id": f"{wanted.log}.{wanted.request_id.removeprefix('req_')}",
                **self._proved(wanted.log, at, line),
                "salts": self._salts(fields),
            }
            logs = {wanted.log}
            if chain:
                links = list(self._chain(wanted.log, fields, read["time_ms"]))
                logs |= {log for log, _ in links}
                found["chain"] = [link for _, link in links]
            found["keys"] = [key for log in sorted(logs) for key in self._keys(log)]
            return json.dumps(found, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()
        return None

    def knows(self, log: str, kind: str, *values: object) -> bool:
        """Tell whether a log has an entry of a type in `index.MARKS` with these values, as of the last `catch_up`."""
        index = self._indexes.get(log)
        return index is not None and index.of_mark(kind, *values) is not None

    def _salts(self, answer: dict[str, Any]) -> dict[str, str]:
        """Return the salts of an answer, in hex; or why they are gone, once what they follow from was destroyed."""
        secret = self._secret(answer)
        if secret is None:
            return {"gone": EXPIRED if answer.get("content_at") is None else SHREDDED}
        salts = salts_of(secret, answer["request_id"])
        return {"request": salts.request.hex(), "answer": salts.answer.hex()}

    def _chain(self, log: str, answer: dict[str, Any], by_ms: int) -> Iterator[tuple[str, dict[str, str]]]:
        """Return the entries that tell how an answer came about, of before it, each with the log that it is in."""
        loaded = ("model.loaded", answer.get("replica"), answer.get("epoch"), answer.get("model_digest"))
        yield from self._marked("node", by_ms, *loaded)
        yield from self._marked("control", by_ms, "policy.applied", answer.get("policy"))
        yield from self._marked(log, by_ms, "configuration.loaded", answer.get("configuration"))
        yield from self._marked("control", by_ms, "model.shipped", answer.get("model_digest"))
        for digest in filter(None, (answer.get("model_digest"), answer.get("adapter_digest"))):
            if (manifest := self._manifest(str(digest))) is not None:
                for kind in ("model.admitted", "model.revoked"):
                    for name, one in self._marked("control", by_ms, kind, digest_of(manifest)):
                        yield name, one | {"manifest": manifest}

    def _marked(self, log: str, by_ms: int, kind: str, *values: object) -> Iterator[tuple[str, dict[str, str]]]:
        index = self._indexes.get(log)
        if index is not None and (at := index.of_mark(kind, *values, by_ms=by_ms)) is not None:
            yield log, self._proved(log, at, StoredLog(self._ledger / log).entry(at))

    def _proved(self, name: str, at: int, line: bytes) -> dict[str, str]:
        note, checkpoint = self._checkpoint(name, at)
        nodes = StoredTree(self._ledger / name).node
        proof = TlogProof(at, tuple(inclusion_proof(at, checkpoint.size, nodes)), note)
        return {"entry": line.decode(), "proof": str(proof)}

    def _checkpoint(self, name: str, at: int) -> tuple[Note, Checkpoint]:
        """Return one that covers an entry: cosigned by enough witnesses, or by some, or else the log's last."""
        places = (self._cosigned / name, self._cosigned / f"{name}{PARTIAL}", self._ledger / name / CHECKPOINT_PATH)
        for path in places:
            with suppress(FileNotFoundError):
                note = parse_note(path.read_bytes())
                checkpoint = parse_checkpoint(note.text)
                if checkpoint.size > at:
                    return short(note), checkpoint
        raise NotSigned(name)

    def _keys(self, log: str) -> list[str]:
        """Return the keys of a log that sign what is in a receipt."""
        with (self._ledger / log / "keys").open("rb") as file:
            keys = map(parse_key, file.read(KEYS_BYTES_MAX).decode().split())
            return [str(key) for key in keys if key.type is not SignatureType.ML_DSA_44]


def short(note: Note) -> Note:
    """Leave out the signatures of ML-DSA-44, each as long as a receipt may be; the log's own checkpoint has them."""
    return Note(note.text, tuple(line for line in note.signatures if len(line.content) < RECEIPT_BYTES_MAX // 4))


def digest_of(manifest: str) -> str:
    """Return the SHA-256 of a manifest, in hex."""
    return sha256(manifest.encode()).hexdigest()
