"""Checking an export: that nothing of it was changed, and that each entry is in a log whose checkpoint is signed.

Needs the file and the logs' verifier keys, and neither an installation nor a network.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from fastness.ledger.commitment import ANSWER, REQUEST, commit
from fastness.ledger.note import VerifierKey
from fastness.ledger.tlog_proof import parse_proof, verify_proof
from fastness.ledger.tree import ProofInvalid, leaf_hash

FORMAT: Final = "fastness-export/1"
MEMBERS_MAX: Final = 100_000
_NOTHING: Final = "its entry has no commitment to it"


class ExportRefused(ValueError):  # noqa: N818 - what is said of a file
    """It is no export, or was changed; the message says what is wrong."""


@dataclass(frozen=True, slots=True)
class Checked:
    """One request of an export. `entry` tells whether its entry is proved, `request` and `answer` whether they are its.

    Each is `proved`, or says why it is not.
    """

    request_id: str
    log: str
    index: int | None
    entry: str
    request: str
    answer: str


def check_export(content: bytes, keys: Iterable[VerifierKey]) -> list[Checked]:
    """Check an export; raises ExportRefused for one that is not whole."""
    members, known = _members(content), list(keys)
    try:
        manifest = json.loads(members.pop("manifest.json"))
        files = manifest["files"]
        if manifest["format"] != FORMAT:
            raise ExportRefused(f"its format is {manifest['format']!r}; {FORMAT} is needed")
    except (KeyError, TypeError, ValueError):
        raise ExportRefused("it has no manifest that can be read") from None
    found = {name: hashlib.sha256(one).hexdigest() for name, one in members.items()}
    for name in sorted(found.keys() ^ files.keys()) or [name for name in sorted(files) if files[name] != found[name]]:
        raise ExportRefused(f"{name} is not as the manifest says")
    return list(_checked(members, known))


def _checked(members: dict[str, bytes], keys: list[VerifierKey]) -> Iterator[Checked]:
    for name in sorted(members):
        if not name.endswith("/request.json"):
            continue
        at = name.removesuffix("/request.json")
        request_id, line = at.partition("/")[2], members.get(f"{at}/entry.json")
        if line is None:
            yield Checked(request_id, "", None, "no entry of the ledger is with it", _NOTHING, _NOTHING)
            continue
        entry = json.loads(line)
        log, said = _proved(members.get(f"{at}/entry.tlog-proof"), line, entry, keys)
        if entry["fields"].get("request_id") != request_id:
            said = "its entry is about another request"
        salts = json.loads(members[f"{at}/sealed.json"])["salts"]
        asked = _committed("request", REQUEST, members[name], salts, entry)
        answered = _committed("answer", ANSWER, members.get(f"{at}/said.json", b""), salts, entry)
        yield Checked(request_id, log, entry["index"], said, asked, answered)


def _proved(proof: bytes | None, line: bytes, entry: dict[str, Any], keys: list[VerifierKey]) -> tuple[str, str]:
    if proof is None:
        return "", "no proof is with it: no checkpoint covered it yet"
    try:
        read = parse_proof(proof)
        proved = verify_proof(read, leaf_hash(line), keys)
    except ProofInvalid as error:
        return "", f"{error}"
    if read.index != entry["index"]:
        return proved.checkpoint.origin, "the proof is of another index"
    return proved.checkpoint.origin, "proved"


def _committed(what: str, label: bytes, content: bytes, salts: dict[str, str], entry: dict[str, Any]) -> str:
    """Compare content with its commitment, where the entry has one and the salt is known."""
    salt, wanted = salts.get(what), entry["fields"].get(f"{what}_commitment")
    if not salt or not wanted:
        return _NOTHING
    made = commit(label, bytes.fromhex(salt), content)
    return "proved" if made == wanted else "it is not what its entry commits to"


def _members(content: bytes) -> dict[str, bytes]:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            if len(archive.namelist()) > MEMBERS_MAX:
                raise ExportRefused(f"it has more than {MEMBERS_MAX} members")
            return {name: archive.read(name) for name in archive.namelist()}
    except (zipfile.BadZipFile, OSError, NotImplementedError):
        raise ExportRefused("it is no ZIP file, or was cut") from None
