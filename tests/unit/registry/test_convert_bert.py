import json

import pytest

import tiny_bert
from fastness.registry.convert_bert import ConversionError, convert_bert
from fastness.registry.gguf_reader import read_gguf
from fastness.registry.safetensors import SafetensorsError, read_safetensors


def convert(files):
    parts = []
    convert_bert(
        "tiny", {name: memoryview(content) for name, content in files.items()}, lambda part: parts.append(bytes(part))
    )
    return b"".join(parts)


def converted():
    return read_gguf(memoryview(convert(tiny_bert.folder())))


def value(key):
    return converted().metadata[key].value


def test_the_architecture_is_told_as_llama_cpp_reads_it():
    told = {key: field.value for key, field in converted().metadata.items() if key.startswith("bert.")}
    assert told == {
        "bert.block_count": 2,
        "bert.context_length": 16,
        "bert.embedding_length": 4,
        "bert.feed_forward_length": 8,
        "bert.attention.head_count": 2,
        "bert.attention.layer_norm_epsilon": pytest.approx(1e-12),
        "bert.attention.causal": False,
        "bert.pooling_type": 1,
    }


def test_a_token_that_begins_a_word_is_marked_and_one_that_continues_it_is_not():
    assert value("tokenizer.ggml.tokens") == (
        *("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"),
        *("\u2581hello", "s", "\u2581caf\u00e9", "\u2581!"),
    )


def test_special_tokens_are_control_tokens_and_found_by_their_role():
    assert value("tokenizer.ggml.token_type") == (3, 3, 3, 3, 3, 1, 1, 1, 1)
    roles = {
        role: value(f"tokenizer.ggml.{role}_token_id")
        for role in ("bos", "eos", "unknown", "seperator", "padding", "mask")
    }
    assert roles == {"bos": 2, "eos": 3, "unknown": 1, "seperator": 3, "padding": 0, "mask": 4}


def test_every_tensor_is_carried_over_unchanged_but_the_pooler_that_mean_pooling_never_uses():
    files = tiny_bert.folder()
    content = convert(files)
    header, source = read_gguf(memoryview(content)), read_safetensors(memoryview(files["model.safetensors"]))
    bodies = {content[header.data_offset + tensor.offset :][: tensor.size_bytes] for tensor in header.tensors}
    assert bodies == {bytes(view.content) for name, view in source.items() if not name.startswith("pooler.")}
    assert len(header.tensors) == 5 + 2 * 16


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("token_embd.weight", "embeddings.word_embeddings.weight"),
        ("position_embd.weight", "embeddings.position_embeddings.weight"),
        ("token_types.weight", "embeddings.token_type_embeddings.weight"),
        ("token_embd_norm.bias", "embeddings.LayerNorm.bias"),
        ("blk.1.attn_q.weight", "encoder.layer.1.attention.self.query.weight"),
        ("blk.0.attn_k.bias", "encoder.layer.0.attention.self.key.bias"),
        ("blk.1.attn_v.weight", "encoder.layer.1.attention.self.value.weight"),
        ("blk.0.attn_output.weight", "encoder.layer.0.attention.output.dense.weight"),
        ("blk.0.attn_output_norm.weight", "encoder.layer.0.attention.output.LayerNorm.weight"),
        ("blk.1.ffn_up.weight", "encoder.layer.1.intermediate.dense.weight"),
        ("blk.1.ffn_down.bias", "encoder.layer.1.output.dense.bias"),
        ("blk.1.layer_output_norm.weight", "encoder.layer.1.output.LayerNorm.weight"),
    ],
)
def test_each_tensor_goes_where_llama_cpp_looks_for_it(ours, theirs):
    files = tiny_bert.folder()
    content = convert(files)
    header, source = read_gguf(memoryview(content)), read_safetensors(memoryview(files["model.safetensors"]))
    found = next(tensor for tensor in header.tensors if tensor.name == ours)
    assert content[header.data_offset + found.offset :][: found.size_bytes] == source[theirs].content
    assert found.dimensions == source[theirs].shape[::-1]


def test_the_same_folder_gives_the_same_bytes():
    assert convert(tiny_bert.folder()) == convert(tiny_bert.folder())


def changed(file, base, **changes):
    return tiny_bert.folder(**{file: json.dumps(base | changes).encode()})


def without(name):
    return {key: shape for key, shape in tiny_bert.shapes().items() if key != name}


REFUSED = {
    "model_type is 'gpt2'; only 'bert'": changed("config.json", tiny_bert.CONFIG, model_type="gpt2"),
    "hidden_act is 'relu'": changed("config.json", tiny_bert.CONFIG, hidden_act="relu"),
    "position_embedding_type is 'relative_key'": changed(
        "config.json", tiny_bert.CONFIG, position_embedding_type="relative_key"
    ),
    "num_hidden_layers is 9999": changed("config.json", tiny_bert.CONFIG, num_hidden_layers=9999),
    "Expected `int`, got `str`": changed("config.json", tiny_bert.CONFIG, hidden_size="4"),
    "pooling_mode_mean_tokens is False": changed(
        "1_Pooling/config.json", tiny_bert.POOLING, pooling_mode_mean_tokens=False
    ),
    "pooling_mode_cls_token is True": changed("1_Pooling/config.json", tiny_bert.POOLING, pooling_mode_cls_token=True),
    "do_lower_case is False": changed("tokenizer_config.json", tiny_bert.TOKENIZER, do_lower_case=False),
    "tokenizer_class is 'T5Tokenizer'": changed(
        "tokenizer_config.json", tiny_bert.TOKENIZER, tokenizer_class="T5Tokenizer"
    ),
    "special tokens <mask> are not": changed("tokenizer_config.json", tiny_bert.TOKENIZER, mask_token="<mask>"),
    "8 tokens; config.json says 9": tiny_bert.folder(**{"vocab.txt": "\n".join(tiny_bert.TOKENS[:-1]).encode()}),
    "vocab.txt: not UTF-8": tiny_bert.folder(**{"vocab.txt": b"\xff"}),
    "config.json: JSON is malformed": tiny_bert.folder(**{"config.json": b"{,"}),
    "embeddings.LayerNorm.bias is missing": tiny_bert.folder(
        **{"model.safetensors": tiny_bert.weights(without("embeddings.LayerNorm.bias"))}
    ),
    "is F32 (9, 5); F32 (9, 4) is needed": tiny_bert.folder(
        **{"model.safetensors": tiny_bert.weights(tiny_bert.shapes() | {"embeddings.word_embeddings.weight": (9, 5)})}
    ),
    "is F16 (9, 4)": tiny_bert.folder(**{"model.safetensors": tiny_bert.weights(dtype="F16")}),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_what_cannot_be_converted_is_refused_by_name(reason):
    with pytest.raises(ConversionError) as refused:
        convert(REFUSED[reason])
    assert reason in str(refused.value)


def test_malformed_weights_are_refused():
    with pytest.raises(SafetensorsError):
        convert(tiny_bert.folder(**{"model.safetensors": b"nothing"}))
