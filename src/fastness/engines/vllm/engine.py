"""vLLM as the fleet needs it: what to execute for a replica, and what its end means.

It is a program of its own, in a Python of its own: `engine.vllm_python` says where. We hand it the model as links to
what was verified, and a socket; it finds nothing else (perimeter/port.py, the profile of families).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import fastness
from fastness.core.gang import INTERFACE, address_of
from fastness.core.model import ModelKind
from fastness.core.replica import Diagnosis
from fastness.engines import diagnosis
from fastness.engines.port import EngineAdapter, EngineTask, Launch
from fastness.scheduling.memory_vllm import BLOCK_TOKENS, CACHE_TYPE, DEVICE_PART, context_blocks

MEMORY_BYTES_MAX: Final = 1 << 46
"""Address space: a bound for form's sake. CUDA maps more than any machine has; its own memory binds what is used."""
PROCESSES_MAX: Final = 4_096
"""Processes and threads of one replica: a process a device, and torch's threads, of which each has many."""
LEFT_OUT: Final = frozenset({"sentence_bert_config.json"})
"""It says how long texts were in training, and vLLM takes that for the most that the model can read."""
ADAPTER_CONFIG: Final = "adapter_config.json"
ADAPTER_FILES: Final = frozenset({ADAPTER_CONFIG, "adapter_model.safetensors"})
"""What it loads of an adapter, and nothing else of its folder."""

_ROOT: Final = str(Path(fastness.__file__).resolve().parents[1])
_CHILD: Final = (
    f"import sys; sys.path.append({_ROOT!r}); from fastness.engines.vllm import child; sys.exit(child.main())"
)
GANG_PORT: Final = 29_501
"""Where the first member of a gang waits for the others; all other ports that they open are any."""
GANG_WORKER: Final = "fastness.engines.vllm.worker.Worker"

_SYSTEM: Final = ("/usr/bin", "/sys/devices/system", "/usr/share/zoneinfo")
"""What it looks at of the machine: tools that tell how many cores there are."""
_ACCELERATED: Final = ("/proc/driver/nvidia", "/sys/module/nvidia", "/sys/bus/pci", "/sys/devices", "/sys/class/net")
"""What it looks at beside that, where it has graphics processors: what they are, and how they are wired."""


class VllmEngine:
    """See Engine."""

    name = "vllm"

    def launch(self, task: EngineTask) -> Launch:
        """See Engine. Raises ValueError where there is no vLLM, and for a model that is no folder of safetensors."""
        python = interpreter(task.python)
        if not task.files:
            raise ValueError(
                f"{task.card.name} is a GGUF file, which vLLM does not read: it needs a folder with config.json and "
                'safetensors. Admit that one, or deploy this with engine = "llamacpp"'
            )
        if task.cache_type != CACHE_TYPE:
            raise ValueError(
                f"cache_type is {task.cache_type}; vLLM keeps keys and values as the model has its numbers: "
                f"leave it out, or say {CACHE_TYPE}"
            )
        folder, adapters = task.scratch / "model", adapter_links(task)
        files = {name: path for name, path in task.files if name not in LEFT_OUT}
        told = {
            "files": {name: str(path) for name, path in files.items()},
            "folder": str(folder),
            "adapters": {str(link): str(path) for link, path in adapters},
            "arguments": arguments(task),
            "cache_tokens": _cache_tokens(task),
            "stages": task.seat.members,
            "follows": str(task.socket) if task.seat.rank else "",
        }
        return Launch(
            argv=(str(python), "-I", "-c", _CHILD, json.dumps(told)),
            environ=environ(task),
            readable=(*homes(python), *seen(task.accelerators)),
            memory_bytes_max=MEMORY_BYTES_MAX,
            links=(*((folder / name, path) for name, path in files.items()), *adapters),
            family=True,
            processes_max=PROCESSES_MAX,
        )

    def health(self) -> str:
        """See Engine."""
        return "/health"

    def diagnose(self, stderr: tuple[str, ...], exit_code: int | None) -> Diagnosis:
        """See Engine."""
        return diagnosis.diagnose(stderr, exit_code)


def interpreter(said: str) -> Path:
    """Return the Python that has vLLM; raises ValueError, saying what to set."""
    python = Path(said)
    if not said or not python.is_file():
        found = f"engine.vllm_python is {said!r}, and there is no such file" if said else "engine.vllm_python is empty"
        raise ValueError(
            f"{found}; vLLM needs a Python environment of its own. Make one (docs/how-to/run-vllm.md) and name its "
            "interpreter: FASTNESS__ENGINE__VLLM_PYTHON=/path/to/venv/bin/python"
        )
    return python


def homes(python: Path) -> tuple[Path, ...]:
    """Return what must be readable for an environment's interpreter to run: itself, and the Python it was made from."""
    real = python.resolve()
    found = [python.parent.parent.resolve(), real.parent.parent] if real.parent.parent != Path("/usr") else []
    return tuple(dict.fromkeys(found or [python.parent.parent.resolve()]))


def seen(accelerators: int) -> tuple[Path, ...]:
    """Return what it may read of this machine."""
    wanted = map(Path, (*_SYSTEM, *_ACCELERATED) if accelerators else _SYSTEM)
    return tuple(path.resolve() for path in wanted if path.exists())


def adapter_links(task: EngineTask) -> tuple[tuple[Path, Path], ...]:
    """Return the files of its adapters, as links in a folder for each; raises ValueError for one in another format."""
    found = []
    for one in task.adapters:
        if not dict(one.files).get(ADAPTER_CONFIG):
            raise ValueError(
                f"an adapter for {task.card.name} is a GGUF file, which vLLM does not read: it needs a folder with "
                f"{ADAPTER_CONFIG} and safetensors"
            )
        found += [(_adapter_folder(task, one) / name, path) for name, path in one.files if name in ADAPTER_FILES]
    return tuple(found)


def _adapter_folder(task: EngineTask, one: EngineAdapter) -> Path:
    return task.scratch / "adapters" / one.digest


def arguments(task: EngineTask) -> list[str]:
    """Write vLLM's command line, but for where the model is."""
    words: dict[str, object] = {
        "served-model-name": "model",
        "block-size": BLOCK_TOKENS,
        "chat-template-content-format": "string",
        "uds": task.socket,
        "max-model-len": task.context_tokens,
        "max-num-seqs": task.slots,
        "generation-config": "vllm",  # a model's own defaults would change what callers did not say
        "scheduling-policy": "priority",
        "middleware": "fastness.engines.vllm.texts.Texts",
        "uvicorn-log-level": "warning",
    }
    flags = ["--disable-uvicorn-access-log", "--disable-fastapi-docs", "--enable-prompt-tokens-details"]
    if task.card.kind is ModelKind.EMBEDDING:
        words |= {"runner": "pooling"}
    else:
        words |= {"structured-outputs-config.backend": "guidance"}
        flags.append("--enable-prefix-caching")
    if task.accelerators:
        words |= {"tensor-parallel-size": task.accelerators, "gpu-memory-utilization": DEVICE_PART}
    else:
        # With 16 bits an answer that goes on elsewhere may take another way: the rounding decides between near words.
        # Its cache is as large as we say; beside that it would ask for nearly all memory of the machine to be free.
        words |= {"dtype": "float32", "gpu-memory-utilization": 0.01}
        flags.append("--enforce-eager")
    if task.seat.members > 1:
        words |= _in_a_gang(task)
    if task.adapters:
        # All of them lie where they are used: one that waited for another's place would be another time to the first
        # token, and that would tell what others asked.
        words |= {"max-loras": len(task.adapters), "max-cpu-loras": len(task.adapters)}
        modules = (f"{one.digest}={_adapter_folder(task, one)}" for one in task.adapters)
        flags += ["--enable-lora", "--lora-modules", *modules]
    return [*(f"--{name}={value}" for name, value in words.items()), *flags]


def _in_a_gang(task: EngineTask) -> dict[str, object]:
    """Layers are parted over nodes, and what is parted over the devices of one stays there.

    Between nodes go what one layer makes of each token, once: parting each layer sends eighty times as much (measured).
    """
    seat = task.seat
    words: dict[str, object] = {
        "pipeline-parallel-size": seat.members,
        "distributed-executor-backend": "mp",
        "nnodes": seat.members,
        "node-rank": seat.rank,
        "master-addr": address_of(0),
        "master-port": GANG_PORT,
    }
    return words if task.accelerators else words | {"worker-cls": GANG_WORKER}


def _cache_tokens(task: EngineTask) -> int:
    """Return how many tokens its cache holds on the processor; 0: it finds out what is left on its devices.

    An embedding model keeps nothing, but it wants a cache all the same.
    """
    if task.accelerators:
        return 0
    if task.card.kind is not ModelKind.CHAT:
        return 2 * task.context_tokens
    return context_blocks(task.slots, task.context_tokens) * BLOCK_TOKENS


def environ(task: EngineTask) -> dict[str, str]:
    """Return its environment: it asks no hub and tells nobody, and what it caches lies in its scratch directory."""
    scratch, alone = str(task.scratch), task.seat.members == 1
    interface = "lo" if alone else INTERFACE
    places = ("HOME", "TMPDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "TRITON_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR")
    said = dict.fromkeys(places, scratch) | {
        "LANG": "C.UTF-8",
        "PATH": "/usr/bin:/bin",
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "VLLM_HOST_IP": "127.0.0.1" if alone else address_of(task.seat.rank),
        "VLLM_LOOPBACK_IP": "127.0.0.1",
        "GLOO_SOCKET_IFNAME": interface,
        "NCCL_SOCKET_IFNAME": interface,
        "NCCL_IB_DISABLE": "1",  # a fabric of its own would be outside of what doors see
        "VLLM_RPC_BASE_PATH": scratch,
        "VLLM_LOGGING_LEVEL": "INFO",
        "VLLM_PLUGINS": "",
    }
    if not task.accelerators:
        said |= {"OMP_NUM_THREADS": str(task.threads)}
    return said
