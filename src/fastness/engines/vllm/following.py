"""A member of a gang that gets no requests, in vLLM's own Python: workers, and a socket that says when they are ready.

vLLM's own way to start one (`--headless`) tells nobody when it is; this does the same, and answers on a socket then.
"""

from __future__ import annotations

import socket
import threading
from typing import Final

REQUEST_BYTES_MAX: Final = 4_096
ASKED_WITHIN_S: Final = 5.0
_WELL: Final = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


def follow(arguments: list[str], path: str) -> None:
    """Have the workers of this node until one of them ends."""
    from vllm import AsyncEngineArgs
    from vllm.entrypoints.launchers.cli_args import make_arg_parser, validate_parsed_serve_args
    from vllm.usage.usage_lib import UsageContext
    from vllm.utils.argparse_utils import FlexibleArgumentParser
    from vllm.v1.executor.multiproc_executor import MultiprocExecutor

    told = make_arg_parser(FlexibleArgumentParser()).parse_args([*arguments, "--headless", "--api-server-count=0"])
    validate_parsed_serve_args(told)
    context = UsageContext.OPENAI_API_SERVER
    config = AsyncEngineArgs.from_cli_args(told).create_engine_config(usage_context=context, headless=True)
    executor = MultiprocExecutor(config, monitor_workers=False)
    listener = answer(path)
    executor.start_worker_monitor(inline=True)
    listener.close()


def answer(path: str) -> socket.socket:
    """Say on a Unix socket, to whoever asks, that all is well, until what is returned is shut down."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    threading.Thread(target=_serve, args=(listener,), daemon=True).start()
    return listener


def _serve(listener: socket.socket) -> None:
    while True:
        try:
            asking, _ = listener.accept()
        except OSError:
            return
        with asking:
            asking.settimeout(ASKED_WITHIN_S)
            try:
                asking.recv(REQUEST_BYTES_MAX)
                asking.sendall(_WELL)
            except OSError:
                continue
