"""Adapters: LoRA pairs, each held to the layer of the base that it changes. Both formats, one shape."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from fastness.registry.inspection.model import Description, architecture_of
from fastness.registry.inspection.port import ArtefactRefused, Base
from fastness.registry.inspection.weights import Header

ADAPTER_CONFIG: Final = "adapter_config.json"
RANK_MAX: Final = 512
ALPHA_MAX: Final = 4_096.0
TARGETS_MAX: Final = 64

_LAYERS: Final = MappingProxyType(
    {
        "q_proj": "attn_q",
        "k_proj": "attn_k",
        "v_proj": "attn_v",
        "o_proj": "attn_output",
        "qkv_proj": "attn_qkv",
        "gate_proj": "ffn_gate",
        "up_proj": "ffn_up",
        "down_proj": "ffn_down",
        "gate_up_proj": "ffn_up",
        "query": "attn_q",
        "key": "attn_k",
        "value": "attn_v",
    }
)
"""Linear layers that an adapter may change: as PEFT names them, and as GGUF does."""
_GGUF_KEYS: Final = ("adapter.type", "adapter.lora.alpha")
TARGETS: Final = tuple(_LAYERS)
_GGUF_LAYERS: Final = frozenset(_LAYERS.values())

_PEFT_NAME: Final = re.compile(
    r"base_model\.model\.((?:\w+\.){0,4}?layers?\.\d{1,4}\.(?:\w+\.){0,3})(\w+)\.lora_([AB])\.weight"
)
_LAYER_NAME: Final = re.compile(r"(?:\w+\.){0,4}?layers?\.(\d{1,4})\.(?:\w+\.){0,3}(\w+)\.weight")
_GGUF_NAME: Final = re.compile(r"(blk\.\d{1,4}\.(\w+)\.weight)\.lora_([ab])")
_PLAIN_CONFIG: Final = MappingProxyType(
    {
        "bias": ("none",),
        "use_dora": (False,),
        "use_qalora": (False,),
        "modules_to_save": (None, []),
        "rank_pattern": (None, {}),
        "alpha_pattern": (None, {}),
        "layer_replication": (None, []),
        "megatron_config": (None,),
        "loftq_config": (None, {}),
        "eva_config": (None,),
        "corda_config": (None,),
        "arrow_config": (None,),
        "auto_mapping": (None,),
        "exclude_modules": (None, []),
        "target_parameters": (None, []),
        "trainable_token_indices": (None,),
        "layers_to_transform": (None,),
        "layers_pattern": (None, [], ""),
        "lora_bias": (False,),
        "fan_in_fan_out": (False,),
        "alora_invocation_tokens": (None,),
    }
)
"""What may stand in a configuration beside rank and targets only when it asks for nothing."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What an adapter says of itself. `rank` is None where the format has none, and the pairs say it."""

    rank: int | None
    alpha: float
    base_name: str
    targets: frozenset[str]


@dataclass(frozen=True, slots=True)
class Pair:
    """One changed layer of shape (outputs, inputs): `a` is (rank, inputs), `b` (outputs, rank)."""

    layer: str
    target: str
    a: tuple[int, ...]
    b: tuple[int, ...]


def describe_adapter(
    header: Header, jsons: Mapping[str, Any], base: Base | None
) -> tuple[Description, tuple[tuple[str, str], ...]]:
    """Check an adapter against its base; return what it is, and lines for an approver. Raises ArtefactRefused."""
    if base is None:
        raise ArtefactRefused("adapter.base", "an adapter is inspected against its base: name it", header.file)
    is_gguf = header.file.endswith(".gguf")
    claim = _gguf_claim(header, base) if is_gguf else _peft_claim(jsons, header.file)
    _check_base_name(claim.base_name, base, header.file)
    pairs = _pairs(header, _GGUF_NAME if is_gguf else _PEFT_NAME)
    shapes = _Shapes(base)
    ranks = {_check_pair(pair, claim, shapes, header.file) for pair in pairs}
    lines = (
        ("adapter", "LoRA"),
        ("rank", ", ".join(map(str, sorted(ranks)))),
        ("alpha", f"{claim.alpha:g}"),
        ("layers", f"{len(pairs)}: {', '.join(sorted({pair.target for pair in pairs}))}"),
        ("base named", claim.base_name[:128]),
        ("base held to", base.digest),
    )
    return Description(base.architecture, 0, (), ""), lines


def _gguf_claim(header: Header, base: Base) -> Claim:
    metadata = header.metadata
    if (kind := metadata.text("general.type", "model")) != "adapter":
        raise ArtefactRefused("model.kind", f"general.type is {kind[:40]!r}; the importer says adapter", header.file)
    if (method := metadata.text("adapter.type", "")) != "lora":
        raise ArtefactRefused("adapter.config", f"adapter.type is {method[:40]!r}; lora is needed", header.file)
    if (architecture := architecture_of(metadata)) != base.architecture:
        raise ArtefactRefused("adapter.base", f"is for {architecture}; the base is {base.architecture}", header.file)
    if other := [key for key in metadata.fields if key.startswith("adapter.") and key not in _GGUF_KEYS]:
        raise ArtefactRefused("adapter.config", f"has {other[0]}, which a plain LoRA has not", header.file)
    field = metadata.fields.get("adapter.lora.alpha")
    alpha = _alpha(None if field is None else field.value, header.file)
    named = [metadata.text(key, "") for key in ("general.base_model.0.repo_url", "general.base_model.0.name")]
    return Claim(None, alpha, next((name for name in named if name), ""), _GGUF_LAYERS)


def _peft_claim(jsons: Mapping[str, Any], where: str) -> Claim:
    config = jsons.get(ADAPTER_CONFIG)
    if not isinstance(config, dict):
        raise ArtefactRefused("adapter.config", f"an adapter in safetensors needs an {ADAPTER_CONFIG}", where)
    if config.get("peft_type") != "LORA":
        raise ArtefactRefused(
            "adapter.config", f"peft_type is {str(config.get('peft_type'))[:40]!r}; LORA", ADAPTER_CONFIG
        )
    for key, allowed in _PLAIN_CONFIG.items():
        if key in config and not any(type(config[key]) is type(one) and config[key] == one for one in allowed):
            raise ArtefactRefused("adapter.config", f"{key} is {str(config[key])[:60]!r}; a plain LoRA", ADAPTER_CONFIG)
    rank = config.get("r")
    if type(rank) is not int or not 1 <= rank <= RANK_MAX:
        raise ArtefactRefused("adapter.rank", f"r is {str(rank)[:40]}; 1 to {RANK_MAX} is allowed", ADAPTER_CONFIG)
    named = config.get("base_model_name_or_path")
    return Claim(
        rank,
        _alpha(config.get("lora_alpha"), ADAPTER_CONFIG),
        named if isinstance(named, str) else "",
        _targets(config.get("target_modules")),
    )


def _targets(came: Any) -> frozenset[str]:
    """Return the layers that a configuration names; a text would be a regular expression, so only a list will do."""
    if not isinstance(came, list) or not 1 <= len(came) <= TARGETS_MAX:
        raise ArtefactRefused("adapter.target", "target_modules needs to be a list of names", ADAPTER_CONFIG)
    for name in came:
        if not isinstance(name, str) or name not in TARGETS:
            shown = f"{str(name)[:60]!r}; allowed are {', '.join(TARGETS)}"
            raise ArtefactRefused("adapter.target", f"target_modules has {shown}", ADAPTER_CONFIG)
    return frozenset(came)


def _alpha(value: object, where: str) -> float:
    # Written so that nan, which compares as false with everything, is refused.
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= ALPHA_MAX:
        raise ArtefactRefused("adapter.rank", f"alpha is {str(value)[:40]}; up to {ALPHA_MAX:g} is allowed", where)
    return float(value)


def _check_base_name(named: str, base: Base, where: str) -> None:
    """Hold the name that an adapter gives its base to those that the base goes by, without owner, case and signs."""
    came = _folded(named)
    if not came:
        raise ArtefactRefused("adapter.base", "does not name its base", where)
    known = [_folded(name) for name in base.names]
    if not any(name and (name.startswith(came) or came.startswith(name)) for name in known):
        raise ArtefactRefused(
            "adapter.base", f"names {named[:80]!r} as its base; this one is {', '.join(base.names)}", where
        )


def _folded(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.rstrip("/").rpartition("/")[2].lower())


def _pairs(header: Header, pattern: re.Pattern[str]) -> tuple[Pair, ...]:
    halves: dict[tuple[str, str], dict[str, tuple[int, ...]]] = {}
    for tensor in header.tensors:
        found = pattern.fullmatch(tensor.name)
        if not found:
            raise ArtefactRefused(
                "adapter.pairs", f"{tensor.name[:120]!r} is not the lora_A or lora_B of a known layer", header.file
            )
        *_, target, half = found.groups()
        layer = found.group(1) if pattern is _GGUF_NAME else f"{found.group(1)}{target}.weight"
        halves.setdefault((layer, target), {})[half.lower()] = tensor.shape
    for (layer, _), half in halves.items():
        if len(half) != 2:
            raise ArtefactRefused("adapter.pairs", f"{layer} has a lora_{next(iter(half)).upper()} only", header.file)
    return tuple(Pair(layer, target, half["a"], half["b"]) for (layer, target), half in halves.items())


def _check_pair(pair: Pair, claim: Claim, shapes: _Shapes, where: str) -> int:
    """Check one pair and return its rank."""
    if pair.target not in claim.targets:
        allowed = ", ".join(sorted(claim.targets))
        raise ArtefactRefused("adapter.target", f"{pair.layer} is changed; named are {allowed}", where)
    if len(pair.a) != 2 or len(pair.b) != 2 or pair.a[0] != pair.b[1]:
        raise ArtefactRefused("adapter.shape", f"{pair.layer}: {pair.a} and {pair.b} do not fit each other", where)
    rank = pair.a[0]
    if not 1 <= rank <= RANK_MAX:
        raise ArtefactRefused("adapter.rank", f"{pair.layer} has rank {rank}; 1 to {RANK_MAX} is allowed", where)
    if claim.rank not in (None, rank):
        raise ArtefactRefused("adapter.shape", f"{pair.layer} has rank {rank}; {claim.rank} was said", where)
    if (needed := shapes.get(pair.layer)) is None:
        raise ArtefactRefused("adapter.base", f"the base has no {pair.layer}", where)
    if (pair.b[0], pair.a[1]) != needed:
        raise ArtefactRefused(
            "adapter.shape", f"{pair.layer} would be {(pair.b[0], pair.a[1])}; that of the base is {needed}", where
        )
    return rank


class _Shapes:
    """The shapes of a base's layers. An adapter in the other format spells their names in another way."""

    def __init__(self, base: Base) -> None:
        self._named = {tensor.name: tensor.shape for tensor in base.tensors}
        self._numbered = {_numbered(name): shape for name, shape in self._named.items()}

    def get(self, layer: str) -> tuple[int, ...] | None:
        return self._named.get(layer) or self._numbered.get(_numbered(layer))


def _numbered(name: str) -> str:
    """Return a layer's name as GGUF has it, or what came when it is no layer that we know in both spellings."""
    found = _LAYER_NAME.fullmatch(name)
    return f"blk.{found.group(1)}.{_LAYERS[found.group(2)]}.weight" if found and found.group(2) in _LAYERS else name
