"""Verify what Fastness gave you, alone and offline: a receipt, an evidence bundle, or a receipt with a bundle.

This one file needs Python 3.11 or later and `cryptography`, and nothing else of Fastness. Copy it away and run

    python verify_alone.py receipt.json --trust FILE [--prompt FILE] [--answer FILE] [--bundle bundle.zip]
    python verify_alone.py bundle.zip --trust FILE

--trust names the keys that you believe (a C2SP tlog-policy), from a source of your own. Without it nothing is proved:
whoever made up an answer may have made up a key as well. Each line is a claim: *proved* (it follows from signatures by
keys that you trust), *asserted* (by whom the line says), *unknown* (nothing here tells) or *refuted* (it is false).

Exit code 0: what you gave is proved. 1: something is refuted. 2: it cannot be read. 6: nothing is refuted, but it is
not proved by keys that you trust. The formats are described in docs/reference/receipt.md and evidence-bundle.md.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import re
import sys
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

PROVED, ASSERTED, UNKNOWN, REFUTED = "proved", "asserted", "unknown", "refuted"
RECEIPT_BYTES_MAX, NOTE_BYTES_MAX, MEMBERS_MAX, MS_MAX = 65_536, 65_536, 100_000, 253_402_300_800_000  # year 9999
SALTS = {"request": "request", "prompt": "request", "parameters": "request", "answer": "answer"}
KEY_BYTES = {0x01: 32, 0x04: 32, 0x06: 1_312}  # by kind: Ed25519 for notes and for cosignatures, ML-DSA-44


class Unreadable(ValueError):  # noqa: N818 - what is said of a file
    """It is not of the form that it must have."""


class Refuted(ValueError):  # noqa: N818 - what is said of a claim
    """It is of that form, and false."""


class Claim(NamedTuple):
    """One line: a verdict, what it is about, what is claimed, and by whom, or why it cannot be told."""

    verdict: str
    about: str
    text: str
    by: str = ""


class Key(NamedTuple):
    """A verifier key of signed notes. `id` is what stands before a signature by it."""

    name: str
    kind: int
    public: bytes
    id: bytes


@dataclass(slots=True)
class Trust:
    """Whom the reader believes: keys of logs, keys of witnesses by their names in the policy, and which are enough."""

    logs: list[Key] = field(default_factory=list)
    witnesses: dict[str, Key] = field(default_factory=dict)
    groups: dict[str, tuple[int, tuple[str, ...]]] = field(default_factory=dict)
    quorum: str = "none"

    def met(self, cosigned: Iterable[str], name: str) -> bool:
        """Tell whether these witnesses are enough for the witness or group of that name."""
        least, members = self.groups.get(name, (0, ()))
        return name in ("none", *cosigned) if not members else sum(self.met(cosigned, one) for one in members) >= least


class Head(NamedTuple):
    """A checkpoint that was checked. `own`: by a key that is trusted; `verdict`: what an entry below it is, then."""

    log: str
    size: int
    root: bytes
    own: bool
    verdict: str
    witnesses: tuple[str, ...]


class Found(NamedTuple):
    """An entry whose place in a log was checked. `manifest` is what it names by digest, where that came along."""

    kind: str
    time_ms: int
    fields: dict[str, Any]
    at: int
    head: Head
    manifest: str = ""

    @property
    def place(self) -> str:
        """When it was recorded and where it stands, in words."""
        when = datetime.fromtimestamp(self.time_ms / 1_000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        return f"{when}, entry {self.at:,} of {self.head.log}"


def _sha(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(parts)).digest()


def _base64(text: str, length: int = 0) -> bytes:
    try:
        found = base64.b64decode(text, validate=True)
    except ValueError:
        found = b""
    if not found or base64.b64encode(found).decode() != text or len(found) != (length or len(found)):
        raise Refuted(f"{text[:40]!r} is not base64, or of another length")
    return found


def _number(text: str) -> int:
    if not re.fullmatch(r"0|[1-9][0-9]{0,18}", text):
        raise Refuted(f"{text[:40]!r} is not a number")
    return int(text)


def canonical(value: object) -> bytes:
    """Write JSON in its one form: sorted names, no spaces, UTF-8."""
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return text.encode("utf-8", "surrogatepass")


def _object(content: bytes, what: str) -> dict[str, Any]:
    try:
        return {**json.loads(content.decode())}
    except (ValueError, TypeError, RecursionError) as error:
        raise Unreadable(f"{what} is not a JSON object: {error}") from None


def read_key(text: str) -> Key:
    """Read `name+id+base64`; raises Refuted."""
    name, _, rest = text.partition("+")
    key_id, _, encoded = rest.partition("+")
    said = _base64(encoded)
    key = Key(name, said[0], said[1:], _sha(name.encode(), b"\n", said)[:4])
    if not name or KEY_BYTES.get(key.kind) != len(key.public) or key.id.hex() != key_id:
        raise Refuted(f"the key {name[:60]} is damaged, or of a kind that is not known here")
    return key


def read_trust(text: str) -> Trust:
    """Read a policy; raises Unreadable."""
    trust, quorums = Trust(), list[str]()
    for number, line in enumerate(text.splitlines(), 1):
        if (words := line.split()) and not words[0].startswith("#"):
            try:
                _trust_also(trust, quorums, *words)
            except (ValueError, TypeError) as error:
                raise Unreadable(f"line {number} of the keys that you trust: {error}") from None
    if len(quorums) != 1 or quorums[0] not in ("none", *trust.witnesses, *trust.groups):
        raise Unreadable("the keys that you trust need one line: quorum, and a witness, a group, or none")
    return replace(trust, quorum=quorums[0])


def _trust_also(trust: Trust, quorums: list[str], word: str, name: str, *rest: str) -> None:
    known = {*trust.witnesses, *trust.groups}
    if word == "log":
        trust.logs.append(read_key(name))
    elif word == "quorum":
        quorums.append(name)
    elif name in known or name == "none" or not rest:
        raise ValueError(f"the name {name} is taken, or a word is missing")
    elif word == "witness":
        key = read_key(rest[0])
        if key.public in (other.public for other in trust.witnesses.values()):
            raise ValueError(f"{name} is the same witness as another")
        trust.witnesses[name] = key
    else:
        members = rest[1:]
        least = {"any": 1, "all": len(members)}.get(rest[0]) or _number(rest[0])
        free = known - {one for _, others in trust.groups.values() for one in others}
        if word != "group" or len({*members} & free) != len(members) or not 1 <= least <= len(members):
            raise ValueError("a group has members named before it, each in one group only, and asks for at most all")
        trust.groups[name] = least, members


def _check_signature(key: Key, text: str, head: tuple[str, int, bytes], signature: bytes) -> None:
    (origin, size, root), message, signed = head, text.encode(), signature
    if key.kind != 0x01:
        signed, time_s = signature[8:], int.from_bytes(signature[:8], "big")
        message = f"cosignature/v1\ntime {time_s}\n{text}".encode()
    try:
        if key.kind == 0x06:
            from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey

            name, of = (bytes([len(one)]) + one for one in (key.name.encode(), origin.encode()))
            message = b"subtree/v1\n\0" + name + signature[:8] + of + bytes(8) + size.to_bytes(8, "big") + root
            MLDSA44PublicKey.from_public_bytes(key.public).verify(signed, message)
        else:
            Ed25519PublicKey.from_public_bytes(key.public).verify(signed, message)
    except (InvalidSignature, ValueError, ImportError):
        raise Refuted(f"the signature of {key.name} below a checkpoint of {origin} is not valid") from None


def check_checkpoint(note: str, trust: Trust, brought: Iterable[Key]) -> Head:
    """Check who signed a checkpoint; `brought` are keys that came along with it. Raises Refuted."""
    text, separator, below = note.rpartition("\n\n")
    lines, signed, cosigned = text.split("\n"), False, list[str]()
    if not separator or len(lines) < 3 or not all(lines) or not below.endswith("\n") or len(note) > NOTE_BYTES_MAX:
        raise Refuted("a checkpoint is not a signed note")
    head = origin, _, _ = lines[0], _number(lines[1]), _base64(lines[2], 32)
    trusted = [key for key in trust.logs if key.name == origin]
    own = trusted or [key for key in brought if key.name == origin]
    others = [(who, key) for who, key in trust.witnesses.items() if key.name != origin]
    for line in below[:-1].split("\n"):
        match = re.fullmatch("\u2014 (\\S+) (\\S+)", line)
        if not match:
            raise Refuted(f"below the checkpoint of {origin} is a line that is no signature")
        said = _base64(match[2])
        for who, key in [*(("", key) for key in own), *others]:
            if (key.name, key.id) == (match[1], said[:4]):
                _check_signature(key, text + "\n", head, said[4:])
                signed, cosigned = signed or not who, [*cosigned, *([who] if who else [])]
    if not signed:
        raise Refuted(f"no key that is known for the log {origin} signed its checkpoint")
    verdict = PROVED if trusted and trust.met(cosigned, trust.quorum) else ASSERTED
    return Head(*head, bool(trusted), verdict, tuple(dict.fromkeys(cosigned)))


def root_of(leaf: bytes, index: int, size: int, path: list[bytes]) -> bytes:
    """Return the root of a tree of `size` leaves where the hash `leaf` is at `index`; raises Refuted."""
    place, last, hashes = index, size - 1, iter(path)
    while last > 0:
        if place & 1 or place != last:  # the last node of its height, on the left, has none beside it
            beside = next(hashes, b"")
            leaf = _sha(b"\x01", beside, leaf) if place & 1 else _sha(b"\x01", leaf, beside)
        place, last = place >> 1, last >> 1
    if index >= size or next(hashes, None) is not None:
        raise Refuted(f"a proof is too long, or is about entry {index} of a log that has {size}")
    return leaf


def root_of_range(leaves: list[bytes], start: int, around: Iterator[bytes], low: int, high: int) -> bytes:
    """Return the root from leaf `low` to `high`. `leaves` begin at `start`; `around` are the subtrees beside them."""
    if high <= start or low >= start + len(leaves):
        return next(around) if high else _sha()  # of no leaves at all it is the hash of nothing
    if high - low == 1:
        return leaves[low - start]
    middle = low + (1 << (high - low - 1).bit_length() - 1)
    left = root_of_range(leaves, start, around, low, middle)
    return _sha(b"\x01", left, root_of_range(leaves, start, around, middle, high))


def read_entry(line: bytes, index: int, head: Head, manifest: str = "") -> Found:
    """Read an entry of Fastness; raises Unreadable."""
    said = _object(line, "an entry")
    if [type(said.get(key)) for key in ("fields", "type")] != [dict, str] or not 0 <= said["time_ms"] < MS_MAX:
        raise Unreadable("an entry has another form than those of Fastness")
    return Found(said["type"], int(said["time_ms"]), said["fields"], index, head, manifest)


def check_entry(one: dict[str, str], trust: Trust, brought: Iterable[Key]) -> Found:
    """Check that `one`, an entry and its proof, is in the log that it names; raises Refuted, Unreadable."""
    above, _, note = one["proof"].partition("\n\n")
    heading, index, *hashes = [*above.split("\n"), ""]
    if heading != "c2sp.org/tlog-proof@v1" or not index.startswith("index ") or len(hashes) > 64:
        raise Refuted("a proof is no c2sp.org/tlog-proof@v1")
    at, head, line = _number(index[6:]), check_checkpoint(note, trust, brought), one["entry"].encode()
    if root_of(_sha(b"\x00", line), at, head.size, [_base64(each, 32) for each in hashes[:-1]]) != head.root:
        raise Refuted(f"this is not entry {at:,} of the log {head.log}: the proof leads to another root")
    return read_entry(line, at, head, one.get("manifest", ""))


def verify_receipt(content: bytes, trust: Trust, given: dict[str, bytes], beside: Iterable[Found] = ()) -> list[Claim]:
    """Return what a receipt shows of `given`, the reader's own files; `beside` are entries of a bundle."""
    receipt = _object(content[:RECEIPT_BYTES_MAX], "the receipt")
    try:
        brought = [read_key(one) for one in receipt["keys"]]
        found = check_entry(receipt, trust, brought)
        chain = [*beside, *(check_entry(one, trust, brought) for one in receipt.get("chain", ()))]
        log, _, request = receipt["id"].rpartition(".")
        salts = {name: bytes.fromhex(receipt["salts"].get(salt, "")) for name, salt in SALTS.items()}
        attested = " ".join(one["kind"] for one in receipt.get("attestation", ()))
    except Refuted as refuted:
        return [Claim(REFUTED, "log", str(refuted))]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Unreadable(f"the receipt lacks something, or has it in another form: {error}") from None
    of = (found.head.log.rpartition("/")[2], found.fields.get("request_id"), receipt.get("v"))
    if of != (log, f"req_{request}", 1):
        return [Claim(REFUTED, "log", f"the receipt {receipt['id']} came with the entry of another answer")]
    head, why = found.head, "the log's key came with the receipt: give one of your own with --trust"
    text = f"this answer is entry {found.at:,} of {head.log}, cosigned by {', '.join(head.witnesses) or 'no witness'}"
    return [
        Claim(head.verdict, "log", text, why if not head.own else "" if head.verdict == PROVED else "too few"),
        *(_matched(found, name, salts[name], content) for name, content in given.items()),
        *_chain(found, chain),
        Claim(UNKNOWN, "hardware", "hardware attestation", f"nothing here judges {attested or 'it: no evidence came'}"),
    ]


def _matched(found: Found, name: str, salt: bytes, content: bytes) -> Claim:
    known, label = found.fields.get(f"{name}_commitment"), f"fastness {name} v1\n".encode()
    if known is None or not salt:
        return Claim(UNKNOWN, name, f"the {name}", "its salt was destroyed" if known else "the entry does not bind it")
    if len(salt) == 32 and known in (_sha(label, salt, form).hex() for form in readings(name, content)):
        return Claim(found.head.verdict, name, f"the {name} is the one that you gave")
    return Claim(REFUTED, name, f"the {name} is not the one that you gave, or not to the letter")


def readings(name: str, content: bytes) -> Iterator[bytes]:
    """Return what a file may mean: the bytes themselves, a text, or JSON as the API has it; a last newline is none."""
    for raw in (content, content.removesuffix(b"\n")):
        text = raw.decode("utf-8", "replace")
        forms = [text], [{"content": text} if name == "answer" else {"content": text, "role": "user"}]
        yield from (raw, *(canonical(form) for form in forms if text.encode() == raw))
    try:
        value = json.loads(content)
        if name == "answer":
            value = [_message(one.get("message") or {"content": one["text"]}, asked=False) for one in value["choices"]]
        elif name == "prompt":
            if isinstance(value, dict):
                value = next(value[key] for key in ("messages", "prompt", "input") if key in value)
            value = [value] if isinstance(value, str) or isinstance(value[0], int) else value
            value = [_message(one, asked=True) if isinstance(one, dict) else one for one in value]
        yield canonical(value)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError, StopIteration):
        return


def _message(one: dict[str, Any], *, asked: bool) -> dict[str, Any]:
    kept: dict[str, Any] = {"content": one.get("content") or one.get("refusal") or ""}
    if not isinstance(kept["content"], str):
        kept["content"] = "".join(part.get("text") or part.get("refusal") or "" for part in kept["content"])
    for call in one.get("tool_calls") or ():
        called = {key: call["function"][key] for key in ("arguments", "name")} | ({"id": call["id"]} if asked else {})
        kept.setdefault("tool_calls", []).append(called)
    if asked:
        kept |= {key: one[key] for key in ("name", "tool_call_id") if one.get(key) is not None}
        kept["role"] = "system" if one["role"] == "developer" else one["role"]
    return kept


def _last(chain: Iterable[Found], answer: Found, kind: str, **wanted: object) -> Found | None:
    known = (one for one in chain if one.kind == kind and one.time_ms <= answer.time_ms)
    return max((one for one in known if wanted.items() <= one.fields.items()), key=lambda it: it.time_ms, default=None)


def _chain(answer: Found, chain: list[Found]) -> Iterator[Claim]:
    said = answer.fields
    if answer.kind != "inference.completed":
        yield Claim(answer.head.verdict, "outcome", f"it got no whole answer: {said.get('code', answer.kind)}")
        return
    record, by = "in the record of the answer", "by the gateway, in the record of the answer"
    loaded = _last(chain, answer, "model.loaded", **{it: said.get(it) for it in ("replica", "epoch", "model_digest")})
    for what in ("model", "adapter") if said.get("adapter_digest") else ("model",):
        digest = str(said.get(f"{what}_digest"))
        named = f"{what} {said.get(what)} sha256:{digest}"
        if loaded and digest in (said.get("model_digest"), *str(loaded.fields.get("adapters")).split()):
            text = f"{named} is what {said.get('replica')} had loaded ({loaded.place})"
            text += f", as its node {host} reported" if (host := loaded.fields.get("reported_by")) else ""
            yield Claim(min(answer.head.verdict, loaded.head.verdict), "load", text)  # "asserted" is the lesser word
        else:
            yield Claim(ASSERTED, "load", f"{named} answered", f"{by}; no entry of its loading came")
        yield _admission(answer, chain, named, digest)
    allowed = f"; it allowed this for tenant {said.get('tenant')} under rule {said.get('rule')}"
    for about, kind, more in (("policy", "policy.applied", allowed), ("configuration", "configuration.loaded", "")):
        text = f"{about} sha256:{said.get(about)} was in force{more}"
        if applied := _last(chain, answer, kind, **{about: said.get(about)}):
            yield Claim(min(answer.head.verdict, applied.head.verdict), about, f"{text} ({applied.place})")
        else:
            yield Claim(ASSERTED, about, text, by)
    where = ", ".join(f"{key} {said.get(key) or 'undeclared'}" for key in ("node", "jurisdiction", "operator"))
    yield Claim(ASSERTED, "node", where, f"by the installation, {record}")
    run = f"engine {said.get('engine')} {said.get('build')}, marking {said.get('marking')}, tokens"
    run += f" {said.get('input_tokens')} in, {said.get('output_tokens')} out, recorded {answer.place.split(',')[0]}"
    yield Claim(ASSERTED, "run", run, f"by the gateway and its clock, {record}")


def _admission(answer: Found, chain: list[Found], model: str, weights: str) -> Claim:
    for one in sorted(chain, key=lambda one: -one.time_ms):
        own, listed = one.fields.get("digest"), f"\n{weights}  " in f"\n{one.manifest}"
        named = [own == _sha(one.manifest.encode()).hex(), listed or weights == own]  # the own: of a folder
        if one.kind == "model.revoked" and one.time_ms <= answer.time_ms and all(named):
            return Claim(REFUTED, "admission", f"{model} was revoked before it answered ({one.place})")
        if one.kind == "model.admitted" and one.time_ms <= answer.time_ms and all(named):
            text = f"{model} was admitted by {' and '.join(str(one.fields.get('approvers')).split())} ({one.place})"
            return Claim(min(answer.head.verdict, one.head.verdict), "admission", text)
    if shipped := _last(chain, answer, "model.shipped", model_digest=weights):
        text = f"{model} came with Fastness {shipped.fields.get('version')}, which names it so ({shipped.place})"
        return Claim(ASSERTED, "admission", text, "by the installation, when it began; nobody there was asked")
    return Claim(UNKNOWN, "admission", f"who admitted {model}", "no entry of its admission came")


def verify_bundle(path: Path, trust: Trust) -> tuple[list[Claim], list[Found]]:
    """Return what a bundle shows, and the entries in it that are proved to be in their logs; raises Unreadable."""
    try:
        with zipfile.ZipFile(path) as bundle:
            claims, listed = _members(bundle)
            manifests, found = _manifests(bundle, (name for name in listed if name.startswith("models/"))), []
            for name in sorted({name.rpartition("/")[0] for name in listed if name.startswith("ledger/")}):
                entries = _range(bundle, name, trust, manifests)
                where = f"entries {entries[0].at:,} to {entries[-1].at:,}" if entries else "none of the entries"
                verdict = entries[0].head.verdict if entries else UNKNOWN
                claims.append(Claim(verdict, "log", f"{where} of {name}, none missing and none changed"))
                found += entries
            return [*claims, *_answers(found)], found
    except (Refuted, StopIteration, InvalidSignature) as refuted:
        return [Claim(REFUTED, "bundle", str(refuted) or "a proof or a signature in the bundle is not valid")], []
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError, OSError, zipfile.BadZipFile) as error:
        raise Unreadable(f"the bundle lacks something, or has it in another form: {error}") from None


def _members(bundle: zipfile.ZipFile) -> tuple[list[Claim], list[str]]:
    names, said = bundle.namelist(), bundle.read("manifest.json")
    listed = {one["path"]: one["sha256"] for one in _object(said, "the manifest")["files"]}
    if len(names) > MEMBERS_MAX or sorted(names) != sorted([*listed, "manifest.json", "manifest.sig"]):
        raise Refuted("the bundle has other members than its manifest names")
    for name, digest in listed.items():
        with bundle.open(name) as member:
            if hashlib.file_digest(member, "sha256").hexdigest() != digest:  # type: ignore[arg-type]  # it reads
                raise Refuted(f"{name} is not the one that the manifest names")
    signature = _object(bundle.read("manifest.sig"), "the manifest's signature")
    public = _base64(signature["public_key"], 32)
    Ed25519PublicKey.from_public_bytes(public).verify(_base64(signature["value"]), said)
    text = f"its {len(listed):,} members are those that installation sha256:{_sha(public).hex()} signed"
    return [Claim(ASSERTED, "bundle", text, "by the key in the bundle: compare it with yours")], [*listed]


def _manifests(bundle: zipfile.ZipFile, names: Iterable[str]) -> dict[str, str]:
    """Return the manifest of each artefact that a record of admission in the bundle tells of, by its digest."""
    said = [json.loads(bundle.read(name)).get("admission") or {} for name in names]
    files = [sorted(one["artefact"]["files"], key=lambda file: str(file["path"])) for one in said if one]
    texts = ["".join(f"{one['digest']}  {one['path']}\n" for one in some) for some in files]
    return {_sha(text.encode()).hex(): text for text in texts}


def _range(bundle: zipfile.ZipFile, name: str, trust: Trust, manifests: dict[str, str]) -> list[Found]:
    keys = [read_key(line) for line in bundle.read(f"{name}/vkey").decode().split()]
    head = check_checkpoint(bundle.read(f"{name}/checkpoint").decode(), trust, keys)
    said = _object(bundle.read(f"{name}/range.json"), f"{name}/range.json")
    lines, around = bundle.read(f"{name}/entries").splitlines(), iter([_base64(one, 32) for one in said["hashes"]])
    root = root_of_range([_sha(b"\x00", line) for line in lines], said["start"], around, 0, head.size)
    whole = 0 <= said["start"] == said["end"] - len(lines) and said["end"] <= head.size == said["size"]
    if not whole or root != head.root or [*around] or name != f"ledger/{head.log.rpartition('/')[2]}":
        raise Refuted(f"the entries of {name} are not those of the log {head.log}")
    read = [read_entry(line, at, head) for at, line in enumerate(lines, said["start"])]
    return [one._replace(manifest=manifests.get(str(one.fields.get("digest")), "")) for one in read]


def _answers(found: list[Found]) -> Iterator[Claim]:
    groups: dict[tuple[object, ...], list[Found]] = {}
    keys = ("replica", "epoch", "model_digest", "adapter_digest", "policy", "rule", "tenant", "configuration")
    chain = [one for one in found if not one.kind.startswith("inference.")]
    revoked = [one.time_ms for one in chain if one.kind == "model.revoked"]
    for one in (one for one in found if one.kind == "inference.completed"):
        after = sum(time_ms <= one.time_ms for time_ms in revoked)  # what was true of the first may have ended
        groups.setdefault((after, *(one.fields.get(key) for key in keys)), []).append(one)
    for group in groups.values():
        for claim in _chain(min(group, key=lambda one: one.time_ms), chain):
            yield claim._replace(text=f"{claim.text}, for {len(group):,} answers")


def main(arguments: list[str] | None = None) -> int:
    """Verify what the command line names; returns the exit code."""
    parser = argparse.ArgumentParser(description="Verify a receipt or an evidence bundle of Fastness, offline.")
    parser.add_argument("file", type=Path, help="a receipt (JSON), or a bundle (ZIP)")
    for name in ("trust", "bundle", *SALTS):
        parser.add_argument(f"--{name}", type=Path, metavar="FILE")
    parser.add_argument("--json", action="store_true", help="write the claims as JSON")
    asked = parser.parse_args(arguments)
    try:
        given = {name: getattr(asked, name).read_bytes() for name in SALTS if getattr(asked, name)}
        claims, code = verify(asked.file, asked.trust, asked.bundle, given)
    except (Unreadable, OSError) as error:
        sys.stderr.write(f"cannot be read: {error}\n")
        return 2
    lines = [f"{one.verdict:<10}{one.text}" + (f"   ({one.by})" if one.by else "") for one in claims]
    print(json.dumps([one._asdict() for one in claims]) if asked.json else "\n".join(lines))
    return code


def verify(path: Path, trust: Path | None, bundle: Path | None, given: dict[str, bytes]) -> tuple[list[Claim], int]:
    """Verify the file at `path`, whichever it is, and return claims and exit code; raises Unreadable, OSError."""
    believed, beside, claims = read_trust(trust.read_text()) if trust else Trust(), list[Found](), list[Claim]()
    if zipfile.is_zipfile(path):
        claims, _ = verify_bundle(path, believed)
    else:
        if bundle:
            claims, beside = verify_bundle(bundle, believed)
        shown = verify_receipt(path.read_bytes(), believed, given, beside)
        claims = [*shown, *(one for one in claims if one.verdict == REFUTED)]
    code = 0 if {one.verdict for one in claims if one.about in ("log", *SALTS)} == {PROVED} else 6
    return claims, 1 if any(one.verdict == REFUTED for one in claims) else code


if __name__ == "__main__":
    sys.exit(main())
