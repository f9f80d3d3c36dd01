"""Runs inside vLLM, as a piece of its web server: what texts become. vLLM's own routes take one text, and no tokens.

`POST /fastness/tokens` with `{"texts": […], "begins": true}` returns `{"tokens": […]}`, each text read for itself;
`POST /fastness/template` with `{"messages": […]}` returns `{"text": …}`. vLLM imports it by its name (`--middleware`).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Final

BODY_BYTES_MAX: Final = 64 << 20
TOKENS: Final = "/fastness/tokens"
TEMPLATE: Final = "/fastness/template"


class Texts:
    """An ASGI application around another: answers our two routes, and passes everything else on."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._tokenizer: Any = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """See ASGI."""
        if scope["type"] != "http" or scope["path"] not in (TOKENS, TEMPLATE):
            await self._app(scope, receive, send)
            return
        try:
            status, answer = 200, self._answer(scope["path"], json.loads(await _body(receive)))
        except (ValueError, KeyError, TypeError) as error:
            status, answer = 400, {"error": {"message": f"{type(error).__name__}: {error}", "code": 400}}
        body = json.dumps(answer).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _answer(self, path: str, asked: dict[str, Any]) -> dict[str, Any]:
        tokenizer = self._loaded()
        if path == TEMPLATE:
            text = tokenizer.apply_chat_template(
                asked["messages"], chat_template=_chat_template(), tokenize=False, add_generation_prompt=True
            )
            return {"text": _without_beginning(tokenizer, text)}
        found: list[int] = []
        for index, text in enumerate(asked["texts"]):
            if isinstance(text, list):
                found += text
            else:
                found += tokenizer.encode(text, add_special_tokens=bool(asked["begins"]) and index == 0)
        return {"tokens": found}

    def _loaded(self) -> Any:
        if self._tokenizer is None:
            from transformers import AutoTokenizer

            self._tokenizer = AutoTokenizer.from_pretrained(_said("--model="), local_files_only=True)
        return self._tokenizer


def _without_beginning(tokenizer: Any, text: str) -> str:
    """Return the text without the token that the tokenizer puts in front by itself, if the template wrote it too."""
    first = tokenizer.bos_token
    adds = bool(first) and tokenizer.encode("", add_special_tokens=True)[:1] == [tokenizer.bos_token_id]
    return text.removeprefix(first) if adds else text


def _chat_template() -> str:
    return Path(_said("--chat-template=")).read_text("utf-8")


def _said(flag: str) -> str:
    """Return what our command line says."""
    for word in sys.argv:
        if word.startswith(flag):
            return word.removeprefix(flag)
    raise ValueError(f"this engine was started without {flag.strip('-=')}")


async def _body(receive: Any) -> bytes:
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        part = message.get("body", b"")
        size += len(part)
        if size > BODY_BYTES_MAX:
            raise ValueError(f"more than {BODY_BYTES_MAX:,} bytes")
        parts.append(part)
        if message["type"] == "http.disconnect" or not message.get("more_body"):
            return b"".join(parts)
