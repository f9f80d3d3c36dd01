"""The list of a folder's files: what is written is read back, and nothing that leads out of the folder is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastness.core.file_list import FILES_MAX, LIST_BYTES_MAX, ListedFile, read_list, write_list

NAMES = st.text(st.characters(categories=("L", "N"), include_characters="-_. "), min_size=1, max_size=12).filter(
    lambda name: name not in (".", "..")
)


@given(st.dictionaries(NAMES, st.integers(0, 2**40), min_size=1, max_size=20))
def test_what_is_written_is_read_back(sizes: dict[str, int]) -> None:
    files = [ListedFile(f"weights/{name}", size_bytes) for name, size_bytes in sizes.items()]
    assert set(read_list(write_list(files), sum(sizes.values()))) == set(files)


@given(st.binary(max_size=200))
def test_whatever_comes_is_read_or_refused(text: bytes) -> None:
    try:
        found = read_list(text, 10)
    except ValueError:
        return
    assert write_list(found) == text


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"10 ../secrets/pepper\n", "leads elsewhere"),
        (b"10 /etc/passwd\n", "leads elsewhere"),
        (b"10 a//b\n", "leads elsewhere"),
        (b"10 a/./b\n", "leads elsewhere"),
        (b"10 \n", "leads elsewhere"),
        (b"10 " + b"a" * 256 + b"\n", "leads elsewhere"),
        (b"10 " + b"a/" * 9 + b"a\n", "too long"),
        (b"10 a\0b\n", "not"),
        (b"-10 a\n", "not"),
        (b"10  a", "lines"),
        (b"", "lines"),
        (b"5 b\n5 a\n", "not sorted"),
        (b"5 a\n5 a\n", "twice"),
        (b"5 a\n5 a/b\n", "a folder as a file"),
        (b"9 a\n", "9 bytes together; 10 were admitted"),
        (b"".join(b"0 %04d\n" % number for number in range(FILES_MAX + 1)), "1,025 files, of 1,024"),
        (b"0 " + b"a" * LIST_BYTES_MAX + b"\n", "at most"),
        (b"10 \xff\n", "decode"),
    ],
)
def test_a_list_that_is_none_is_refused(text: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        read_list(text, 10)
