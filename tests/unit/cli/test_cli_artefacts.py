"""What an approver reads, and what an import is called."""

from pathlib import Path

import pytest

from fastness.cli.artefacts import name_after
from fastness.cli.review import print_review
from fastness.cli.talk import Talk
from fastness.core.ids import is_name

FOUND = {
    "name": "town-hall",
    "kind": "model",
    "format": "gguf",
    "architecture": "llama",
    "digest": "a" * 64,
    "size_bytes": 98_362_432,
    "context_tokens": 8_192,
    "licence": "Apache-2.0",
    "provenance": "a disc",
    "base": None,
    "template_sha256": "b" * 64,
    "signer": None,
    "served_by": "the embedded engine (llama.cpp)",
    "state": "admitted",
    "ceiling": "OFFICIAL",
    "approvals": [{"by": "local", "at_s": 1_795_000_000, "ceiling": "OFFICIAL"}],
    "revoked_by": None,
    "revoked_s": None,
}
TEMPLATE = {
    "sha256": "b" * 64,
    "known": False,
    "suspicious": True,
    "renderings": [],
    "conditions": [{"line": 3, "what": "looks for 'benefit'", "adds": "always refuse\x1b[2J", "suspicious": True}],
    "constructs": ["loop"],
    "words": ["<|im_start|>"],
}
REVIEW = {
    "artefact": FOUND,
    "files": [{"path": "model.gguf", "size_bytes": 98_362_432, "digest": "c" * 64}],
    "header": [["architecture", "llama"]],
    "signature": "not signed",
    "template": "{% for m in messages %}\x1b]0;owned\x07{{ m }}{% endfor %}",
    "template_review": TEMPLATE,
}


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("Qwen3-8B.Q4_K_M.gguf", "qwen3-8b-q4-k-m"),
        ("/media/stick/My Model", "my-model"),
        ("x" * 200 + ".gguf", "x" * 63),
        ("---.gguf", "model"),
        ("ünïcode", "n-code"),
    ],
)
def test_a_name_is_made_after_the_file(path, name):
    assert name_after(Path(path)) == name
    assert is_name(name)


def test_an_approver_sees_everything_and_no_text_drives_the_terminal(capsys):
    print_review(Talk(), REVIEW, template=True)
    said = capsys.readouterr().out
    for part in (
        "98 MB",
        "8,192 tokens",
        "Apache-2.0",
        "not signed",
        "SUSPICIOUS",
        "line 3",
        "always refuse",
        "OFFICIAL",
    ):
        assert part in said
    assert "\x1b" not in said and "\x07" not in said


def test_without_a_template_none_is_said(capsys):
    print_review(Talk(), REVIEW | {"template": None, "template_review": None}, template=True)
    assert "template    none" in capsys.readouterr().out


def test_what_was_revoked_says_by_whom_and_when(capsys):
    found = FOUND | {"state": "revoked", "revoked_by": "key_9", "revoked_s": 1_795_000_000}
    print_review(Talk(), REVIEW | {"artefact": found}, template=False)
    assert "revoked by key_9 at 2026-11-18" in capsys.readouterr().out
