"""What runs inside the seal, in vLLM's own Python: it prepares what vLLM is told, and becomes vLLM's server.

Standard library only, until vLLM is started. The model is a folder of links to what was verified: descriptors that were
passed on, under the number of the process that keeps them, since vLLM's processes inherit none. The launcher makes
them, for inside the seal nobody can; without a seal they are made here.
"""

from __future__ import annotations

import json
import os
import runpy
import signal
import sys
import warnings
from pathlib import Path
from typing import Final

SERVER: Final = "vllm.entrypoints.openai.api_server"
TEMPLATE: Final = "fastness-template.jinja"
ADAPTER_CONFIG: Final = "adapter_config.json"
RANKS: Final = (8, 16, 32, 64, 128, 256, 320, 512)
"""The ranks that it can be told to make room for."""
NUMBER_BYTES: Final = 4
"""Of keys and values on the processor: 32 bits."""


def main() -> int:
    """Serve the task in argv until SIGTERM; returns the exit status."""
    task = json.loads(sys.argv[1])
    # The first process of its namespace is not ended by a signal that it does not handle; vLLM takes these over later.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os._exit(0))
    folder = Path(task["folder"])
    template = lay_out(task["files"], folder)
    sys.argv = [SERVER, f"--model={folder}", *task["arguments"]]
    if task["adapters"]:
        link({Path(path): source for path, source in task["adapters"].items()})
        sys.argv.append(f"--max-lora-rank={rank_max([Path(path) for path in task['adapters']])}")
    if template is not None:
        sys.argv.append(f"--chat-template={template}")
    if task["cache_tokens"]:
        sys.argv.append(f"--kv-cache-memory-bytes={task['cache_tokens'] * token_bytes(folder, task['stages'])}")
    warnings.simplefilter("ignore", DeprecationWarning)
    if task["follows"]:
        from fastness.engines.vllm.following import follow

        follow(sys.argv[1:], task["follows"])
        return 1  # it has an end only when a worker has
    runpy.run_module(SERVER, run_name="__main__", alter_sys=True)
    return 0


def lay_out(files: dict[str, str], folder: Path) -> Path | None:
    """Link the files of a model into `folder`, where the seal has not; return the chat template to be used, if any."""
    link({folder / name: source for name, source in files.items()})
    return write_template(folder)


def link(wanted: dict[Path, str]) -> None:
    """Make links that the seal has not made."""
    ours = f"/proc/{os.getpid()}/fd/"
    for path, source in wanted.items():
        if not path.is_symlink():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.symlink_to(source.replace("/proc/self/fd/", ours))


def rank_max(files: list[Path]) -> int:
    """Return the least rank that vLLM can be told, and that no adapter exceeds; raises ValueError."""
    ranks = [json.loads(file.read_bytes())["r"] for file in files if file.name == ADAPTER_CONFIG]
    most = max(ranks)
    for told in RANKS:
        if most <= told:
            return told
    raise ValueError(f"an adapter has rank {most}, and vLLM takes {RANKS[-1]} at most")


def write_template(folder: Path) -> Path | None:
    """Write the model's chat template anew, so that control tokens in messages are text; None: it has none."""
    from fastness.engines.literal import literal_template

    template = _template(folder)
    if template is None:
        return None
    written = folder.parent / TEMPLATE
    written.write_text(literal_template(template, control_tokens(folder)), "utf-8")
    return written


def control_tokens(folder: Path) -> tuple[str, ...]:
    """Return the texts that the model's tokenizer reads as tokens that steer it."""
    try:
        read = json.loads((folder / "tokenizer.json").read_bytes())
    except FileNotFoundError:
        read = {}
    return tuple(one["content"] for one in read.get("added_tokens", ()) if one.get("special"))


def token_bytes(folder: Path, stages: int = 1) -> int:
    """Return what keys and values of one token take, where the layers are parted into so many stages.

    Raises KeyError for a model that does not say.
    """
    config = json.loads((folder / "config.json").read_bytes())
    config = config.get("text_config", config)
    heads = config["num_attention_heads"]
    width = config.get("head_dim") or config["hidden_size"] // heads
    layers = -(-config["num_hidden_layers"] // stages)
    return int(layers * (config.get("num_key_value_heads") or heads) * width * 2 * NUMBER_BYTES)


def _template(folder: Path) -> str | None:
    for name in ("chat_template.jinja", "tokenizer_config.json"):
        try:
            text = (folder / name).read_text("utf-8")
        except FileNotFoundError:
            continue
        if name.endswith(".jinja"):
            return text
        said = json.loads(text).get("chat_template")
        return said if isinstance(said, str) else None
    return None
