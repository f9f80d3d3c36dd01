"""A sentence-embedding BERT of a few hundred bytes: the shape of the real one, none of its sense."""

import json
import struct

TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "hello", "##s", "caf\u00e9", "!")
WIDTH, INNER, LAYERS, POSITIONS, TYPES = 4, 8, 2, 16, 2
CONFIG = {
    "model_type": "bert",
    "hidden_act": "gelu",
    "hidden_size": WIDTH,
    "intermediate_size": INNER,
    "layer_norm_eps": 1e-12,
    "max_position_embeddings": POSITIONS,
    "num_attention_heads": 2,
    "num_hidden_layers": LAYERS,
    "type_vocab_size": TYPES,
    "vocab_size": len(TOKENS),
}
POOLING = {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False, "pooling_mode_max_tokens": False}
TOKENIZER = {
    "tokenizer_class": "BertTokenizer",
    "do_lower_case": True,
    **{f"{role}_token": f"[{role.upper()}]" for role in ("unk", "sep", "pad", "cls", "mask")},
}


def shapes():
    found = {
        "embeddings.word_embeddings.weight": (len(TOKENS), WIDTH),
        "embeddings.position_embeddings.weight": (POSITIONS, WIDTH),
        "embeddings.token_type_embeddings.weight": (TYPES, WIDTH),
        "pooler.dense.weight": (WIDTH, WIDTH),
    }

    def pair(name, *shape):
        found[f"{name}.weight"], found[f"{name}.bias"] = shape, shape[:1]

    pair("embeddings.LayerNorm", WIDTH)
    for number in range(LAYERS):
        layer = f"encoder.layer.{number}."
        for part in ("self.query", "self.key", "self.value", "output.dense"):
            pair(f"{layer}attention.{part}", WIDTH, WIDTH)
        pair(f"{layer}attention.output.LayerNorm", WIDTH)
        pair(f"{layer}intermediate.dense", INNER, WIDTH)
        pair(f"{layer}output.dense", WIDTH, INNER)
        pair(f"{layer}output.LayerNorm", WIDTH)
    return found


def weights(chosen=None, dtype="F32"):
    header, body = {}, b""
    for index, (name, shape) in enumerate((shapes() if chosen is None else chosen).items()):
        count = 1
        for size in shape:
            count *= size
        numbers = struct.pack(f"<{count}f", *(index + step / 100 for step in range(count)))
        content = numbers if dtype == "F32" else numbers[: len(numbers) // 2]
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [len(body), len(body) + len(content)]}
        body += content
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


def folder(**changes):
    files = {
        "config.json": json.dumps(CONFIG).encode(),
        "1_Pooling/config.json": json.dumps(POOLING).encode(),
        "tokenizer_config.json": json.dumps(TOKENIZER).encode(),
        "vocab.txt": "\n".join(TOKENS).encode() + b"\n",
        "model.safetensors": weights(),
    }
    return files | changes
