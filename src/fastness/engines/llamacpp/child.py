"""What runs inside the seal: llama.cpp's server on one Unix socket, until SIGTERM.

`python -I -m fastness.engines.llamacpp.child '<task as JSON>'`. It imports as little as it can: it is part of the
time to the first token.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any, Final

from fastness.engines.literal import literal_template
from fastness.engines.llamacpp.vocabulary import read_vocabulary

ERRORS: Final = 1
"""llama.cpp's verbosity. Warnings would be a line or two a request."""
EMBEDDING_BATCH_TOKENS: Final = 512
"""Tokens of several texts computed together; at least the context of one, which cannot be parted. More was slower."""


def main() -> int:
    """Serve the task in argv until SIGTERM; returns the exit status."""
    task = json.loads(sys.argv[1])
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    os.environ["GOMP_SPINCOUNT"] = "2000"  # before the import: spinning threads starve each other on a busy machine
    import xllamacpp

    try:
        server = xllamacpp.Server(_params(xllamacpp, task))
    except (OSError, ValueError, RuntimeError) as error:  # its own lines on stderr say more
        sys.exit(f"{type(error).__name__}: {error}")
    if not task["embedding"]:
        _warm_up_grammars(server)
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    sys.stderr.flush()
    os._exit(0)  # the server's threads hold nothing that must be saved


def _params(xllamacpp: Any, task: dict[str, Any]) -> Any:
    params = xllamacpp.CommonParams()
    params.model.path = task["weights"]
    params.hostnames = [task["socket"]]
    params.verbosity = ERRORS
    params.n_parallel = task["slots"]
    params.n_ctx = task["slots"] * task["context_tokens"]
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = task["threads"]
    params.n_gpu_layers = 0
    params.fit_params = False  # the task says what fits
    params.no_extra_bufts = not task["repack"]
    params.cache_type_k = params.cache_type_v = _number_type(xllamacpp, task["cache_type"])
    if task["cache_type"] != "f16":  # values in blocks can be read by no other kind of attention
        params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_ENABLED
    params.ctx_shift = False  # never forget the beginning in silence
    params.cache_ram_mib = 0
    params.cache_idle_slots = False
    params.lora_adapters = [_adapter(xllamacpp, path) for path in task["adapters"]]
    params.lora_init_without_apply = True  # each request says what it runs with
    params.endpoint_slots = params.endpoint_metrics = True
    params.ui = False
    params.cors_credentials = False
    params.cors_origins = ""
    if task["embedding"]:
        params.embedding = True
        params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
        params.n_batch = params.n_ubatch = max(EMBEDDING_BATCH_TOKENS, task["context_tokens"])
        return params
    params.reasoning_format = xllamacpp.common_reasoning_format.COMMON_REASONING_FORMAT_NONE
    params.prefill_assistant = False  # a last message of the assistant is answered, not continued
    template, controls = read_vocabulary(Path(task["weights"]))
    if template is not None:
        params.use_jinja = True
        params.chat_template = literal_template(template, controls)
    return params


def _adapter(xllamacpp: Any, path: str) -> Any:
    adapter = xllamacpp.CommonAdapterLoraInfo()
    adapter.path, adapter.scale = path, 0.0
    return adapter


def _number_type(xllamacpp: Any, name: str) -> Any:
    return getattr(xllamacpp.ggml_type, f"GGML_TYPE_{name.upper()}")


def _warm_up_grammars(server: Any) -> None:
    """Have the engine index its vocabulary now: 0.3 s, in which it would answer nobody."""
    server.handle_completions({"prompt": "a", "n_predict": 1, "grammar": '%llguidance {}\nstart: "a"'})


if __name__ == "__main__":
    sys.exit(main())
