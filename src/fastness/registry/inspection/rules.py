"""The rules of inspection: one closed table, which feeds messages, the ledger and the documentation."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Final


@dataclass(frozen=True, slots=True)
class Rule:
    """One row: `meaning` says what must hold."""

    id: str
    meaning: str


_ROWS: Final = (
    Rule("file.name", "Names are plain ASCII: letters, digits, `.`, `_`, `-`; no dots in front, not too long."),
    Rule("file.unexpected", "Only weights, their known companions and signatures lie in an artefact."),
    Rule("file.symlink", "No symbolic links."),
    Rule("file.special", "No devices, pipes or sockets."),
    Rule("file.linked", "A file has one name in an artefact."),
    Rule("file.depth", "No directories but the few that formats define."),
    Rule("file.count", "Not more files than registry.files_max."),
    Rule("file.size", "Files are not empty, and together not larger than registry.artefact_bytes_max."),
    Rule("file.weights", "One GGUF file, or safetensors files: not both, not none."),
    Rule("file.changed", "Files do not change while they are read."),
    Rule("file.unreadable", "Every file can be opened and read."),
    Rule("file.code", "No programs: no Python, shell or native code, by name or by content."),
    Rule("file.pickle", "No pickles, and no format that carries them, by name or by content."),
    Rule("file.archive", "No archives or compressed files, by name or by content."),
    Rule("file.text", "Companions are UTF-8 text without control characters."),
    Rule("json.malformed", "JSON is strict: one value, no name twice, no NaN or infinity."),
    Rule("json.bounds", "JSON is bounded in bytes, depth and number of values."),
    Rule("json.code", "JSON does not name code to be imported: no auto_map, trust_remote_code, _target_."),
    Rule("gguf.header", "A GGUF header is whole, bounded and of known types."),
    Rule("gguf.tensor", "GGUF tensors have known types and sizes, lie one after the other, and end with the file."),
    Rule("safetensors.header", "A safetensors header is whole, bounded, strict JSON."),
    Rule("safetensors.tensor", "Safetensors tensors have known types, and cover the file without hole or overlap."),
    Rule("model.kind", "The artefact is of the kind that the importer says."),
    Rule("model.metadata", "What describes the model is there, of the right type and within bounds."),
    Rule("model.index", "The index of several weight files names exactly the tensors that are there."),
    Rule("adapter.config", "An adapter is a plain LoRA: no other method, no code, no parts beside it."),
    Rule("adapter.rank", "Rank and alpha of an adapter are within bounds."),
    Rule("adapter.target", "An adapter changes known linear layers only, named one by one."),
    Rule("adapter.pairs", "Each part of an adapter is one lora_A with one lora_B, and nothing else is there."),
    Rule("adapter.shape", "The shapes of each pair fit each other, the rank, and the layer of the base."),
    Rule("adapter.base", "An adapter names its base, and it is the base that the importer names."),
    Rule("template.ambiguous", "A chat template has one text for each of its names."),
    Rule("template.size", "A chat template is not larger than registry.template_bytes_max."),
    Rule("template.syntax", "A chat template is a Jinja template that can be parsed."),
    Rule("template.escape", "A chat template does not reach for Python's internals."),
    Rule("template.include", "A chat template does not load other templates."),
    Rule("template.construct", "A chat template uses only what chat templates need."),
    Rule("template.range", "A chat template does not count or repeat beyond bounds."),
    Rule("template.time", "A chat template renders within registry.template_timeout_s."),
    Rule("template.memory", "A chat template renders in bounded memory, to a bounded text."),
    Rule("template.fails", "A chat template renders at least one standard conversation."),
    Rule(
        "template.content_conditional", "A template that treats some words differently is accepted by its digest only."
    ),
    Rule("limit.time", "Inspection ends in time."),
    Rule("limit.memory", "Inspection needs no more memory than registry.inspection_memory_bytes_max."),
    Rule("limit.crash", "Inspection ends with an answer."),
)

RULES: Final = MappingProxyType({row.id: row for row in _ROWS})
