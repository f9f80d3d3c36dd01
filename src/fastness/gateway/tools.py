"""Tools on any model: told of by its card's instruction, forced by a constraint, read back as they are written."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

import msgspec

from fastness.core.model import ToolFormat
from fastness.core.request import ChatRequest, Message, Tool, ToolCall, ToolConstraint, ToolMode

_CALL_HEAD: Final = re.compile(r'\s*\{\s*"name"\s*:\s*"(?P<name>[A-Za-z0-9_-]{1,64})"\s*,\s*"arguments"\s*:')
_CALL_HEAD_CHARS_MAX: Final = 256


def tell_of_tools(request: ChatRequest, card_format: ToolFormat | None) -> tuple[Message, ...]:
    """Return the messages as the model reads them: tools in the system message, calls and results as plain text."""
    if card_format is None:
        return request.messages
    messages = [_as_text(message, card_format) for message in request.messages]
    if request.tools and request.tool_mode is not ToolMode.NONE:
        instruction = card_format.instruction.replace("{tools}", "\n".join(map(_describe, request.tools)))
        if messages[0].role == "system":
            messages[0] = Message("system", f"{messages[0].content}\n\n{instruction}", messages[0].name)
        else:
            messages.insert(0, Message("system", instruction))
    return tuple(messages)


def tool_constraint(request: ChatRequest, card_format: ToolFormat, calls_max: int) -> ToolConstraint:
    """Return what binds the answer to the request's tools."""
    bound = min(calls_max, card_format.calls_max) if request.parallel_tool_calls else 1
    return ToolConstraint(request.tools, request.tool_mode, card_format.open, card_format.close, bound)


def _describe(tool: Tool) -> str:
    described = {"name": tool.name, "description": tool.description, "parameters": msgspec.Raw(tool.parameters)}
    return msgspec.json.encode(described).decode()


def _as_text(message: Message, card_format: ToolFormat) -> Message:
    if message.role == "tool":
        return Message(card_format.result_role, card_format.result.replace("{content}", message.content))
    if not message.tool_calls:
        return message
    calls = "\n".join(_write_call(call, card_format) for call in message.tool_calls)
    return Message(message.role, f"{message.content}\n{calls}" if message.content else calls, message.name)


def _write_call(call: ToolCall, card_format: ToolFormat) -> str:
    name = msgspec.json.encode(call.name).decode()
    return f'{card_format.open}{{"name": {name}, "arguments": {call.arguments}}}{card_format.close}'


@dataclass(frozen=True, slots=True)
class TextPiece:
    """Text for the reader of the answer."""

    text: str


@dataclass(frozen=True, slots=True)
class CallPiece:
    """A call begins: number `index` from 0, of function `name`."""

    index: int
    name: str


@dataclass(frozen=True, slots=True)
class ArgumentsPiece:
    """More of the JSON text of the arguments of call `index`."""

    index: int
    text: str


Piece = TextPiece | CallPiece | ArgumentsPiece


class ToolCallReader:
    """Reads what a model writes under a ToolConstraint, as it arrives: text, or calls between open and close.

    Text that only looks like the beginning of a call is given out as text, so nothing the model wrote is lost.
    """

    def __init__(self, open_mark: str, close_mark: str) -> None:
        self._open = open_mark
        self._close = close_mark
        self._held = ""
        self._mark = ""
        self._step: Callable[[list[Piece]], bool] = self._between
        self._calls = 0
        self._depth = 0
        self._in_string = False
        self._escaped = False

    @property
    def calls(self) -> int:
        """How many calls have begun."""
        return self._calls

    def feed(self, text: str) -> list[Piece]:
        """Take what arrived; return the pieces it completes."""
        self._held += text
        pieces: list[Piece] = []
        while self._held and self._step(pieces):
            pass
        return pieces

    def finish(self) -> list[Piece]:
        """End of the answer: return what was held back, as text unless it belongs to a call."""
        held, self._held = self._held, ""
        if self._step == self._head:
            return [TextPiece(self._mark + held)]
        if self._step == self._between and (held.strip() or (held and not self._calls)):
            return [TextPiece(held)]
        return []

    def _between(self, _pieces: list[Piece]) -> bool:
        """Before a call, or between two: whitespace, the open mark, or plain text."""
        stripped = self._held.lstrip()
        if stripped.startswith(self._open):
            end = len(self._held) - len(stripped) + len(self._open)
            self._mark, self._held = self._held[:end], self._held[end:]
            self._step = self._head
            return True
        if self._open.startswith(stripped):
            return False
        self._step = self._text
        return True

    def _text(self, pieces: list[Piece]) -> bool:
        pieces.append(TextPiece(self._held))
        self._held = ""
        return False

    def _head(self, pieces: list[Piece]) -> bool:
        found = _CALL_HEAD.match(self._held)
        if found and found.end() <= _CALL_HEAD_CHARS_MAX:
            pieces.append(CallPiece(self._calls, found["name"]))
            self._calls += 1
            self._held = self._held[found.end() :]
            self._depth, self._in_string, self._escaped = 0, False, False
            self._step = self._before_arguments
            return True
        if len(self._held) <= _CALL_HEAD_CHARS_MAX:
            return False
        self._held = self._mark + self._held
        self._step = self._text
        return True

    def _before_arguments(self, _pieces: list[Piece]) -> bool:
        self._held = self._held.lstrip()
        if self._held:
            self._step = self._arguments
        return bool(self._held)

    def _arguments(self, pieces: list[Piece]) -> bool:
        end = self._end_of_value(self._held)
        text = self._held if end is None else self._held[:end]
        if text:
            pieces.append(ArgumentsPiece(self._calls - 1, text))
        self._held = "" if end is None else self._held[end:]
        if end is not None:
            self._step = self._tail
        return bool(self._held)

    def _tail(self, _pieces: list[Piece]) -> bool:
        """After the arguments: the closing brace of the call and the close mark."""
        at = self._held.find(self._close)
        if at < 0:
            return False
        self._held = self._held[at + len(self._close) :]
        self._step = self._between
        return True

    def _end_of_value(self, text: str) -> int | None:
        """Find where the JSON value of the arguments ends, remembering the state across pieces."""
        for position, char in enumerate(text):
            if self._escaped:
                self._escaped = False
            elif self._in_string:
                self._escaped = char == "\\"
                self._in_string = char != '"'
                if not self._in_string and not self._depth:
                    return position + 1
            elif char == '"':
                self._in_string = True
            elif char in "{[":
                self._depth += 1
            elif char in "}]," and not self._depth:
                return position
            elif char in "}]":
                self._depth -= 1
                if not self._depth:
                    return position + 1
        return None


def joined(pieces: Iterable[Piece]) -> tuple[str, list[tuple[str, str]]]:
    """Put pieces together: the text, and (name, arguments) of each call."""
    text, calls = "", []
    for piece in pieces:
        if isinstance(piece, TextPiece):
            text += piece.text
        elif isinstance(piece, CallPiece):
            calls.append((piece.name, ""))
        else:
            name, arguments = calls[piece.index]
            calls[piece.index] = (name, arguments + piece.text)
    return text, calls
