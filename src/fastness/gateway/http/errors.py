"""How a conversation with an engine fails."""

from __future__ import annotations


class EngineLost(Exception):  # noqa: N818 - a state of the world
    """The engine gave no whole answer. Message and type say why; nothing of the conversation is in it."""


class EngineUnreachable(EngineLost):
    """No connection could be made: no socket, nobody listening, or the connect timeout passed. Nothing was asked."""


class EngineBroken(EngineLost):
    """The engine closed early, or what it sent is not HTTP or breaks a bound. The request may have been executed."""
