"""HTTP/1.1 of our own, on both sides: the server for clients, the connections to engines, and the SSE splitter.

docs/explanation/data-path.md tells how bytes travel through here and why every limit exists.
"""

from fastness.gateway.http.client import Answer, EngineConnections
from fastness.gateway.http.engine_stream import EngineStream, Sink
from fastness.gateway.http.errors import EngineBroken, EngineLost, EngineUnreachable
from fastness.gateway.http.exchange import Exchange
from fastness.gateway.http.remote import RemoteEngines
from fastness.gateway.http.server import HttpServer
from fastness.gateway.http.sse import EventTooLarge, SseSplitter
from fastness.gateway.http.wire import ResponseHeaders

__all__ = [
    "Answer",
    "EngineBroken",
    "EngineConnections",
    "EngineLost",
    "EngineStream",
    "EngineUnreachable",
    "EventTooLarge",
    "Exchange",
    "HttpServer",
    "RemoteEngines",
    "ResponseHeaders",
    "Sink",
    "SseSplitter",
]
