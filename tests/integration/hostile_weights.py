"""Hostile weights: GGUF and safetensors files that lie about themselves."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator

from hostile_parts import (
    ARRAY,
    BOOL,
    F32V,
    I32,
    TEXT,
    U16,
    U32,
    U64,
    VOCABULARY,
    WIDTH,
    Case,
    Tensor,
    directory,
    entry,
    file,
    gguf,
    gguf_parts,
    hf_shapes,
    honest_metadata,
    honest_tensors,
    model_files,
    numbers,
    packed,
    safetensors,
    string,
    text,
    texts,
    u32,
)

HEADER = ("gguf.header",)
TENSOR = ("gguf.tensor",)
EITHER = ("gguf.header", "gguf.tensor", "file.size")
METADATA = ("model.metadata",)
HUGE = (1 << 17, 1 << 31, (1 << 32) - 1, 1 << 32, 1 << 60, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)


def gguf_cases() -> Iterator[Case]:
    yield from _truncated()
    for name, rules, content in _gguf_contents():
        yield Case(f"gguf/{name}", rules, file("small.gguf", content))


def _truncated() -> Iterator[Case]:
    """Cut at every structural boundary, and one byte before it."""
    parts = gguf_parts(honest_metadata(None).values(), honest_tensors()[:3])
    whole, at = b"".join(parts), 0
    for number, part in enumerate(parts[:-1]):  # the last is padding, which a file may lack
        for cut in sorted({at, max(0, at + len(part) - 1)}):
            if part and cut < len(whole) - len(parts[-1]):
                yield Case(f"gguf/cut-{number}-at-{cut}", EITHER, file("small.gguf", whole[:cut]))
        at += len(part)


def _gguf_contents() -> Iterator[tuple[str, tuple[str, ...], bytes]]:
    whole = gguf()
    for magic in (b"GGML", b"GGJT", b"gguf", b"FUGG", bytes(4)):
        yield f"magic-{magic.hex()}", HEADER, magic + whole[4:]
    for version in (0, 1, 2, 4, 0x0300_0000, 2**32 - 1):
        yield f"version-{version}", HEADER, whole[:4] + struct.pack("<I", version) + whole[8:]
    for count in HUGE:
        yield f"tensors-{count}", EITHER, gguf(counts=(count, None))
        yield f"entries-{count}", HEADER, gguf(counts=(None, count))
        yield f"key-{count}", HEADER, _with([struct.pack("<Q", count) + b"k", struct.pack("<I", U32), bytes(4)])
        yield f"string-{count}", HEADER, _with(entry("k", TEXT, struct.pack("<Q", count) + b"v"))
        yield f"array-{count}", HEADER, _with(entry("k", ARRAY, struct.pack("<IQ", I32, count)))
        yield f"texts-{count}", HEADER, _with(entry("k", ARRAY, struct.pack("<IQ", TEXT, count)))
    for fewer in (len(honest_tensors()) - 1, len(honest_tensors()) + 1):
        yield f"tensors-counted-{fewer}", EITHER, gguf(counts=(fewer, None))
    for fewer in (len(honest_metadata()) - 1, len(honest_metadata()) + 1):
        yield f"entries-counted-{fewer}", EITHER, gguf(counts=(None, fewer))
    for kind in (13, 14, 77, 255, 2**31, 2**32 - 1):
        yield f"type-{kind}", HEADER, _with(entry("k", kind, bytes(8)))
        yield f"item-type-{kind}", HEADER, _with(entry("k", ARRAY, struct.pack("<IQ", kind, 1) + bytes(8)))
    for depth in (1, 2, 1_000, 100_000):
        nested = struct.pack("<IQ", ARRAY, 1) * depth + struct.pack("<IQ", U32, 1) + bytes(4)
        yield f"nested-{depth}", HEADER, _with(entry("k", ARRAY, nested))
    yield "boolean-2", HEADER, _with(entry("k", BOOL, b"\x02"))
    yield "booleans-255", HEADER, _with(entry("k", ARRAY, struct.pack("<IQ", BOOL, 2) + b"\x01\xff"))
    yield "key-twice", HEADER, _with([*u32("k", 1), *u32("k", 1)], 2)
    yield "architecture-twice", HEADER, _with([*string("a", "x"), *string("general.architecture", "bert")], 2)
    for number, name in enumerate((b"\xff\xfe", b"a\x00b", b"a\nb", b"", "nam\u202ee".encode(), b"k" * 300)):
        yield f"key-name-{number}", HEADER, _with(entry(name, U32, bytes(4)))
        yield f"tensor-name-{number}", HEADER, gguf(tensors=[Tensor(name, (4,))])
    yield "text-no-utf8", HEADER, _with(entry("k", TEXT, text(b"\xc3\x28")))
    yield from _tensors()
    yield from _alignments()
    yield from _metadata()


def _with(parts: list[bytes], entries: int = 1) -> bytes:
    """An honest file with more entries at its end."""
    found = [*honest_metadata(None).values(), parts]
    return b"".join(gguf_parts(found, honest_tensors(), (None, len(found) - 1 + entries)))


def _tensors() -> Iterator[tuple[str, tuple[str, ...], bytes]]:
    wraps = (
        (2**32, 2**32),
        (2**63, 2),
        (2**61, 8),
        (3, 6148914691236517206),
        (2**64 - 32,),
        (2**62, 4, 1, 1),
        (2**40,),
    )
    for number, dimensions in enumerate(wraps):
        yield f"product-{number}", TENSOR, gguf(tensors=[Tensor("t", dimensions, size_bytes=64)])
    for number, dimensions in enumerate(((0,), (4, 0), (), (-1,), (2, 2, 2, 2, 2), (1,) * 9)):
        yield f"dimensions-{number}", TENSOR, gguf(tensors=[Tensor("t", dimensions, size_bytes=64)])
    many = struct.pack("<Q", 1) + b"t" + struct.pack("<I", 2**32 - 1)
    yield "dimensions-many", EITHER, b"".join(gguf_parts([[]], [], (1, 0))[:4]) + many + bytes(64)
    for kind in (4, 5, 9, 31, 32, 33, 36, 37, 38, 41, 255, 2**31, 2**32 - 1):
        yield f"tensor-type-{kind}", TENSOR, gguf(tensors=[Tensor("t", (256,), kind, size_bytes=1_024)])
    for kind, items in ((2, 33), (8, 31), (12, 255), (14, 257), (23, 32)):
        yield f"block-{kind}", TENSOR, gguf(tensors=[Tensor("t", (items,), kind, size_bytes=1_024)])
    one, two = Tensor("a", (16,)), Tensor("b", (16,))
    for number, (first, second) in enumerate(((0, 0), (0, 32), (64, 0), (0, 128), (32, 96), (0, 65), (0, 2**64 - 32))):
        moved = [Tensor(one.name, one.dimensions, offset=first), Tensor(two.name, two.dimensions, offset=second)]
        yield f"offsets-{number}", TENSOR, gguf(tensors=moved)
    for offset in (1, 31, 32, 2**32, 2**63, 2**64 - 64):
        yield f"offset-{offset}", TENSOR, gguf(tensors=[Tensor("a", (16,), offset=offset)])
    yield "same-name", TENSOR, gguf(tensors=[one, one])
    yield "says-more", TENSOR, gguf(tensors=[Tensor("a", (64,), size_bytes=32)])
    yield "says-less", TENSOR, gguf(tensors=[Tensor("a", (16,), size_bytes=256)])
    yield "type-lies", TENSOR, gguf(tensors=[Tensor("a", (256,), 1, size_bytes=1_024)])
    yield "none", TENSOR, gguf(tensors=[])
    for size_bytes in (1, 32, 65_536):
        yield f"tail-{size_bytes}", TENSOR, gguf() + b"\x90" * size_bytes


def _alignments() -> Iterator[tuple[str, tuple[str, ...], bytes]]:
    key = "general.alignment"
    for value in (0, 1, 3, 7, 48, 2**17, 2**31, 2**32 - 1):
        yield f"alignment-{value}", HEADER, gguf({key: u32(key, value)})
    yield "alignment-u64", HEADER, gguf({key: entry(key, U64, struct.pack("<Q", 32))})
    yield "alignment-u16", HEADER, gguf({key: entry(key, U16, struct.pack("<H", 32))})
    yield "alignment-text", HEADER, gguf({key: string(key, "32")})
    yield "alignment-64", TENSOR, gguf({key: u32(key, 4_096)})


def _metadata() -> Iterator[tuple[str, tuple[str, ...], bytes]]:
    for key in ("general.architecture", "llama.context_length", "llama.block_count", "llama.embedding_length"):
        yield f"without-{key}", METADATA, gguf({key: None})
        yield f"wrong-type-{key}", METADATA, gguf({key: entry(key, F32V, bytes(4))})
    for value in (0, 2**31, 2**32 - 1):
        yield f"context-{value}", METADATA, gguf({"llama.context_length": u32("llama.context_length", value)})
        yield f"layers-{value}", METADATA, gguf({"llama.block_count": u32("llama.block_count", value)})
    for key in ("llama.attention.head_count", "llama.feed_forward_length", "llama.vocab_size"):
        yield f"zero-{key}", METADATA, gguf({key: u32(key, 0)})
        yield f"negative-{key}", METADATA, gguf({key: entry(key, I32, struct.pack("<i", -5))})
        yield f"huge-{key}", METADATA, gguf({key: entry(key, U64, struct.pack("<Q", 2**63))})
    for number, name in enumerate(("../../etc", "Llama", "", "a" * 65, "x y")):
        yield f"architecture-{number}", METADATA, gguf({"general.architecture": string("general.architecture", name)})
    tokens, kinds = "tokenizer.ggml.tokens", "tokenizer.ggml.token_type"
    yield "tokens-numbers", METADATA, gguf({tokens: numbers(tokens, I32, "i", range(VOCABULARY))})
    yield "tokens-fewer", METADATA, gguf({tokens: texts(tokens, ["a"])})
    yield "tokens-one-text", METADATA, gguf({tokens: string(tokens, "a")})
    yield "types-more", METADATA, gguf({kinds: numbers(kinds, I32, "i", [1] * (VOCABULARY + 1))})
    yield "types-floats", METADATA, gguf({kinds: numbers(kinds, F32V, "f", [1.0] * VOCABULARY)})
    yield "merges-numbers", METADATA, gguf({"tokenizer.ggml.merges": u32("tokenizer.ggml.merges", 1)})
    yield "split", METADATA, gguf({"split.count": entry("split.count", U16, struct.pack("<H", 3))})
    yield "token-id", METADATA, gguf({"tokenizer.ggml.bos_token_id": u32("tokenizer.ggml.bos_token_id", 2**31)})
    for kind in ("adapter", "vocab", "imatrix", "mmproj"):
        yield f"kind-{kind}", ("model.kind",), gguf({"general.type": string("general.type", kind)})


# --- safetensors -----------------------------------------------------------------------------------------------------

S_HEADER = ("safetensors.header",)
S_TENSOR = ("safetensors.tensor",)
S_EITHER = ("safetensors.header", "safetensors.tensor", "file.size")


def safetensors_cases() -> Iterator[Case]:
    whole = packed(hf_shapes())
    header_end = 8 + int.from_bytes(whole[:8], "little")
    for cut in (1, 7, 8, 9, header_end - 1, header_end, header_end + 1, len(whole) - 1, len(whole) // 2):
        yield _weights(f"cut-{cut}", S_EITHER, whole[:cut])
    length = header_end - 8
    for lie in (0, 1, length - 1, length + 1, len(whole), 2**24 + 1, 2**31, 2**32, 2**62, 2**63, 2**64 - 1, 2**64 - 8):
        yield _weights(f"length-{lie}", S_EITHER, struct.pack("<Q", lie) + whole[8:])
    for number, text_ in enumerate(
        (b"", b"[]", b"null", b"{", b'{"a":}', b" {}", b"\xef\xbb\xbf{}", b"{}}", b'"a"', b"{}\x00")
    ):
        yield _weights(f"json-{number}", S_EITHER, safetensors(text_))
    bombs = (
        b'{"a":' * 100_000,
        b'{"a":[' + b"[" * 200_000,
        '{"a": 1}'.encode("utf-16"),
        b'{"a": NaN}',
        b'{"a": 1e999}',
    )
    for number, text_ in enumerate(bombs):
        yield _weights(f"bomb-{number}", S_EITHER, safetensors(text_))
    yield _weights("digits", S_EITHER, safetensors(b'{"a": ' + b"9" * 100_000 + b"}"))
    yield _weights("many-empty", S_EITHER, safetensors(b'{"a":[' + b"[]," * 300_000 + b"[]]}"))
    one = {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}
    for name, change in _entries():
        yield _weights(f"entry-{name}", S_TENSOR, safetensors({"a": one | change}, bytes(16)))
    for number, came in enumerate((1, None, [], "F32", [one], {"dtype": "F32"}, one | {"more": 1})):
        yield _weights(f"no-entry-{number}", S_TENSOR, safetensors({"a": came}, bytes(16)))
    for number, (first, second) in enumerate(
        (((0, 16), (0, 16)), ((0, 16), (8, 24)), ((0, 16), (32, 48)), ((16, 32), (32, 48)))
    ):
        pair = {"a": one | {"data_offsets": list(first)}, "b": one | {"data_offsets": list(second)}}
        yield _weights(f"extents-{number}", S_TENSOR, safetensors(pair, bytes(48)))
    yield _weights("tail", S_TENSOR, safetensors({"a": one}, bytes(17)))
    yield _weights("none", S_TENSOR, safetensors({}))
    yield _weights("none-with-body", S_TENSOR, safetensors({}, bytes(64)))
    encoded = json.dumps(one)
    yield _weights("same-name", S_HEADER, safetensors(f'{{"a": {encoded}, "a": {encoded}}}'.encode(), bytes(16)))
    yield _weights("same-key", S_HEADER, safetensors(b'{"a": {"dtype": "F32", "dtype": "U8"}}', bytes(16)))
    yield _weights("metadata-twice", S_HEADER, safetensors(b'{"__metadata__": {}, "__metadata__": {}}'))
    for number, came in enumerate((1, [], {"a": 1}, {"a": {"b": "c"}}, None)):
        yield _weights(f"metadata-{number}", S_HEADER, safetensors({"__metadata__": came, "a": one}, bytes(16)))
    for number, name in enumerate(("", "a\nb", "a\x00", "n\u00e4me", "k" * 300)):
        yield _weights(f"name-{number}", S_HEADER, safetensors({name: one}, bytes(16)))


def _entries() -> Iterator[tuple[str, dict[str, object]]]:
    for dtype in ("F16", "F64", "U8", "f32", "F8", "O", "<f4", "", None, 1, ["F32"], {"F32": 1}):
        yield f"dtype-{dtype}", {"dtype": dtype}
    shapes = (
        [-4],
        [5],
        [4, 0],
        [2**32, 2**32],
        [2**63],
        [2**64 - 1, 2],
        [1] * 9 + [4],
        [4.0],
        ["4"],
        [True],
        4,
        None,
        [[4]],
    )
    for number, shape in enumerate(shapes):
        yield f"shape-{number}", {"shape": shape}
    offsets = (
        [16, 0],
        [-16, 0],
        [0, 2**63],
        [0, 2**64 + 16],
        [2**64 - 16, 2**64],
        [0],
        [0, 8, 16],
        [0.0, 16.0],
        ["0", "16"],
        None,
    )
    for number, each in enumerate(offsets):
        yield f"offsets-{number}", {"data_offsets": each}


def _weights(name: str, rules: tuple[str, ...], content: bytes) -> Case:
    return Case(f"safetensors/{name}", rules, directory(model_files(model_safetensors=content)))


def index_cases() -> Iterator[Case]:
    """Several files of weights, and an index that does not fit them."""
    shapes = hf_shapes()
    names = list(shapes)
    files = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
    halves = ({name: shapes[name] for name in names[:3]}, {name: shapes[name] for name in names[3:]})
    right = {name: files[0] if name in halves[0] else files[1] for name in names}
    wrong = {
        "absent": None,
        "empty": {},
        "list": {"weight_map": []},
        "fewer": {"weight_map": dict(list(right.items())[1:])},
        "more": {"weight_map": right | {"extra": files[0]}},
        "elsewhere": {"weight_map": right | {names[0]: files[1]}},
        "traversal": {"weight_map": right | {names[0]: "../../" + files[0]}},
        "remote": {"weight_map": right | {names[0]: "https://example.org/" + files[0]}},
        "number": {"weight_map": right | {names[0]: 1}},
    }
    for name, index in wrong.items():
        parts = dict(zip(files, map(packed, halves), strict=True))
        told = model_files(model_safetensors=None) | parts | {"model.safetensors.index.json": index}
        yield Case(f"index/{name}", ("model.index",), directory(told))
    twice = model_files(model_safetensors=None) | dict.fromkeys(files, packed(shapes | {"x": (WIDTH,)}))
    yield Case(
        "index/twice", ("model.index",), directory(twice | {"model.safetensors.index.json": {"weight_map": right}})
    )
