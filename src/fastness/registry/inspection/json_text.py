"""JSON of an artefact: strict, bounded, and without a word that has a library import code."""

from __future__ import annotations

import json
import math
import re
from types import MappingProxyType
from typing import Any, Final

from fastness.registry.inspection.port import ArtefactRefused

DEPTH_MAX: Final = 32
VALUES_MAX: Final = 4_194_304
TEXT_BYTES_MAX: Final = 4_194_304
_CODE_KEYS: Final = frozenset(
    {
        "auto_map",
        "auto_mapping",
        "trust_remote_code",
        "custom_code",
        "custom_pipelines",
        "custom_generate",
        "custom_object",
        "custom_objects",
        "code_revision",
        "module_path",
        "import_path",
        "py_module",
        "class_path",
        "init_args",
        "registered_name",
        "_target_",
        "_partial_",
        "_recursive_",
        "_args_",
        "_class_name",
        "__class__",
        "__reduce__",
        "__module__",
        "__import__",
        "__type__",
        "py/object",
        "py/reduce",
        "py/function",
        "py/type",
        "py/module",
        "py/repr",
        "!!python",
    }
)
_MAY_BE_NULL: Final = frozenset({"auto_mapping"})
"""PEFT writes `"auto_mapping": null` into every adapter."""
_CODE_VALUE: Final = re.compile(r"(?i)[\w./-]+--[\w.]+\.[A-Za-z_]\w*|[\w./\\-]+\.(py|pyc|so|dll|dylib)(:\w+)?")
_VOCABULARY: Final = MappingProxyType({"tokenizer.json": ("model", "vocab"), "vocab.json": (), "added_tokens.json": ()})
"""Where keys are a vocabulary, and may be any word, as long as each stands for a number."""


def read_json(content: bytes, file: str) -> Any:
    """Parse a file of an artefact; raises ArtefactRefused."""
    try:
        value = json.loads(content.decode(), object_pairs_hook=_once(file), parse_constant=_no_constant(file))
    except RecursionError:
        raise ArtefactRefused("json.bounds", f"is nested deeper than {DEPTH_MAX}", file) from None
    except ValueError as error:
        raise ArtefactRefused("json.malformed", f"is not JSON in UTF-8: {str(error)[:200]}", file) from None
    _check(value, file)
    return value


def read_object(content: bytes, file: str) -> dict[str, Any]:
    """Parse a file that holds one JSON object; raises ArtefactRefused."""
    value = read_json(content, file)
    if not isinstance(value, dict):
        raise ArtefactRefused("json.malformed", "needs to be one JSON object", file)
    return value


def _once(file: str) -> Any:
    def pairs_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise ArtefactRefused("json.malformed", "has the same name twice in one object", file)
        return found

    return pairs_once


def _no_constant(file: str) -> Any:
    def refuse(text: str) -> None:
        raise ArtefactRefused("json.malformed", f"has {text}, which JSON does not have", file)

    return refuse


def _check(value: Any, file: str) -> None:
    """Walk the tree without recursion: depth, number of values, numbers that overflow, and code."""
    vocabulary = _vocabulary(value, file)
    level, depth, seen = [value], 0, 0
    while level:
        depth, seen = depth + 1, seen + len(level)
        if depth > DEPTH_MAX or seen > VALUES_MAX:
            raise ArtefactRefused("json.bounds", f"nested up to {DEPTH_MAX}, up to {VALUES_MAX:,} values", file)
        below: list[Any] = []
        for each in level:
            if each is vocabulary:
                continue
            if isinstance(each, dict):
                _check_keys(each, file)
                below += each.values()
            elif isinstance(each, list):
                below += each
            else:
                _check_scalar(each, file)
        level = below


def _check_keys(found: dict[str, Any], file: str) -> None:
    for key in _CODE_KEYS & found.keys():
        if not (key in _MAY_BE_NULL and found[key] is None):
            raise ArtefactRefused("json.code", f"`{key}` would have a library import code", file)


def _check_scalar(value: Any, file: str) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise ArtefactRefused("json.malformed", "has a number that is too large", file)
    if isinstance(value, str):
        if len(value) > TEXT_BYTES_MAX:
            raise ArtefactRefused("json.bounds", f"has a text of more than {TEXT_BYTES_MAX:,} characters", file)
        if len(value) < 512 and file != "tokenizer.json" and _CODE_VALUE.fullmatch(value):
            raise ArtefactRefused("json.code", f"the value {value[:80]!r} names code", file)


def _vocabulary(value: Any, file: str) -> Any:
    """Return the vocabulary within `value`, or an object that is not in it."""
    nowhere = object()
    if file not in _VOCABULARY:
        return nowhere
    for key in _VOCABULARY[file]:
        value = value.get(key) if isinstance(value, dict) else None
    is_one = isinstance(value, dict) and all(type(number) is int for number in value.values())
    return value if is_one else nowhere
