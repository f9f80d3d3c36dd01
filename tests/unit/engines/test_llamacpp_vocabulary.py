"""What is read of a GGUF file inside the seal, and what becomes of the chat template."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from fastness.engines.literal import literal_template
from fastness.engines.llamacpp.vocabulary import read_vocabulary


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def pair(key: str, kind: int, value: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + value


def gguf(*pairs: bytes) -> bytes:
    return struct.pack("<4sIQQ", b"GGUF", 3, 0, len(pairs)) + b"".join(pairs) + b"\0" * 32


TOKENS = ("a", "<|end|>", "b", "</s>")
WHOLE = gguf(
    pair("general.architecture", 8, text("llama")),
    pair("llama.rope.freq_base", 6, struct.pack("<f", 1e5)),
    pair("tokenizer.ggml.add_bos_token", 7, b"\1"),
    pair("tokenizer.ggml.tokens", 9, struct.pack("<IQ", 8, len(TOKENS)) + b"".join(map(text, TOKENS))),
    pair("tokenizer.ggml.token_type", 9, struct.pack("<IQ4i", 5, 4, 1, 3, 1, 3)),
    pair("tokenizer.ggml.merges", 9, struct.pack("<IQ", 8, 2) + text("a b") + text("b a")),
    pair("tokenizer.chat_template", 8, text("{{ messages }}")),
)


def test_the_template_and_the_control_tokens_are_found(tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(WHOLE)
    assert read_vocabulary(tmp_path / "m") == ("{{ messages }}", ("<|end|>", "</s>"))


def test_a_model_without_either_is_fine(tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(gguf(pair("general.architecture", 8, text("bert"))))
    assert read_vocabulary(tmp_path / "m") == (None, ())


@pytest.mark.parametrize("kept", [*range(1, 24), *range(25, len(WHOLE) - 60, 7)])
def test_a_file_that_ends_early_is_a_value_error(tmp_path: Path, kept: int) -> None:
    (tmp_path / "m").write_bytes(WHOLE[:kept])
    with pytest.raises(ValueError, match="GGUF"):
        read_vocabulary(tmp_path / "m")


def test_nonsense_is_a_value_error(tmp_path: Path) -> None:
    for nonsense in (b"x" * 100, gguf(pair("k", 77, b"")), gguf(text("k") + struct.pack("<IIQ", 9, 8, 2**60))):
        (tmp_path / "m").write_bytes(nonsense)
        with pytest.raises(ValueError, match="GGUF"):
            read_vocabulary(tmp_path / "m")


def test_control_tokens_are_parted_in_the_template() -> None:
    written = literal_template("{{ messages }}", ("<|end|>", "it's", "x"))
    assert "replace('<|end|>', '< |end|>')" in written
    assert r"replace('it\'s', 'i t\'s')" in written
    assert "'x'" not in written, "one character cannot be parted"
    assert written.endswith("{{ messages }}")
