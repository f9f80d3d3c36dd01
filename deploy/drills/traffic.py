"""Clients that ask all through a drill, and an account of what each heard. Standard library only.

    FASTNESS_API_KEY=… python traffic.py PORT MODEL HEARD [--address 127.0.0.1] [--clients 4] [--once]

Like clients of the OpenAI SDK they ask again when they are not let in: a connection that is refused, or one that ends
before the first byte of an answer, and 429 or 503. An answer that began and does not come to its end is lost, and
is not asked for again. HEARD gets one JSON object a line for each answer. SIGTERM ends it, once what was
asked has ended.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any, TextIO

SILENCE_S = 300.0
"""Nobody waits for longer than this for an answer."""
PAUSE_S = 0.1
OUTPUT_TOKENS = 16


def ask_once(place: tuple[str, int], key: str, body: dict[str, Any]) -> dict[str, Any]:
    """Ask once, and tell what came: `began` says whether any of an answer did."""
    heard: dict[str, Any] = {
        "status": None,
        "request_id": None,
        "began": False,
        "whole": False,
        "text": "",
        "lost": None,
    }
    connection = http.client.HTTPConnection(*place, timeout=SILENCE_S)
    try:
        connection.request(
            "POST", "/v1/completions", json.dumps(body),
            {"authorization": f"Bearer {key}", "content-type": "application/json", "connection": "close"},
        )  # fmt: skip
        answer = connection.getresponse()
        heard |= {"status": answer.status, "request_id": answer.getheader("x-request-id"), "began": True}
        said = answer.read().decode()
        heard["whole"] = answer.status == 200 and (not body["stream"] or "data: [DONE]" in said)
        heard["text"] = text_of(said, body["stream"]) if heard["whole"] else said[-300:]
    except (OSError, http.client.HTTPException) as error:
        heard["lost"] = type(error).__name__
    finally:
        connection.close()
    return heard


def text_of(said: str, stream: bool) -> str:
    """Return the text of an answer."""
    parts = (
        [line.removeprefix("data: ") for line in said.splitlines() if line.startswith("data: {")] if stream else [said]
    )
    return "".join(choice["text"] for part in parts for choice in json.loads(part).get("choices", []))


def ask(place: tuple[str, int], key: str, body: dict[str, Any]) -> dict[str, Any]:
    """Ask until there is an answer; `tries` and `waited_s` say what that took."""
    began_s, tries = time.time(), 0
    while True:
        tries += 1
        heard = ask_once(place, key, body)
        turned_away = not heard["began"] or heard["status"] in (429, 503)
        if not turned_away or time.time() - began_s > SILENCE_S:
            ended_s = time.time()
            told = {"began_s": began_s, "ended_s": ended_s, "waited_s": ended_s - began_s, "tries": tries}
            return told | {"stream": body["stream"]} | heard
        time.sleep(PAUSE_S)


def keep_asking(
    number: int,
    place: tuple[str, int],
    key: str,
    model: str,
    heard: TextIO,
    lock: threading.Lock,
    ended: threading.Event,
) -> None:
    """One client: asks, writes what it heard, asks again."""
    count = 0
    while not ended.is_set():
        count += 1
        prompt = f"{number * 1000 + count} is a number, and"
        body = {
            "model": model,
            "prompt": prompt,
            "max_tokens": OUTPUT_TOKENS,
            "temperature": 0,
            "stream": count % 2 == 0,
        }
        told = ask(place, key, body)
        with lock:
            heard.write(json.dumps(told) + "\n")
            heard.flush()


def main() -> None:
    """Read what to ask, and ask."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("port", type=int)
    parser.add_argument("model")
    parser.add_argument("heard")
    parser.add_argument("--address", default="127.0.0.1", help="where it listens (default: 127.0.0.1)")
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--once", action="store_true", help="ask one thing, print the answer, and end")
    given = parser.parse_args()
    place, key = (given.address, given.port), os.environ["FASTNESS_API_KEY"]
    if given.once:
        body = {"model": given.model, "prompt": "Two and two", "max_tokens": 8, "temperature": 0, "stream": False}
        told = ask(place, key, body)
        print(told["text"].strip().replace("\n", " ") if told["whole"] else f"no answer: {told}")
        sys.exit(0 if told["whole"] else 1)
    ended, lock = threading.Event(), threading.Lock()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    with Path(given.heard).open("a", encoding="utf-8") as heard:
        clients = [
            threading.Thread(target=keep_asking, args=(n, place, key, given.model, heard, lock, ended))
            for n in range(given.clients)
        ]
        for one in clients:
            one.start()
        for one in clients:
            one.join()


if __name__ == "__main__":
    main()
