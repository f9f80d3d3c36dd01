"""A sentence-embedding BERT (a Hugging Face folder) becomes the GGUF that llama.cpp's `bert` architecture reads.

The weights are copied as they are (32-bit floats); only names, metadata and the spelling of the vocabulary change.
The same input always gives the same bytes, so the result can be pinned by digest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final, TypeVar

import msgspec

from fastness.registry.gguf import F32, Field, Scalar, Tensor, ValueType, write_gguf
from fastness.registry.safetensors import TensorView, read_safetensors

CONFIG: Final = "config.json"
POOLING: Final = "1_Pooling/config.json"
TOKENIZER: Final = "tokenizer_config.json"
VOCABULARY: Final = "vocab.txt"
WEIGHTS: Final = "model.safetensors"
FILES: Final = (CONFIG, POOLING, TOKENIZER, VOCABULARY, WEIGHTS)

LAYERS_MAX: Final = 256
VOCABULARY_MAX: Final = 1_048_576
POOLING_MEAN: Final = 1
TOKEN_NORMAL: Final = 1
TOKEN_CONTROL: Final = 3
WORD_START: Final = "\u2581"
"""llama.cpp's mark of a token that begins a word; WordPiece marks the opposite, the token that continues one (`##`)."""


class ConversionError(ValueError):
    """The folder is not a BERT that can be converted; the message names the file and what was needed."""


class _Config(msgspec.Struct, frozen=True):
    model_type: str
    hidden_act: str
    hidden_size: int
    intermediate_size: int
    layer_norm_eps: float
    max_position_embeddings: int
    num_attention_heads: int
    num_hidden_layers: int
    type_vocab_size: int
    vocab_size: int
    position_embedding_type: str = "absolute"


class _Pooling(msgspec.Struct, frozen=True):
    pooling_mode_mean_tokens: bool
    pooling_mode_cls_token: bool = False
    pooling_mode_max_tokens: bool = False


class _Tokenizer(msgspec.Struct, frozen=True):
    tokenizer_class: str
    do_lower_case: bool
    unk_token: str
    sep_token: str
    pad_token: str
    cls_token: str
    mask_token: str


_Shape = TypeVar("_Shape", bound=msgspec.Struct)


def convert_bert(name: str, files: Mapping[str, memoryview], write: Callable[[bytes | memoryview], object]) -> None:
    """Write the GGUF of the folder whose FILES are given as bytes (the weights typically mapped).

    Raises ConversionError for a model that is not a mean-pooled, absolute-position BERT with a lower-case WordPiece
    tokenizer, SafetensorsError for malformed weights.
    """
    config = _parse(CONFIG, files, _Config)
    _need(CONFIG, "model_type", config.model_type, "bert")
    _need(CONFIG, "hidden_act", config.hidden_act, "gelu")
    _need(CONFIG, "position_embedding_type", config.position_embedding_type, "absolute")
    if not 1 <= config.num_hidden_layers <= LAYERS_MAX:
        raise ConversionError(
            f"{CONFIG}: num_hidden_layers is {config.num_hidden_layers}; 1 to {LAYERS_MAX} are allowed"
        )
    pooling = _parse(POOLING, files, _Pooling)
    _need(POOLING, "pooling_mode_mean_tokens", pooling.pooling_mode_mean_tokens, True)
    _need(POOLING, "pooling_mode_cls_token", pooling.pooling_mode_cls_token, False)
    _need(POOLING, "pooling_mode_max_tokens", pooling.pooling_mode_max_tokens, False)
    metadata = _architecture(name, config) | _vocabulary(files, config)
    write_gguf(write, metadata, _tensors(read_safetensors(files[WEIGHTS]), config))


def _parse(file: str, files: Mapping[str, memoryview], shape: type[_Shape]) -> _Shape:
    try:
        return msgspec.json.decode(bytes(files[file]), type=shape)
    except msgspec.DecodeError as error:
        raise ConversionError(f"{file}: {error}") from None


def _need(file: str, key: str, came: object, needed: object) -> None:
    if came != needed:
        raise ConversionError(f"{file}: {key} is {came!r}; only {needed!r} can be converted")


def _architecture(name: str, config: _Config) -> dict[str, Field]:
    return {
        "general.architecture": _text("bert"),
        "general.type": _text("model"),
        "general.name": _text(name),
        "general.file_type": _count(F32),
        "bert.block_count": _count(config.num_hidden_layers),
        "bert.context_length": _count(config.max_position_embeddings),
        "bert.embedding_length": _count(config.hidden_size),
        "bert.feed_forward_length": _count(config.intermediate_size),
        "bert.attention.head_count": _count(config.num_attention_heads),
        "bert.attention.layer_norm_epsilon": Field(ValueType.FLOAT32, config.layer_norm_eps),
        "bert.attention.causal": Field(ValueType.BOOL, False),
        "bert.pooling_type": _count(POOLING_MEAN),
    }


def _vocabulary(files: Mapping[str, memoryview], config: _Config) -> dict[str, Field]:
    tokenizer = _parse(TOKENIZER, files, _Tokenizer)
    _need(TOKENIZER, "tokenizer_class", tokenizer.tokenizer_class, "BertTokenizer")
    _need(TOKENIZER, "do_lower_case", tokenizer.do_lower_case, True)
    try:
        tokens = str(files[VOCABULARY], "utf-8").removesuffix("\n").split("\n")
    except UnicodeDecodeError as error:
        raise ConversionError(f"{VOCABULARY}: not UTF-8: {error}") from None
    if len(tokens) != config.vocab_size or len(tokens) > VOCABULARY_MAX:
        raise ConversionError(
            f"{VOCABULARY}: {len(tokens)} tokens; {CONFIG} says {config.vocab_size}, at most {VOCABULARY_MAX}"
        )
    index = {token: number for number, token in enumerate(tokens)}
    special = {
        "bos": tokenizer.cls_token,  # llama.cpp puts this one before every text ...
        "eos": tokenizer.sep_token,  # ... and this one after it
        "unknown": tokenizer.unk_token,
        "seperator": tokenizer.sep_token,  # spelt so in the format
        "padding": tokenizer.pad_token,
        "mask": tokenizer.mask_token,
    }
    if missing := sorted(set(special.values()) - index.keys()):
        raise ConversionError(f"{VOCABULARY}: the special tokens {', '.join(missing)} are not in it")
    control = set(special.values())
    return {
        "tokenizer.ggml.model": _text("bert"),
        "tokenizer.ggml.tokens": _array(
            ValueType.STRING, tuple(token if token in control else _spelling(token) for token in tokens)
        ),
        "tokenizer.ggml.token_type": _array(
            ValueType.INT32, tuple(TOKEN_CONTROL if token in control else TOKEN_NORMAL for token in tokens)
        ),
        "tokenizer.ggml.token_type_count": _count(config.type_vocab_size),
        "tokenizer.ggml.add_bos_token": Field(ValueType.BOOL, True),
        "tokenizer.ggml.add_eos_token": Field(ValueType.BOOL, True),
        "tokenizer.ggml.normalizer.lowercase": Field(ValueType.BOOL, True),
        **{f"tokenizer.ggml.{role}_token_id": _count(index[token]) for role, token in special.items()},
    }


def _spelling(token: str) -> str:
    return token[2:] if token.startswith("##") else WORD_START + token


def _tensors(views: dict[str, TensorView], config: _Config) -> list[Tensor]:
    return [_tensor(views, *part) for part in _parts(config)]


def _parts(config: _Config) -> Iterator[tuple[str, str, tuple[int, ...]]]:
    """Name every tensor: ours, theirs, and the shape (outermost first) it must have."""
    width, inner = config.hidden_size, config.intermediate_size
    yield "token_embd.weight", "embeddings.word_embeddings.weight", (config.vocab_size, width)
    yield "position_embd.weight", "embeddings.position_embeddings.weight", (config.max_position_embeddings, width)
    yield "token_types.weight", "embeddings.token_type_embeddings.weight", (config.type_vocab_size, width)
    yield from _pair("token_embd_norm", "embeddings.LayerNorm", (width,))
    for layer in range(config.num_hidden_layers):
        ours, theirs = f"blk.{layer}.", f"encoder.layer.{layer}."
        for letter, word in (("q", "query"), ("k", "key"), ("v", "value")):
            yield from _pair(f"{ours}attn_{letter}", f"{theirs}attention.self.{word}", (width, width))
        yield from _pair(f"{ours}attn_output", f"{theirs}attention.output.dense", (width, width))
        yield from _pair(f"{ours}attn_output_norm", f"{theirs}attention.output.LayerNorm", (width,))
        yield from _pair(f"{ours}ffn_up", f"{theirs}intermediate.dense", (inner, width))
        yield from _pair(f"{ours}ffn_down", f"{theirs}output.dense", (width, inner))
        yield from _pair(f"{ours}layer_output_norm", f"{theirs}output.LayerNorm", (width,))


def _pair(ours: str, theirs: str, shape: tuple[int, ...]) -> Iterator[tuple[str, str, tuple[int, ...]]]:
    yield f"{ours}.weight", f"{theirs}.weight", shape
    yield f"{ours}.bias", f"{theirs}.bias", shape[:1]


def _tensor(views: dict[str, TensorView], ours: str, theirs: str, shape: tuple[int, ...]) -> Tensor:
    view = views.get(theirs)
    if view is None:
        raise ConversionError(f"{WEIGHTS}: tensor {theirs} is missing")
    if (view.type, view.shape) != ("F32", shape):
        raise ConversionError(f"{WEIGHTS}: tensor {theirs} is {view.type} {view.shape}; F32 {shape} is needed")
    return Tensor(ours, F32, shape[::-1], view.content)


def _text(value: str) -> Field:
    return Field(ValueType.STRING, value)


def _count(value: int) -> Field:
    return Field(ValueType.UINT32, value)


def _array(item_type: ValueType, items: tuple[Scalar, ...]) -> Field:
    return Field(ValueType.ARRAY, items, item_type)
