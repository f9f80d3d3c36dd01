import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastness.registry.safetensors import SafetensorsError, TensorExtent, read_safetensors, read_safetensors_header


def file_of(header, body=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


def entry(start, stop, shape=None, dtype="U8"):
    return {"dtype": dtype, "shape": [stop - start] if shape is None else shape, "data_offsets": [start, stop]}


def read(content):
    return read_safetensors(memoryview(content))


def test_tensors_are_views_on_the_file():
    content = file_of(
        {"__metadata__": {"format": "pt"}, "b": entry(4, 12, [2, 1], "F32"), "a": entry(0, 4)}, b"abcd" + bytes(8)
    )
    tensors = read(content)
    assert bytes(tensors["a"].content) == b"abcd"
    assert (tensors["b"].type, tensors["b"].shape, tensors["b"].content.nbytes) == ("F32", (2, 1), 8)
    assert tensors["a"].content.obj is content


def test_an_empty_tensor_between_two_others_is_fine():
    tensors = read(file_of({"a": entry(0, 2), "none": entry(2, 2), "b": entry(2, 4)}, b"abcd"))
    assert tensors["none"].content.nbytes == 0


HOSTILE = {
    "the file has 3 bytes": b"abc",
    "the header has 18446744073709551615 bytes": b"\xff" * 8,
    "the header has 9 bytes": (9).to_bytes(8, "little") + b"{}",
    "is not JSON": file_of(b"{"),
    "is not a JSON object": file_of(b"[]"),
    "begins with b' '": file_of(b" {}"),
    "NaN, which JSON does not have": file_of(b'{"a": NaN}'),
    "is not an object of strings": file_of({"__metadata__": {"format": 1}}),
    "255 printable ASCII": file_of({"a\n": entry(0, 0)}),
    "same name twice": file_of(b'{"a": 1, "a": 2}'),
    "needs dtype, shape and data_offsets": file_of({"a": {"dtype": "U8", "shape": [0]}}),
    "and nothing else": file_of({"a": entry(0, 0) | {"more": 1}}),
    "has type 'F1'": file_of({"a": entry(0, 0, dtype="F1")}),
    "has type ['U8']": file_of({"a": entry(0, 0, dtype=["U8"])}),
    "shape that is not": file_of({"a": entry(0, 0, shape=[-1])}),
    "list of up to 8": file_of({"a": entry(0, 1, shape=[1] * 9)}, b"a"),
    "data_offsets that are not": file_of({"a": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1, 2]}}, b"a"),
    "has 1 bytes; its shape needs 2": file_of({"a": entry(0, 1, shape=[2])}, b"a"),
    "has -1 bytes": file_of({"a": entry(1, 0, shape=[0])}, b"a"),
    "b begins at 1; the one before it ends at 2": file_of({"a": entry(0, 2), "b": entry(1, 3)}, b"abc"),
    "b begins at 3; the one before it ends at 2": file_of({"a": entry(0, 2), "b": entry(3, 4)}, b"abcd"),
    "the tensors end at 2; the file has 3": file_of({"a": entry(0, 2)}, b"abc"),
    "the tensors end at 4611686018427387904": file_of({"a": entry(0, 1 << 62)}, b"abc"),
    "the header is not JSON: maximum recursion": file_of(b'{"a":' * 100_000),
}


@pytest.mark.parametrize("reason", HOSTILE)
def test_a_hostile_file_is_refused_by_name(reason):
    with pytest.raises(SafetensorsError) as refused:
        read(HOSTILE[reason])
    assert reason in str(refused.value)


def test_the_header_alone_says_where_tensors_lie():
    content = file_of({"__metadata__": {"format": "pt"}, "a": entry(0, 4)}, b"abcd")
    header = read_safetensors_header(memoryview(content[:-4]), len(content))
    assert header.tensors == {"a": TensorExtent("U8", (4,), 0, 4)}
    assert header.metadata == {"format": "pt"}


@given(st.data())
def test_a_damaged_file_is_read_or_refused_and_nothing_else_happens(data):
    content = bytearray(file_of({"a": entry(0, 4), "b": entry(4, 12, [2], "F32")}, bytes(12)))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        tensors = read(bytes(content))
    except SafetensorsError:
        return
    assert sum(tensor.content.nbytes for tensor in tensors.values()) <= len(content)


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_refused_without_another_error(content):
    try:
        read(content)
    except SafetensorsError:
        return
