"""Reading a JSON body strictly: every misfit becomes a refusal that names the field."""

from __future__ import annotations

import re
from typing import Any, Final, TypeVar

import msgspec

from fastness.core.error import Refusal

T = TypeVar("T")

_AT: Final = re.compile(r" - at `\$\.?(?P<path>[^`]*)`$")
_UNKNOWN: Final = re.compile(r"Object contains unknown field `(?P<field>[^`]*)`")
_MISSING: Final = re.compile(r"Object missing required field `(?P<field>[^`]*)`")


def read_body(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    """Decode `body`; raises Refusal: invalid_json, missing_field, unknown_field, invalid_type or invalid_value."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise _refusal(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refusal("invalid_json", f"The body is not valid JSON: {error}") from None
    except RecursionError:
        raise Refusal("invalid_json", "The body is nested too deeply.") from None


def _refusal(text: str) -> Refusal:
    at = _AT.search(text)
    path = (at["path"] if at else "").replace("[...]", "[]")
    reason = text[: at.start()] if at else text
    if unknown := _UNKNOWN.match(reason):
        field = _join(path, unknown["field"])
        return Refusal("unknown_field", f"`{field}` is not a field of this API. Remove it.", param=field)
    if missing := _MISSING.match(reason):
        field = _join(path, missing["field"])
        return Refusal("missing_field", f"`{field}` is required and was not sent.", param=field)
    if path.endswith(".type") and ".content[" in path:
        kind = reason.removeprefix("Invalid value ")
        message = f"Content of type {kind} is not supported: this model reads text only."
        return Refusal("unsupported_parameter", message, param=path)
    code = "invalid_type" if reason.startswith("Expected `") and ", got `" in reason else "invalid_value"
    where = f"`{path}`: " if path else ""
    return Refusal(code, f"{where}{reason}.", param=path or None)


def _join(path: str, field: str) -> str:
    return f"{path}.{field}" if path else field


def refuse_unless(ok: bool, param: str, needed: str, came: Any) -> None:
    """Raise an invalid_value refusal for `param` unless `ok`."""
    if not ok:
        raise Refusal("invalid_value", f"`{param}` is {came!r}; it needs to be {needed}.", param=param)


def limit(count: int, bound: int, param: str, unit: str) -> None:
    """Raise a limit_exceeded refusal when `count` is above `bound`."""
    if count > bound:
        message = f"`{param}` has {count:,} {unit}; the limit is {bound:,}."
        raise Refusal("limit_exceeded", message, param=param)


def unsupported(param: str, why: str) -> Refusal:
    """Make the refusal for a parameter that this model's engine cannot honour."""
    return Refusal("unsupported_parameter", f"`{param}` is not supported: {why}", param=param)
