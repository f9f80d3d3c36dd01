"""What runs inside the seal: llama.cpp's server on one Unix socket."""

from __future__ import annotations

import json
import os
import signal
import sys


def main() -> int:
    """Serve until SIGTERM."""
    task = json.loads(sys.argv[1])
    os.environ["GOMP_SPINCOUNT"] = "2000"
    import xllamacpp

    p = xllamacpp.CommonParams()
    p.model.path = task["weights"]
    p.hostnames = [task["socket"]]
    p.n_parallel = task["slots"]
    p.n_ctx = task["slots"] * task["context_tokens"]
    p.cpuparams.n_threads = task["threads"]
    p.cpuparams_batch.n_threads = task["threads"]
    p.endpoint_slots = True
    p.endpoint_metrics = True
    p.cache_ram_mib = 0
    p.ctx_shift = False
    if task["embedding"]:
        p.embedding = True
        p.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
        p.n_batch = p.n_ubatch = max(512, task["context_tokens"])
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    server = xllamacpp.Server(p)
    signal.sigwait({signal.SIGTERM})
    os._exit(0 if server else 1)


if __name__ == "__main__":
    sys.exit(main())
