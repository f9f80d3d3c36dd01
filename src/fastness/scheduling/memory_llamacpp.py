"""What llama.cpp takes on the processor. Its buffers are computed as it lays them out; the rest was measured.

Valid for the release that is pinned in pyproject.toml on x86-64: tests hold it to the real engine.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from fastness.core.desired import Parameters
from fastness.core.model import ModelKind
from fastness.scheduling.fit import FitUnknown, MemoryEstimate, ModelShape, WeightRole, kv_token_layer_bytes

ARCHITECTURES: Final = ("llama", "qwen2", "qwen3", "bert")
"""Those whose memory was measured. Others keep state that these formulas do not know (windows, experts, recurrence)."""
REPACKED: Final = frozenset({"Q4_0", "Q4_K", "IQ4_NL", "MXFP4"})
"""Types of which it keeps a second copy in another order, beside the file, wherever they are multiplied with."""
BATCH_TOKENS: Final = 512
"""Tokens computed at once (n_ubatch): no more than all contexts have. An embedding model computes whole texts."""
CELLS: Final = 256
"""The context of a slot is rounded up to a multiple of this."""
FLOAT_BYTES: Final = 4
MASK_BYTES: Final = 2
TOKEN_NUMBERS: Final = 16
"""Numbers a token of the batch beside its activations: its id, position, place in the cache."""
SCRATCH_BYTES: Final = 128 << 10
"""Rounding, and matrices that turn heads before they are quantised."""
_MIB: Final = 1 << 20
BASE_BYTES: Final = 30 * _MIB
"""Python, the pages of libraries that are used, and what the engine holds for any model."""
CHAT_BYTES: Final = 5 * _MIB
"""What only a model that writes needs of these: grammars, templates, samplers."""
TOKEN_BYTES: Final = 240
MERGE_BYTES: Final = 260
"""A token of the vocabulary, and a merge of its tokenizer, in the engine's tables."""
GRAMMAR_TOKEN_BYTES: Final = 330
GRAMMAR_ROOM_BYTES: Final = 160
"""The index for constrained answers: for each token, and for each place of tables that grow by doubling."""
SLOT_BYTES: Final = 256 << 10
"""A slot's connection, the thread that writes to it, and an answer in the making."""
CANDIDATE_BYTES: Final = 18
"""A token that may be next, of which each slot sorts its own list."""
CONTEXT_TOKEN_BYTES: Final = 192
"""A token of a prompt beside its keys and values: as it came in JSON, and as it is remembered."""
THREAD_BYTES: Final = 128 << 10
THREADS_ASSUMED: Final = 16
"""Threads of a replica that takes as many as its node has cores: what it takes is said before there is a node."""
PAGE_TABLES: Final = 1 / 512
"""Part of everything mapped: 8 bytes for a page of 4,096."""
WORK_BYTES: Final[Mapping[str, float]] = MappingProxyType({"F32": 0.0, "F16": 2.0, "BF16": 2.0})
"""Bytes a number into which activations are converted to meet the weights' type; all others: blocks of 8 bits."""
BLOCKS_WORK_BYTES: Final = 36 / 32


def llamacpp_memory(shape: ModelShape, parameters: Parameters, devices: int) -> MemoryEstimate:
    """Return what one replica takes; raises FitUnknown for an architecture or parameters that were not measured."""
    if shape.architecture not in ARCHITECTURES:
        raise FitUnknown(
            f"What a model of the architecture {shape.architecture!r} takes is not known here; it is for "
            f"{', '.join(ARCHITECTURES)}. Say yourself what a replica takes on each device: device_bytes"
        )
    context = min(parameters.slot_context_tokens, shape.context_tokens)
    cells = -(-context // CELLS) * CELLS
    batch = BATCH_TOKENS if shape.kind is ModelKind.CHAT else max(BATCH_TOKENS, context)
    batch = min(batch, parameters.slots * cells)
    cached = shape.architecture != "bert"  # an encoder reads a text at once, and keeps nothing of it
    token = shape.layers * kv_token_layer_bytes(shape, parameters.cache_type) if cached else 0
    weights, cache = _weights(shape), parameters.slots * cells * token
    activations = _activations(shape, parameters.slots, batch, cells if cached else batch)
    tables = int((weights + cache + activations) * PAGE_TABLES)
    return MemoryEstimate(weights, cache, activations, tables + _overhead(shape, parameters, context), devices)


def _weights(shape: ModelShape) -> int:
    """The file as a whole, which every replica has mapped, and the copies in another order."""
    tied = all(one.role is not WeightRole.OUTPUT for one in shape.weights)
    multiplied = {WeightRole.MATRIX, WeightRole.OUTPUT} | ({WeightRole.EMBEDDING} if tied else set())
    copies = sum(one.size_bytes for one in shape.weights if one.role in multiplied and one.type in REPACKED)
    return shape.file_bytes + copies


def _activations(shape: ModelShape, slots: int, batch: int, cells: int) -> int:
    """The compute buffer at its widest point, what is given out of it, and the threads' work space."""
    width, queries = shape.embedding, shape.heads * shape.key_width
    keys = shape.kv_heads * (shape.key_width + shape.value_width)
    gated = 1 if shape.architecture == "bert" else 3
    attention, forward = 3 * queries + keys, gated * shape.feed_forward
    # A slot that writes gives out what its last token leads to; a text that is embedded, what each of its tokens does.
    rows = slots if shape.kind is ModelKind.CHAT else max(slots, batch)
    outputs = slots * shape.vocabulary
    layer = batch * (5 * width + TOKEN_NUMBERS) + max(batch * max(attention, forward), outputs)
    out = rows * (shape.vocabulary + width)
    widest = max(WORK_BYTES.get(one.type, BLOCKS_WORK_BYTES) for one in shape.weights)
    work = int(batch * max(shape.feed_forward, queries, width) * widest)
    return FLOAT_BYTES * (layer + out) + MASK_BYTES * batch * cells + work + SCRATCH_BYTES


def _overhead(shape: ModelShape, parameters: Parameters, context: int) -> int:
    slot = SLOT_BYTES + context * CONTEXT_TOKEN_BYTES
    fixed = BASE_BYTES + shape.vocabulary * TOKEN_BYTES + shape.merges * MERGE_BYTES
    if shape.kind is ModelKind.CHAT:
        slot += shape.vocabulary * CANDIDATE_BYTES
        room = 1 << (shape.vocabulary - 1).bit_length()
        fixed += CHAT_BYTES + shape.vocabulary * GRAMMAR_TOKEN_BYTES + room * GRAMMAR_ROOM_BYTES
    return fixed + parameters.slots * slot + (parameters.threads or THREADS_ASSUMED) * THREAD_BYTES
