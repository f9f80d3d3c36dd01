"""Texts or token ids, one or many: the shapes that `prompt` and `input` share."""

from __future__ import annotations

from fastness.core.error import Refusal
from fastness.gateway.wire.reading import limit, refuse_unless

Inputs = str | list[str | int | list[int]]
TOKEN_ID_MAX = 2**31 - 1


def to_inputs(wire: Inputs, param: str, bound: int) -> tuple[str | tuple[int, ...], ...]:
    """Return one entry a text, each a string or token ids; raises Refusal for none, too many, or a mixture."""
    if isinstance(wire, str):
        return (_text(wire, param),)
    if not wire:
        raise Refusal("invalid_value", f"`{param}` is an empty list; send at least one text.", param=param)
    if all(isinstance(item, int) for item in wire):
        return (_tokens(wire, param),)
    limit(len(wire), bound, param, "texts")
    if all(isinstance(item, str) for item in wire):
        return tuple(_text(str(item), param) for item in wire)
    if all(isinstance(item, list) for item in wire):
        return tuple(_tokens(item, param) for item in wire if isinstance(item, list))
    raise Refusal("invalid_type", f"`{param}` mixes texts and token ids; send only one kind.", param=param)


def _text(text: str, param: str) -> str:
    refuse_unless(text != "", param, "text that is not empty", text)
    return text


def _tokens(ids: list[str | int | list[int]] | list[int], param: str) -> tuple[int, ...]:
    checked = tuple(token for token in ids if isinstance(token, int))
    refuse_unless(bool(checked), param, "token ids, at least one", ids)
    refuse_unless(all(0 <= token <= TOKEN_ID_MAX for token in checked), param, "token ids from 0", "one out of range")
    return checked
