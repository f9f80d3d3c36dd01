"""What is said of notes, checkpoints and proofs that are none, to the letter."""

from __future__ import annotations

import base64
import re

import pytest

from fastness.ledger.checkpoint import parse_checkpoint
from fastness.ledger.note import NoteInvalid, parse_key, parse_note, parse_signature

ROOT = base64.b64encode(bytes(32)).decode()


@pytest.mark.parametrize(
    ("read", "content", "why"),
    [
        (parse_checkpoint, "a\n1\n", "a checkpoint has three lines or more, each ended by a newline"),
        (parse_checkpoint, f"a\n1\n{ROOT}\n\nb\n", "a checkpoint has no empty line"),
        (parse_checkpoint, f"a\n0\n{ROOT}\n", "a log without entries has the root of the empty tree"),
        (parse_note, b"\xff", "a note is UTF-8; this is not"),
        (parse_note, b"a\tb\n\n", "a note has no control characters but newlines"),
        (parse_note, b"a", "a note is a text, an empty line, and signature lines, each ended by a newline"),
        (parse_signature, "x" * 81, f"{'x' * 80!r} is not a signature line"),
        (parse_key, "x" * 81, f"{'x' * 80!r} is not a key; it needs to be name+id+base64"),
    ],
)
def test_what_is_none_is_told(read, content, why) -> None:
    with pytest.raises((ValueError, NoteInvalid), match=f"^{re.escape(why)}$"):
        read(content)
