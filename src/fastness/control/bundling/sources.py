"""The other parts of a bundle: policies, models, certificates, proofs of the perimeter, materials, settings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from fastness.config import Explanation
from fastness.config.document import configuration_document
from fastness.control.bundling.members import Draft
from fastness.core.event import EventType
from fastness.registry.admission.record import Records
from fastness.registry.library import ModelLibrary
from fastness.store.port import Missing, PolicyStore, Unavailable

HISTORY_MAX: Final = 1_000


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the parts come from. `materials` returns the bill of materials as of a time (seconds since 1970)."""

    home: Path
    policies: PolicyStore
    settings: Mapping[str, Explanation]
    materials: Callable[[float], dict[str, Any]]


def add_sources(draft: Draft, sources: Sources) -> None:
    """Take what there is of them; blocks. Raises OSError, store.port.Unavailable."""
    _add_policies(draft, sources.policies)
    _add_models(draft, sources.home)
    _add_kept(draft, "certificate", sources.home / "retention/certificates", "retention", _shredded(draft))
    _add_kept(draft, "perimeter", sources.home / "perimeter/reports", "perimeter", _proved(draft))
    try:
        draft.add_json("sbom", "sbom/fastness.cdx.json", sources.materials(draft.to_ms / 1_000))
    except (ValueError, OSError) as error:
        draft.lacks("sbom/fastness.cdx.json", f"the bill of materials cannot be made: {type(error).__name__}")
    settings = configuration_document({name: one.value for name, one in sources.settings.items()})
    draft.add("configuration", "configuration.json", settings)


def _add_policies(draft: Draft, store: PolicyStore) -> None:
    history = store.policy_history(HISTORY_MAX)  # newest first
    for newer, one in zip((None, *history), history, strict=False):
        ended_s = None if newer is None else newer.applied_s
        if one.applied_s * 1_000 < draft.to_ms and (ended_s is None or ended_s * 1_000 >= draft.from_ms):
            try:
                draft.add_json("policy", f"policies/{one.version}.json", store.policy(one.version))
            except (Missing, Unavailable):
                draft.lacks(f"policies/{one.version}.json", "the store has no such policy any more")


def _add_models(draft: Draft, home: Path) -> None:
    records = Records(home)
    for card in sorted(ModelLibrary(home).cards(), key=lambda one: one.name):
        try:
            record = records.read(card.name)
        except ValueError:
            record = None
            draft.lacks(f"models/{card.name}.json", "the record of its admission is damaged")
        admission = None if record is None else record.admission
        draft.add_json("admission", f"models/{card.name}.json", {"card": card, "admission": admission})


def _add_kept(draft: Draft, kind: str, folder: Path, at: str, names: Iterable[str]) -> None:
    for name in sorted(set(names)):
        try:
            content = (folder / f"{name}.json").read_bytes()
        except FileNotFoundError:
            draft.lacks(f"{at}/{name}.json", f"the ledger names it, and {folder.name} does not have it")
        else:
            draft.add(kind, f"{at}/{name}.json", content)


def _shredded(draft: Draft) -> list[str]:
    return [str(one.fields.get("disclosure")) for one in _within(draft, EventType.RETENTION_SHREDDED)]


def _proved(draft: Draft) -> list[str]:
    return [str(one.fields.get("report_sha256")) for one in _within(draft, EventType.PERIMETER_PROVED)]


def _within(draft: Draft, kind: EventType) -> list[Any]:
    return [one for one in draft.entries if one.type == kind and draft.from_ms <= one.time_ms < draft.to_ms]
