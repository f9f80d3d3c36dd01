"""Hostile directories: what has no place in an artefact, content that is not what its name says, and JSON with code."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import pickle
import socket
import struct
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

from hostile_parts import CONFIG, TOKENIZER, Case, directory, file, folder, gguf, hf_shapes, model_files, packed


class Payload:
    """What a hostile pickle would do: nothing worse than this, should a reader ever unpickle it."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return os.getenv, ("FASTNESS_CORPUS_WAS_EXECUTED",)


def _zip(*names: str, content: bytes = b"x", method: int = zipfile.ZIP_STORED) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", method) as archive:
        for name in names:
            archive.writestr(zipfile.ZipInfo(name), content)
    return made.getvalue()


def _tar(name: str) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        archive.addfile(tarfile.TarInfo(name))
    return made.getvalue()


PICKLES = {f"pickle-{protocol}": pickle.dumps(Payload(), protocol) for protocol in range(6)} | {
    "pickle-by-hand": b"cos\ngetenv\n(S'FASTNESS_CORPUS_WAS_EXECUTED'\ntR.",
    "pickle-of-tensors": pickle.dumps({"weight": [1.0] * 64}, 2),
}
ARCHIVES = {
    "zip-of-pickle": _zip("archive/data.pkl", content=PICKLES["pickle-2"]),
    "zip-traversal": _zip("../../etc/cron.d/x"),
    "zip-bomb": _zip(*map(str, range(8)), content=bytes(1 << 20), method=zipfile.ZIP_DEFLATED),
    "zip-nested": _zip("inner.zip", content=_zip("inner.zip", content=_zip("deep"))),
    "zip-empty": _zip(),
    "tar-traversal": _tar("../../etc/cron.d/x"),
    "gzip": gzip.compress(PICKLES["pickle-2"], mtime=0),
    "gzip-bomb": gzip.compress(bytes(1 << 22), mtime=0),
    "bzip2": bz2.compress(b"x" * 64),
    "xz": lzma.compress(b"x" * 64),
    "lzma": lzma.compress(b"x" * 64, lzma.FORMAT_ALONE),
    "zstd": bytes.fromhex("28b52ffd2004210000") + b"abcd",
    "7z": b"7z\xbc\xaf\x27\x1c" + bytes(32),
    "rar": b"Rar!\x1a\x07\x01\x00" + bytes(32),
    "numpy": b"\x93NUMPY\x01\x00" + bytes(64),
    "hdf5": b"\x89HDF\r\n\x1a\n" + bytes(64),
}
PROGRAMS = {
    "elf": b"\x7fELF\x02\x01\x01" + bytes(64),
    "windows": b"MZ\x90\x00" + bytes(64),
    "wasm": b"\x00asm\x01\x00\x00\x00",
    "mach-o": bytes.fromhex("cffaedfe") + bytes(32),
    "java": bytes.fromhex("cafebabe0000003d") + bytes(32),
    "script": b"#!/bin/sh\ntrue\n",
    "python-script": b"#!/usr/bin/env python3\nprint()\n",
    "compiled-python": b"\xa7\x0d\x0d\x0a" + bytes(12) + b"\xe3\x00",
    "library": b"!<arch>\n" + bytes(60),
}
DISGUISES = ("small.gguf", "model.safetensors", "config.json", "README.md", "vocab.txt", "LICENSE", "tokenizer.json")


def disguise_cases() -> Iterator[Case]:
    """Pickles, archives and programs under every kind of harmless name."""
    for rule, contents in (("file.pickle", PICKLES), ("file.archive", ARCHIVES), ("file.code", PROGRAMS)):
        for number, (name, content) in enumerate(contents.items()):
            # Not each under each name: three names each, and over all contents every name.
            for under in {DISGUISES[0], DISGUISES[1], DISGUISES[2 + number % (len(DISGUISES) - 2)]}:
                made = {"small.gguf": content} if under == "small.gguf" else model_files() | {under: content}
                yield Case(f"disguise/{name}-as-{under}", (rule,), directory(made))
    hidden = _zip("data.pkl", content=PICKLES["pickle-2"])
    yield Case("disguise/gguf-and-zip", ("file.archive",), file("small.gguf", gguf() + hidden))
    yield Case(
        "disguise/safetensors-and-zip",
        ("file.archive",),
        directory(model_files(model_safetensors=packed(hf_shapes()) + hidden)),
    )
    yield Case("disguise/readme-and-zip", ("file.archive",), directory(model_files(README_md=b"# Small\n" + hidden)))
    for number, content in enumerate((b"\xff\xfe\x00", b"a\x00b", b"\x1b[2J", b"\xc3\x28")):
        yield Case(f"disguise/no-text-{number}", ("file.text",), directory(model_files(README_md=content)))


SUFFIXES = {
    "file.pickle": "bin pt pth pkl pickle ckpt joblib npy npz h5 keras onnx msgpack",
    "file.code": "py pyc so so.1 dll dylib exe sh js wasm jar ipynb",
    "file.archive": "zip tar gz tar.gz bz2 xz zst 7z whl",
    "file.unexpected": "md txt json toml yaml xml html png gguf.json model",
}
NAMES = {
    "hidden": ".hidden",
    "parents": "..model.gguf",
    "inner-dots": "a..b.json",
    "space": "model .gguf",
    "newline": "config\n.json",
    "escape": "config\x1b[2J.json",
    "right-to-left": "config\u202enosj.json",
    "zero-width": "config\u200b.json",
    "fullwidth": "\uff43onfig.json",
    "cyrillic": "\u0441onfig.json",
    "no-utf8": os.fsdecode(b"config\xff.json"),
    "backslash": "..\\config.json",
    "long": "a" * 200 + ".json",
    "dash": "-rf.json",
    "semicolon": "config.json;true",
    "dollar": "$(true).json",
    "git": ".git",
    "pth": ".pth",
}


def name_cases() -> Iterator[Case]:
    """Files that have no place here, and names that mislead."""
    for rule, suffixes in SUFFIXES.items():
        for suffix in suffixes.split():
            yield Case(f"name/extra.{suffix}", (rule,), directory(model_files() | {f"extra.{suffix}": "x"}))
    for name, bad in NAMES.items():
        yield Case(f"name/{name}", ("file.name",), directory(model_files() | {bad: "{}"}))
    for number, name in enumerate(
        ("modeling_small.py", "model.safetensors.py", "setup.PY", "LICENSE.so", "config.json.sh")
    ):
        yield Case(f"name/code-{number}", ("file.code",), directory(model_files() | {name: "import os\n"}))
    for name in ("model.GGUF", "MODEL.SAFETENSORS", "weights.Safetensors"):
        yield Case(f"name/case-{name}", ("file.unexpected",), directory(model_files() | {name: "x"}))
    for name in (
        "code/x.json",
        "1_Pooling/other.json",
        "1_Pooling/model.safetensors",
        "2_Normalize/config.json",
        ".git/config",
    ):
        rules = ("file.depth", "file.unexpected", "file.name")
        yield Case(f"name/below-{name.replace('/', '-')}", rules, directory(model_files() | {name: "x"}))


def weights_cases() -> Iterator[Case]:
    """The wrong number of weights."""
    one, other = gguf(), packed(hf_shapes())
    no_weights = model_files(model_safetensors=None)
    yield Case("weights/none", ("file.weights",), directory(no_weights))
    yield Case("weights/two-gguf", ("file.weights",), directory({"a.gguf": one, "b.gguf": one}))
    yield Case("weights/both", ("file.weights",), directory(model_files() | {"a.gguf": one}))
    yield Case("weights/one-safetensors", ("file.weights",), file("model.safetensors", other))
    yield Case("weights/one-json", ("file.weights",), file("config.json", b"{}"))
    yield Case("weights/empty", ("file.size",), directory(model_files(model_safetensors=b"")))
    yield Case("weights/empty-readme", ("file.size",), directory(model_files(README_md=b"")))
    yield Case(
        "weights/many-files", ("file.count",), directory(no_weights | {f"LICENSE-{n}": "x" for n in range(1_100)})
    )
    yield Case("weights/sparse", ("file.size",), _sparse)
    for name in ("config.json", "README.md", "chat_template.jinja"):
        rules = ("json.bounds", "file.size", "template.size")
        yield Case(f"weights/large-{name}", rules, directory(model_files() | {name: b" " * (5 << 20)}))


def _sparse(where: Path) -> Path:
    path = folder(where, model_files(model_safetensors=None))
    with (path / "model.safetensors").open("wb") as opened:
        opened.truncate((1 << 40) + 1)
    return path


def _whole(where: Path) -> Path:
    folder(where, model_files())
    (where / "link").symlink_to("small")
    return where / "link"


def _whole_file(where: Path) -> Path:
    (where / "real.gguf").write_bytes(gguf())
    (where / "small.gguf").symlink_to("real.gguf")
    return where / "small.gguf"


def _pipe(where: Path) -> Path:
    path = folder(where, model_files())
    os.mkfifo(path / "tokenizer.json")
    return path


def _pipe_alone(where: Path) -> Path:
    os.mkfifo(where / "small.gguf")
    return where / "small.gguf"


def _listening(where: Path) -> Path:
    path = folder(where, model_files())
    before = os.open(".", os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as made:
        os.chdir(path)  # a path of a socket is short
        try:
            made.bind("tokenizer.json")
        finally:
            os.fchdir(before)
            os.close(before)
    return path


def _twice(where: Path) -> Path:
    path = folder(where, model_files())
    os.link(path / "README.md", path / "LICENSE.txt")
    return path


def special_cases() -> Iterator[Case]:
    """What is no plain file."""

    def linked(name: str, target: str) -> Callable[[Path], Path]:
        def make(where: Path) -> Path:
            path = folder(where, model_files() | {name: None})
            (path / name).symlink_to(target)
            return path

        return make

    for number, target in enumerate(("/etc/passwd", "../outside.json", "config.json", "nowhere", "/dev/zero", ".")):
        yield Case(f"special/link-{number}", ("file.symlink",), linked("tokenizer.json", target))
    yield Case("special/link-weights", ("file.symlink",), linked("model.safetensors", "/etc/hostname"))

    yield Case("special/link-whole", ("file.symlink",), _whole)
    yield Case("special/link-file", ("file.symlink",), _whole_file)
    yield Case("special/pipe", ("file.special",), _pipe)
    yield Case("special/pipe-alone", ("file.special",), _pipe_alone)
    yield Case("special/socket", ("file.special",), _listening)
    yield Case("special/two-names", ("file.linked",), _twice)
    if os.geteuid() == 0:
        for name, mode in (("character", 0o020_600), ("block", 0o060_600)):

            def device(where: Path, mode: int = mode) -> Path:
                path = folder(where, model_files())
                os.mknod(path / "tokenizer.json", mode, os.makedev(1, 5))
                return path

            yield Case(f"special/device-{name}", ("file.special",), device)


def json_cases() -> Iterator[Case]:
    """JSON that would have a library import code, or that is not JSON, or too much of it."""
    code = {
        "auto-map": {"auto_map": {"AutoModel": "modeling.Small"}},
        "auto-map-in-list": {"layers": [{"auto_map": {"AutoModel": "owner/repo--modeling.Small"}}]},
        "auto-map-empty": {"auto_map": {}},
        "auto-map-deep": {"a": {"b": [{"c": [{"d": {"auto_map": "x.Y"}}]}]}},
        "trust": {"trust_remote_code": True},
        "trust-not": {"trust_remote_code": False},
        "trust-in-text": {"text_config": {"trust_remote_code": "true"}},
        "target": {"model": {"_target_": "os.system"}},
        "class-path": {"class_path": "subprocess.Popen", "init_args": {"args": "true"}},
        "pipelines": {"custom_pipelines": {"x": {"impl": "pipe.Small"}}},
        "generate": {"custom_generate": "owner/repo"},
        "jsonpickle": {"py/object": "os.system"},
        "jsonpickle-reduce": {"py/reduce": [{"py/function": "os.system"}, {"py/tuple": ["true"]}]},
        "value": {"architectures": ["owner/repo--modeling_small.SmallModel"]},
        "file": {"entry": "modeling_small.py"},
        "file-and-name": {"entry": "code/modeling.py:Small"},
        "library": {"ops": "./libops.so"},
    }
    for number, (name, more) in enumerate(code.items()):
        for where, honest in (
            ("config.json", CONFIG),
            ("tokenizer_config.json", TOKENIZER),
            ("generation_config.json", {}),
        )[: 2 + number % 2]:
            yield Case(f"json/{name}-in-{where}", ("json.code",), directory(model_files() | {where: honest | more}))
    modules = [{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}]
    for name, change in (
        ("type", {"type": "os.system"}),
        ("remote", {"type": "owner/repo--custom.Module"}),
        ("path", {"path": "../../elsewhere"}),
        ("absolute", {"path": "/etc"}),
    ):
        yield Case(
            f"json/modules-{name}", ("json.code",), directory(model_files() | {"modules.json": [modules[0] | change]})
        )
    broken = {
        "twice": '{"model_type": "llama", "model_type": "bert"}',
        "twice-deep": '{"a": {"b": 1, "b": 2}}',
        "nan": '{"a": NaN}',
        "infinity": '{"a": -Infinity}',
        "overflow": '{"a": 1e999}',
        "digits": '{"a": ' + "9" * 10_000 + "}",
        "comment": '{"a": 1} // x',
        "two": "{}{}",
        "cut": '{"a": ',
        "single-quotes": "{'a': 1}",
        "no-utf8": b'{"a": "\xff"}',
        "utf16": '{"a": 1}'.encode("utf-16"),
        "bom": b"\xef\xbb\xbf{}",
        "list": "[]",
        "text": '"x"',
        "null": "null",
        "control": '{"a": "\x01"}',
    }
    for name, content in broken.items():
        yield Case(f"json/{name}", ("json.malformed",), directory(model_files(config_json=content)))
    for name, content in {
        "deep": '{"a": ' + "[" * 60 + "]" * 60 + "}",
        "deeper": '{"a": ' + "[" * 90_000 + "]" * 90_000 + "}",
        "deep-objects": '{"a": ' * 40 + "1" + "}" * 40,
    }.items():
        yield Case(f"json/{name}", ("json.bounds",), directory(model_files(config_json=content)))
    yield Case(
        "json/many",
        ("json.bounds", "limit.memory"),
        directory(model_files() | {"tokenizer.json": '{"a": [' + "0," * 4_200_000 + "0]}"}),
    )
    yield Case(
        "json/bomb",
        ("limit.memory", "json.bounds"),
        directory(model_files() | {"tokenizer.json": '{"a": [' + "[]," * 16_000_000 + "0]}"}),
        sealed_only=True,
    )
    for name, change in {
        "no-type": {"model_type": None},
        "type-path": {"model_type": "../llama"},
        "type-list": {"model_type": ["llama"]},
        "context-0": {"max_position_embeddings": 0},
        "context-negative": {"max_position_embeddings": -1},
        "context-huge": {"max_position_embeddings": 2**40},
        "context-text": {"max_position_embeddings": "256"},
        "context-true": {"max_position_embeddings": True},
        "no-context": {"max_position_embeddings": None},
    }.items():
        yield Case(f"json/config-{name}", ("model.metadata",), directory(model_files(config_json=CONFIG | change)))
    yield Case("json/no-config", ("model.metadata",), directory(model_files(config_json=None)))
    signature = struct.pack("<I", 1)
    yield Case("json/signature", ("json.malformed",), directory(model_files() | {"model.sig": signature}))
    yield Case("json/signature-code", ("json.code",), directory(model_files() | {"x.sigstore.json": {"_target_": "x"}}))
