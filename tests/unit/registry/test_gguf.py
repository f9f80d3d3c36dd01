import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastness.registry.gguf import F32, TENSOR_TYPES, Field, GgufError, GgufTensorError, Tensor, ValueType, write_gguf
from fastness.registry.gguf_reader import ARRAY_ITEMS_MAX, GgufCutError, read_gguf

WHOLE = {
    ValueType.UINT8: st.integers(0, 2**8 - 1),
    ValueType.INT8: st.integers(-(2**7), 2**7 - 1),
    ValueType.UINT16: st.integers(0, 2**16 - 1),
    ValueType.INT16: st.integers(-(2**15), 2**15 - 1),
    ValueType.UINT32: st.integers(0, 2**32 - 1),
    ValueType.INT32: st.integers(-(2**31), 2**31 - 1),
    ValueType.UINT64: st.integers(0, 2**64 - 1),
    ValueType.INT64: st.integers(-(2**63), 2**63 - 1),
    ValueType.FLOAT32: st.floats(width=32, allow_nan=False),
    ValueType.FLOAT64: st.floats(allow_nan=False),
    ValueType.BOOL: st.booleans(),
    ValueType.STRING: st.text(max_size=20),
}
scalars = st.sampled_from(list(WHOLE)).flatmap(lambda kind: st.builds(Field, st.just(kind), WHOLE[kind]))
arrays = st.sampled_from(list(WHOLE)).flatmap(
    lambda kind: st.builds(Field, st.just(ValueType.ARRAY), st.lists(WHOLE[kind], max_size=5).map(tuple), st.just(kind))
)
names = st.text("abcdefgh._0123", min_size=1, max_size=20)
shapes = st.lists(st.integers(1, 5), min_size=1, max_size=4).map(tuple)


def written(metadata, tensors=()):
    parts = []
    write_gguf(lambda part: parts.append(bytes(part)), metadata, tensors)
    return b"".join(parts)


def tensor(name, dimensions, fill=7):
    count = 1
    for size in dimensions:
        count *= size
    return Tensor(name, F32, dimensions, memoryview(bytes([fill]) * (4 * count)))


def small_file():
    metadata = {
        "general.architecture": Field(ValueType.STRING, "bert"),
        "bert.block_count": Field(ValueType.UINT32, 6),
        "tokens": Field(ValueType.ARRAY, ("a", "bc"), ValueType.STRING),
    }
    return written(metadata, [tensor("one", (3, 2)), tensor("two", (4,))])


def read(content):
    return read_gguf(memoryview(content))


@given(st.dictionaries(names, scalars | arrays, max_size=6), st.dictionaries(names, shapes, max_size=4))
def test_what_is_written_is_read_back(metadata, tensors):
    metadata.pop("general.alignment", None)
    content = written(metadata, [tensor(name, shape, index) for index, (name, shape) in enumerate(tensors.items())])
    header = read(content)
    assert dict(header.metadata) == metadata
    assert {shape.name: shape.dimensions for shape in header.tensors} == tensors
    for index, shape in enumerate(header.tensors):
        start = header.data_offset + shape.offset
        assert start % 32 == 0
        assert set(content[start : start + shape.size_bytes]) == {index}


def test_the_same_input_gives_the_same_bytes():
    assert small_file() == small_file()


def test_text_and_number_are_read_by_key():
    header = read(small_file())
    assert header.text("general.architecture") == "bert"
    assert header.number("bert.block_count") == 6


@pytest.mark.parametrize("key", ["bert.block_count", "absent"])
def test_a_text_that_is_absent_or_no_text_is_an_error_naming_the_key(key):
    with pytest.raises(GgufError, match=key):
        read(small_file()).text(key)


@pytest.mark.parametrize("key", ["general.architecture", "absent"])
def test_a_number_that_is_absent_or_no_number_is_an_error_naming_the_key(key):
    with pytest.raises(GgufError, match=key):
        read(small_file()).number(key)


def test_a_tensor_whose_bytes_do_not_fit_its_shape_is_not_written():
    with pytest.raises(GgufError, match="one has 8 bytes; its shape needs 12"):
        written({}, [Tensor("one", F32, (3,), memoryview(bytes(8)))])


def test_a_file_cut_anywhere_in_header_or_tensors_is_refused():
    content = small_file()
    for cut in range(len(content) - 16):  # the last sixteen bytes are padding
        with pytest.raises(GgufError):
            read(content[:cut])


@given(st.data())
def test_a_damaged_file_is_read_or_refused_and_nothing_else_happens(data):
    content = bytearray(small_file())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        header = read(bytes(content))
    except GgufError:
        return
    for shape in header.tensors:
        assert header.data_offset + shape.offset + shape.size_bytes <= len(content)


def raw(tensors=0, entries=0, body=b"", magic=b"GGUF", version=3):
    return magic + struct.pack("<IQQ", version, tensors, entries) + body + bytes(64)


def text(value):
    return struct.pack("<Q", len(value)) + value


def raw_tensor(name=b"t", dimensions=(4,), kind=F32, offset=0):
    return text(name) + struct.pack(f"<I{len(dimensions)}QIQ", len(dimensions), *dimensions, kind, offset)


ALIGNMENT = text(b"general.alignment") + struct.pack("<I", ValueType.UINT32)
HOSTILE = {
    "begins with": raw(magic=b"GGML"),
    "version is 2": raw(version=2),
    "announces 1152921504606846976 tensors": raw(tensors=1 << 60),
    "announces 18446744073709551615 metadata entries": raw(entries=2**64 - 1),
    "bytes in a metadata key": raw(entries=1, body=struct.pack("<Q", 1 << 40)),
    "is not UTF-8": raw(entries=1, body=text(b"\xff\xfe")),
    "type 77, which does not exist": raw(entries=1, body=text(b"k") + struct.pack("<I", 77)),
    "array of arrays": raw(entries=1, body=text(b"k") + struct.pack("<IIQ", 9, 9, 1)),
    "items of metadata k": raw(entries=1, body=text(b"k") + struct.pack("<IIQ", 9, 4, ARRAY_ITEMS_MAX + 1)),
    "the file's header may reach to": raw(entries=1, body=text(b"k") + struct.pack("<IIQ", 9, 4, ARRAY_ITEMS_MAX)),
    "boolean other than 0 and 1": raw(entries=1, body=text(b"k") + struct.pack("<IB", 7, 2)),
    "metadata k is there twice": raw(entries=2, body=2 * (text(b"k") + struct.pack("<IB", 7, 1))),
    "9 dimensions": raw(tensors=1, body=raw_tensor(dimensions=(1,) * 9)),
    "at least 1 are allowed": raw(tensors=1, body=raw_tensor(dimensions=(4, 0))),
    "1 to 4 of": raw(tensors=1, body=raw_tensor(dimensions=())),
    "type 4, which is not known": raw(tensors=1, body=raw_tensor(kind=4)),
    "needs a multiple of 32": raw(tensors=1, body=raw_tensor(dimensions=(33,), kind=2)),
    "begins at 8; a multiple of 32": raw(tensors=1, body=raw_tensor(offset=8)),
    "ends at 73786976294838206464": raw(tensors=1, body=raw_tensor(dimensions=(1 << 32, 1 << 32))),
    "begins at 9223372036854775808; the one before it ends at 0": raw(tensors=1, body=raw_tensor(offset=1 << 63)),
    "u begins at 0; the one before it ends at 16": raw(tensors=2, body=raw_tensor() + raw_tensor(b"u")),
    "same name": raw(tensors=2, body=2 * raw_tensor()),
    "bytes in a tensor's name": raw(tensors=1, body=raw_tensor(b"n" * 64)),
    "general.alignment is 0": raw(entries=1, body=ALIGNMENT + struct.pack("<I", 0)),
    "general.alignment is 48": raw(entries=1, body=ALIGNMENT + struct.pack("<I", 48)),
}


@pytest.mark.parametrize("reason", HOSTILE)
def test_a_hostile_file_is_refused_by_name(reason):
    with pytest.raises(GgufError) as refused:
        read(HOSTILE[reason])
    assert reason in str(refused.value)


def test_another_alignment_is_honoured():
    field = ALIGNMENT + struct.pack("<I", 64)
    content = raw(1, 1, field + raw_tensor())
    start = (len(content) - 64) + -(len(content) - 64) % 64
    header = read(content[:-64].ljust(start, b"\0") + bytes(64))
    assert header.data_offset == start


def test_bytes_after_the_last_tensor_are_refused():
    with pytest.raises(GgufTensorError, match="the file has 96 bytes of tensors"):
        read(small_file() + bytes(32))


def test_a_hole_between_tensors_is_refused():
    content = raw(2, 0, raw_tensor() + raw_tensor(b"u", offset=64))
    with pytest.raises(GgufTensorError, match="u begins at 64; the one before it ends at 16"):
        read(content + bytes(64))


def test_the_beginning_of_a_file_says_the_same_as_the_whole():
    content = small_file()
    whole = read(content)
    assert read_gguf(memoryview(content[: whole.data_offset]), len(content)) == whole


def test_a_beginning_that_ends_within_the_header_asks_for_more():
    content = small_file()
    for cut in range(8, read(content).data_offset - 32):
        with pytest.raises(GgufCutError):
            read_gguf(memoryview(content[:cut]), len(content))


def test_the_items_of_all_arrays_together_are_bounded():
    key = struct.pack("<Q", 1) + b"%c" + struct.pack("<IIQ", 9, 0, ARRAY_ITEMS_MAX)
    arrays = b"".join(key % (97 + number) + bytes(ARRAY_ITEMS_MAX) for number in range(5))
    with pytest.raises(GgufError, match="metadata e brings the items of all arrays above"):
        read(raw(entries=5, body=arrays))


@pytest.mark.parametrize("name", [b"", b"a\nb", "naïve".encode()])
def test_a_name_that_does_not_print_as_ascii_is_refused(name):
    with pytest.raises(GgufError, match="printable ASCII is needed"):
        read(raw(tensors=1, body=raw_tensor(name)))


@pytest.mark.parametrize("kind", TENSOR_TYPES.values(), ids=lambda kind: kind.name)
def test_every_tensor_type_has_whole_blocks(kind):
    assert kind.items in (1, 32, 256)
    assert kind.block_bytes >= 1
