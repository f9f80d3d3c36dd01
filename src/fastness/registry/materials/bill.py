"""The bill of materials: what an installation is made of, as a CycloneDX 1.6 document. Nothing is asked of anybody."""

from __future__ import annotations

import hashlib
import json
import platform
import re
import uuid
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from fastness.core.model import ModelCard
from fastness.registry.card import packaged_cards, read_card
from fastness.registry.library import ModelLibrary
from fastness.registry.materials.distributions import Distribution, installed
from fastness.registry.materials.locks import Locked, shipped_locks

SPEC_VERSION: Final = "1.6"
ROOT: Final = "fastness"
_EXPRESSION = re.compile(r"[A-Za-z0-9.+-]+( (AND|OR|WITH) [A-Za-z0-9.+-]+)*")

Document = dict[str, Any]


def materials_of(home: Path, at_s: float) -> Document:
    """Return the bill of this interpreter and of the models below `home`. Blocks: it reads every installed file.

    Of the models that come with Fastness, those are here whose distribution is installed, laid down or not. Raises
    CardError for a card or record of a model that cannot be read.
    """
    distributions = installed()
    names = {one.name for one in distributions}
    shipped = (read_card(text, f"card {name}") for name, text in packaged_cards().items())
    models = {card.name: card for card, source in shipped if source.distribution in names}
    models |= {card.name: card for card in ModelLibrary(home).cards()}
    return bill_of_materials(distributions, [models[name] for name in sorted(models)], shipped_locks(), at_s)


def bill_of_materials(
    distributions: Sequence[Distribution], models: Iterable[ModelCard], locked: Locked, at_s: float
) -> Document:
    """Return the document. Apart from its time it follows from what there is, and its serial number from that."""
    ours = next((one for one in distributions if one.name == ROOT), None)
    others = [one for one in distributions if one.name != ROOT]
    parts = [_platform(), *(_library(one, locked) for one in others), *(_model(one) for one in models)]
    wanted = [{"ref": _ref(one), "dependsOn": _refs(one, distributions)} for one in distributions]
    native = [_ref(one) for one in distributions if one.native]
    body: Document = {
        "metadata": {
            "lifecycles": [{"phase": "operations"}],
            "component": _application(ours),
        },
        "components": parts,
        "dependencies": wanted,
        "compositions": [{"aggregate": "unknown", "assemblies": native}] if native else [],
    }
    digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
    head = {
        "bomFormat": "CycloneDX",
        "specVersion": SPEC_VERSION,
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, digest)}",
        "version": 1,
    }
    body["metadata"] = {"timestamp": f"{datetime.fromtimestamp(int(at_s), UTC):%Y-%m-%dT%H:%M:%SZ}"} | body["metadata"]
    return head | body


def _application(ours: Distribution | None) -> Document:
    if ours is None:
        return {"type": "application", "bom-ref": ROOT, "name": ROOT}
    return _library(ours, {}) | {"type": "application"}


def _library(one: Distribution, locked: Locked) -> Document:
    hashes = locked.get((one.name, one.version), ())
    facts = {
        "locked": str(bool(hashes)).lower(),
        "record-sha256": one.record,
        "files": str(one.files),
        "files-of-machine-code": str(one.native),
        "files-changed": str(len(one.changed)),
    }
    told = [{"name": f"fastness:{name}", "value": value} for name, value in facts.items() if value]
    told += [{"name": "fastness:file-changed", "value": path} for path in one.changed]
    return {
        "type": "library",
        "bom-ref": _ref(one),
        "name": one.name,
        "version": one.version,
        **({"description": one.summary} if one.summary else {}),
        **({"hashes": [{"alg": "SHA-256", "content": each} for each in hashes]} if hashes else {}),
        **_licences(one.licence),
        "purl": f"pkg:pypi/{one.name}@{one.version}",
        "properties": told,
    }


def _model(card: ModelCard) -> Document:
    facts = {
        "kind": str(card.kind),
        "size-bytes": str(card.size_bytes),
        "context-tokens": str(card.context_tokens),
        "shipped": str(card.name in packaged_cards()).lower(),
    }
    return {
        "type": "machine-learning-model",
        "bom-ref": f"model:sha256:{card.digest}",
        "name": card.name,
        "version": f"sha256:{card.digest}",
        "hashes": [{"alg": "SHA-256", "content": card.digest}],
        **_licences(card.licence),
        "properties": [{"name": f"fastness:{name}", "value": value} for name, value in facts.items()],
    }


def _platform() -> Document:
    version = platform.python_version()
    return {
        "type": "platform",
        "bom-ref": "platform:python",
        "name": platform.python_implementation(),
        "version": version,
        "licenses": [{"license": {"id": "PSF-2.0"}}],
        "properties": [
            {"name": "fastness:machine", "value": platform.machine()},
            {"name": "fastness:kernel", "value": f"{platform.system()} {platform.release()}"},
        ],
    }


def _licences(text: str) -> Document:
    if not text:
        return {}
    if _EXPRESSION.fullmatch(text):
        return {"licenses": [{"expression": text}]}
    return {"licenses": [{"license": {"name": text}}]}


def _ref(one: Distribution) -> str:
    return ROOT if one.name == ROOT else f"pkg:pypi/{one.name}@{one.version}"


def _refs(one: Distribution, every: Sequence[Distribution]) -> list[str]:
    return [_ref(other) for other in every if other.name in one.wants and other is not one]
