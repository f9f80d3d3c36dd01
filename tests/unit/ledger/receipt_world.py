"""An installation's logs as they come about, what makes receipts from them, and a witness beside."""

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from fastness.config import LedgerSettings
from fastness.core.event import Event, EventType
from fastness.core.request import ChatRequest, Message, Sampling
from fastness.gateway.canonical import answer_bytes, parameters_bytes, prompt_bytes
from fastness.ledger.commitment import ANSWER, PARAMETERS, PROMPT, REQUEST, commit, salts_of
from fastness.ledger.file import FileLedger
from fastness.ledger.log_key import LogKey
from fastness.ledger.notary import Signing
from fastness.ledger.note import SignatureType, VerifierKey, parse_note
from fastness.ledger.receipts.receipt import Archive, ReceiptId
from fastness.ledger.segments import FileOperations
from fastness.ledger.signing import SigningKey, signing_key

SECRET = b"s" * 32
WEIGHTS = "ab" * 32
MANIFEST = f"{WEIGHTS}  weights.gguf\n"
POLICY, CONFIGURATION = "19c4" * 16, "c0f1" * 16
T0 = 1_763_800_000_000
BODY = b'{"model":"qwen3-32b","messages":[{"role":"user","content":"May I leave?"}],"temperature":0,"max_tokens":9}'
PROMPT_TEXT, ANSWER_TEXT = "May I leave?", 'You may, "at any time" \u2014 caf\u00e9.'


class Unsynced(FileOperations):
    def sync(self, fd: int) -> None:
        pass

    def sync_directory(self, fd: int) -> None:
        pass


def request_id(number: int) -> str:
    return f"req_{sha256(b'%d' % number).hexdigest()[:32]}"


def answered(number: int, tenant: str = "health", secret: bytes = SECRET, **more: Any) -> Event:
    """The entry of an answer as a gateway writes it; `secret` is what its salts follow from."""
    salts = salts_of(secret, request_id(number))
    asked = ChatRequest("qwen3-32b", (Message("user", PROMPT_TEXT),), Sampling(temperature=0.0, max_output_tokens=9))
    fields = {
        "request_id": request_id(number), "operation": "chat", "tenant": tenant, "key": "key_1", "model": "qwen3-32b",
        "stream": False, "band": "standard", "marking": "OFFICIAL", "policy": POLICY, "rule": "ceilings/2",
        "model_digest": WEIGHTS, "total_ms": 812, "replica": "qwen-1", "epoch": 3, "sealed": True, "queue_ms": 4,
        "input_tokens": 12, "output_tokens": 9, "cached_tokens": 0, "choices": 1, "finish": "stop", "ttft_ms": 80,
        "request_commitment": commit(REQUEST, salts.request, BODY),
        "prompt_commitment": commit(PROMPT, salts.request, prompt_bytes(asked)),
        "parameters_commitment": commit(PARAMETERS, salts.request, parameters_bytes(asked)),
        "answer_commitment": commit(ANSWER, salts.answer, answer_bytes([(ANSWER_TEXT, ())])),
        "configuration": CONFIGURATION, "engine": "llamacpp", "build": "xllamacpp 2026.10.11549",
        "node": "bristol-03", "jurisdiction": "GB", "operator": "crown",
    }  # fmt: skip
    return Event(EventType.INFERENCE_COMPLETED, T0 + 1_000 + number, fields | more)


def before_answers() -> dict[str, list[Event]]:
    """What happened in each log before the first answer."""
    digest = sha256(MANIFEST.encode()).hexdigest()
    admitted = {
        "model": "qwen3-32b", "kind": "model", "digest": digest, "ceiling": "OFFICIAL",
        "approvers": "ops-lead security-lead", "licence": "Apache-2.0", "template_sha256": None, "signer": None,
    }  # fmt: skip
    loaded = {
        "replica": "qwen-1", "model": "qwen3-32b", "epoch": 3, "model_digest": WEIGHTS, "engine": "llamacpp",
        "slots": 8, "context_tokens": 2048, "sealed": True,
    }  # fmt: skip
    applied = {"policy": POLICY, "before": None, "version": 1, "by": "ops-lead"}
    configured = {"process": "gateway-0", "configuration": CONFIGURATION, "version": "0.1.0"}
    return {
        "control": [
            Event(EventType.MODEL_ADMITTED, T0, admitted),
            Event(EventType.POLICY_APPLIED, T0 + 1, applied),
        ],
        "node": [Event(EventType.MODEL_LOADED, T0 + 2, loaded)],
        "gateway-0": [Event(EventType.CONFIGURATION_LOADED, T0 + 3, configured)],
    }


@dataclass
class World:
    home: Path
    key: LogKey
    witnesses: dict[str, SigningKey]
    manifests: dict[str, str] = field(default_factory=lambda: {WEIGHTS: MANIFEST})
    secret: Callable[[Mapping[str, Any]], bytes | None] = lambda _: SECRET

    @property
    def signing(self) -> Signing:
        return Signing(self.key, "fastness.example", interval_s=0.01)

    def record(self, log: str, events: list[Event], segment_bytes_max: int = 65_536) -> None:
        """Write events to a log, and sign a checkpoint of all of it."""

        async def write() -> None:
            settings = LedgerSettings(segment_bytes_max=segment_bytes_max)
            directory = self.home / "ledger" / log
            ledger = FileLedger.open(directory, log, settings, lambda: T0, Unsynced(), signing=self.signing)
            await asyncio.gather(*map(ledger.commit, events))
            await ledger.close()

        asyncio.run(write())

    def cosign(self, log: str, *names: str) -> None:
        """Have witnesses cosign the last checkpoint of a log, and keep that."""
        note = parse_note((self.home / "ledger" / log / "checkpoint").read_bytes())
        note = note.signed_also(self.witnesses[name].sign(note.text, T0 // 1_000) for name in names)
        (self.home / "cosigned").mkdir(exist_ok=True)
        (self.home / "cosigned" / log).write_text(str(note))

    def archive(self) -> Archive:
        """Return what makes receipts, having read everything."""
        places = self.home / "ledger", self.home / "receipts", self.home / "cosigned"
        archive = Archive(*places, self.secret, self.manifests.get)
        while archive.catch_up():
            pass
        return archive

    def receipt(self, number: int, *, log: str = "gateway-0", chain: bool = False, tenant: str = "health") -> bytes:
        found = self.archive().receipt(ReceiptId(log, request_id(number)), tenant, chain=chain)
        assert found is not None
        return found

    def key_of(self, log: str) -> VerifierKey:
        return self.key.signers(f"fastness.example/{log}")[0].verifier

    def trust(self, quorum: str = "quorum none", *, logs: tuple[str, ...] = ("gateway-0", "node", "control")) -> str:
        """Return the file of keys that an auditor has."""
        lines = [f"log {self.key_of(log)}" for log in logs]
        lines += [f"witness {name} {key.verifier}" for name, key in self.witnesses.items()]
        return "\n".join([*lines, quorum, ""])


def made_world(home: Path, answers: int = 30) -> World:
    """Return an installation with that many answers in its log, cosigned by two witnesses of three."""
    names = ("audit-office", "health-department", "archive")
    witnesses = {
        name: signing_key(f"{name}.example/w", SignatureType.COSIGNATURE, bytes([10 + number]) * 32)
        for number, name in enumerate(names)
    }
    world = World(home, LogKey(bytes(32), bytes([1]) * 32), witnesses)
    for log, events in before_answers().items():
        world.record(log, events)
    world.record("gateway-0", [answered(number) for number in range(answers)])
    for log in ("gateway-0", "node", "control"):
        world.cosign(log, *names[:2])
    return world


def parsed(receipt: bytes) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(receipt)
    return read
