"""Hostile adapters: of another base, of other shapes, of other methods."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import replace

from fastness.core.admission import ArtefactKind
from hostile_parts import (
    F32V,
    LAYERS,
    WIDTH,
    Case,
    Tensor,
    adapter_tensors,
    directory,
    entry,
    file,
    gguf,
    gguf_adapter,
    model_files,
    peft,
    peft_shapes,
    string,
)

CONFIG, RANK, TARGET, BASE = ("adapter.config",), ("adapter.rank",), ("adapter.target",), ("adapter.base",)
PAIRS, SHAPE = ("adapter.pairs",), ("adapter.shape",)
LAYER = "base_model.model.model.layers.0.self_attn.q_proj"


def adapter_cases() -> Iterator[Case]:
    for each in (*_peft(), *_gguf()):
        yield replace(each, kind=ArtefactKind.ADAPTER)
    yield Case("adapter/model-as-adapter", ("model.kind",), file("small.gguf", gguf()), ArtefactKind.ADAPTER)
    yield Case("adapter/adapter-as-model", ("model.kind",), lambda where: peft(where))
    yield Case("adapter/gguf-as-model", ("model.kind",), file("small.gguf", gguf_adapter()))
    yield Case("adapter/model-files", CONFIG, directory(model_files()), ArtefactKind.ADAPTER)


def _peft() -> Iterator[Case]:
    configs = {
        "method": (CONFIG, {"peft_type": "PREFIX_TUNING"}),
        "no-method": (CONFIG, {"peft_type": ...}),
        "dora": (CONFIG, {"use_dora": True}),
        "bias": (CONFIG, {"bias": "all"}),
        "saved": (CONFIG, {"modules_to_save": ["lm_head"]}),
        "ranks": (CONFIG, {"rank_pattern": {"^.*(a+)+$": 4}}),
        "alphas": (CONFIG, {"alpha_pattern": {"q_proj": 1e9}}),
        "replication": (CONFIG, {"layer_replication": [[0, 10**9]]}),
        "megatron": (CONFIG, {"megatron_config": {}}),
        "mapping": (("json.code",), {"auto_mapping": {"base_model_class": "X", "parent_library": "os"}}),
        "auto-map": (("json.code",), {"auto_map": {"AutoModel": "x.Y"}}),
        "trust": (("json.code",), {"trust_remote_code": True}),
        "rank-100000": (RANK, {"r": 100_000}),
        "rank-0": (RANK, {"r": 0}),
        "rank-negative": (RANK, {"r": -4}),
        "rank-true": (RANK, {"r": True}),
        "rank-text": (RANK, {"r": "4"}),
        "rank-none": (RANK, {"r": ...}),
        "alpha-huge": (RANK, {"lora_alpha": 1e30}),
        "alpha-0": (RANK, {"lora_alpha": 0}),
        "alpha-negative": (RANK, {"lora_alpha": -8}),
        "alpha-none": (RANK, {"lora_alpha": ...}),
        "targets-pattern": (TARGET, {"target_modules": "^(a+)+$"}),
        "targets-all": (TARGET, {"target_modules": "all-linear"}),
        "targets-none": (TARGET, {"target_modules": None}),
        "targets-empty": (TARGET, {"target_modules": []}),
        "targets-head": (TARGET, {"target_modules": ["q_proj", "lm_head"]}),
        "targets-code": (TARGET, {"target_modules": ["os.system"]}),
        "targets-many": (TARGET, {"target_modules": ["q_proj"] * 1_000}),
        "targets-other": (TARGET, {"target_modules": ["k_proj"]}),
        "rank-differs": (SHAPE, {"r": 8}),
        "base-other": (BASE, {"base_model_name_or_path": "owner/Large"}),
        "base-none": (BASE, {"base_model_name_or_path": None}),
        "base-absent": (BASE, {"base_model_name_or_path": ...}),
        "base-empty": (BASE, {"base_model_name_or_path": "/"}),
    }
    for name, (rules, change) in configs.items():
        yield Case(f"adapter/peft-{name}", rules, lambda where, change=change: peft(where, change))
    a, b = f"{LAYER}.lora_A.weight", f"{LAYER}.lora_B.weight"
    honest = peft_shapes()
    shapes = {
        "no-b": (PAIRS, {name: each for name, each in honest.items() if name != b}),
        "extra": (PAIRS, honest | {"model.embed_tokens.weight": (4, 4)}),
        "magnitude": (PAIRS, honest | {f"{LAYER}.lora_magnitude_vector.weight": (WIDTH,)}),
        "embedding": (PAIRS, honest | {"base_model.model.model.embed_tokens.lora_embedding_A": (4, 4)}),
        "head": (PAIRS, honest | {"base_model.model.lm_head.lora_A.weight": (4, 4)}),
        "traversal": (PAIRS, honest | {"../../x.lora_A.weight": (4, 4)}),
        "inner": (SHAPE, honest | {a: (4, WIDTH + 1)}),
        "outer": (SHAPE, honest | {b: (WIDTH * 2, 4)}),
        "ranks": (SHAPE, honest | {a: (5, WIDTH)}),
        "swapped": (SHAPE, honest | {a: honest[b], b: honest[a]}),
        "flat": (SHAPE, honest | {a: (4 * WIDTH,)}),
        "cube": (SHAPE, honest | {b: (WIDTH, 2, 2)}),
        "zero": (("adapter.rank",), honest | {a: (0, WIDTH), b: (WIDTH, 0)}),
        "layer": (
            BASE,
            honest | {a.replace("layers.0", "layers.9"): (4, WIDTH), b.replace("layers.0", "layers.9"): (WIDTH, 4)},
        ),
        "rank-100000": (("adapter.rank", "adapter.shape"), {a: (100_000, WIDTH), b: (WIDTH, 100_000)}),
    }
    for name, (rules, told) in shapes.items():
        yield Case(f"adapter/peft-shape-{name}", rules, lambda where, told=told: peft(where, None, told))
    weights = {"adapter_model.bin": b"\x80\x02}q\x00."}
    yield Case("adapter/peft-pickle", ("file.pickle",), directory({"adapter_config.json": {}} | weights))


def _gguf() -> Iterator[Case]:
    alpha = "adapter.lora.alpha"
    changes = {
        "type": (("model.kind",), {"general.type": string("general.type", "model")}),
        "no-type": (("model.kind",), {"general.type": None}),
        "method": (CONFIG, {"adapter.type": string("adapter.type", "control_vector")}),
        "no-method": (CONFIG, {"adapter.type": None}),
        "alora": (CONFIG, {"x": string("adapter.alora.invocation_tokens", "x")}),
        "architecture": (BASE, {"general.architecture": string("general.architecture", "qwen2")}),
        "no-architecture": (("model.metadata",), {"general.architecture": None}),
        "no-alpha": (RANK, {alpha: None}),
        "alpha-nan": (RANK, {alpha: entry(alpha, F32V, struct.pack("<f", float("nan")))}),
        "alpha-infinity": (RANK, {alpha: entry(alpha, F32V, struct.pack("<f", float("inf")))}),
        "alpha-negative": (RANK, {alpha: entry(alpha, F32V, struct.pack("<f", -1.0))}),
        "alpha-text": (RANK, {alpha: string(alpha, "8")}),
        "base-other": (BASE, {"general.base_model.0.name": string("general.base_model.0.name", "Large")}),
        "base-none": (BASE, {"general.base_model.0.name": None}),
    }
    for name, (rules, change) in changes.items():
        yield Case(f"adapter/gguf-{name}", rules, file("adapter.gguf", gguf_adapter(change)))
    honest = adapter_tensors()
    first = "blk.0.attn_q.weight"
    tensors = {
        "no-b": (PAIRS, honest[:-1]),
        "extra": (PAIRS, [*honest, Tensor("token_embd.weight", (4, 4))]),
        "embedding": (PAIRS, [*honest, Tensor("token_embd.weight.lora_a", (4, 4))]),
        "output": (PAIRS, [Tensor("output.weight.lora_a", (WIDTH, 4)), Tensor("output.weight.lora_b", (4, WIDTH))]),
        "target": (
            TARGET,
            [Tensor("blk.0.attn_norm.weight.lora_a", (WIDTH, 4)), Tensor("blk.0.attn_norm.weight.lora_b", (4, 1))],
        ),
        "inner": (SHAPE, [Tensor(f"{first}.lora_a", (WIDTH + 32, 4)), *honest[1:]]),
        "outer": (SHAPE, [honest[0], Tensor(f"{first}.lora_b", (4, WIDTH + 32)), *honest[2:]]),
        "ranks": (SHAPE, [Tensor(f"{first}.lora_a", (WIDTH, 5)), *honest[1:]]),
        "rank-100000": (
            RANK,
            [Tensor(f"{first}.lora_a", (WIDTH, 100_000)), Tensor(f"{first}.lora_b", (100_000, WIDTH))],
        ),
        "layer": (
            BASE,
            [
                Tensor(f"blk.{LAYERS}.attn_q.weight.lora_{half}", size)
                for half, size in (("a", (WIDTH, 4)), ("b", (4, WIDTH)))
            ],
        ),
    }
    for name, (rules, told) in tensors.items():
        yield Case(f"adapter/gguf-shape-{name}", rules, file("adapter.gguf", gguf_adapter(tensors=told)))
