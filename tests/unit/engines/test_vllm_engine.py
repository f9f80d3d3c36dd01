"""What is executed for a replica of vLLM, and what is refused before anything is."""

from __future__ import annotations

import json
import os
import socket
import tempfile
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from fastness.core.gang import Seat
from fastness.core.model import ModelCard, ModelKind
from fastness.engines.port import EngineAdapter, EngineTask
from fastness.engines.vllm import child, following
from fastness.engines.vllm.engine import VllmEngine

ENGINE = VllmEngine()


@pytest.fixture
def task(tmp_path: Path) -> EngineTask:
    python = tmp_path / "venv/bin/python"
    python.parent.mkdir(parents=True)
    python.touch()
    card = ModelCard("m", ModelKind.CHAT, "0" * 64, 1_000, "MIT", 8_192, 0, format="safetensors")
    files = (("config.json", Path("/proc/self/fd/7")), ("sentence_bert_config.json", Path("/proc/self/fd/8")))
    scratch = tmp_path / "r"
    return EngineTask(
        card, scratch / "model", scratch / "engine.sock", scratch, 4, 1_000, 2, files=files, python=str(python)
    )


def told(task: EngineTask) -> dict[str, object]:
    return json.loads(ENGINE.launch(task).argv[-1])


def test_it_runs_isolated_and_asks_nobody(task: EngineTask) -> None:
    launch = ENGINE.launch(task)
    assert launch.argv[:2] == (task.python, "-I")
    assert launch.family and launch.processes_max > 512
    assert launch.environ["HF_HUB_OFFLINE"] == launch.environ["VLLM_NO_USAGE_STATS"] == "1"
    assert "LD_PRELOAD" not in launch.environ and "PYTHONPATH" not in launch.environ
    assert launch.links == ((task.scratch / "model/config.json", Path("/proc/self/fd/7")),)


def test_its_cache_holds_what_the_slots_need_on_the_processor(task: EngineTask) -> None:
    assert told(task)["cache_tokens"] == 32 * (4 * (32 + 1) + 1)
    arguments = told(task)["arguments"]
    assert "--max-num-seqs=4" in arguments and "--max-model-len=1000" in arguments
    assert not [one for one in arguments if one.startswith("--tensor-parallel")]


def test_a_model_is_parted_over_the_devices_that_it_holds(task: EngineTask) -> None:
    found = told(replace(task, accelerators=4))
    assert "--tensor-parallel-size=4" in found["arguments"]
    assert found["cache_tokens"] == 0, "it takes what is left on its devices"
    assert "--enforce-eager" not in found["arguments"]


def test_over_several_nodes_layers_are_parted_and_everything_is_said_over_the_gangs_interface(task: EngineTask) -> None:
    second = replace(task, seat=Seat(1, 3))
    arguments = told(second)["arguments"]
    wanted = ("--pipeline-parallel-size=3", "--nnodes=3", "--node-rank=1", "--master-addr=198.18.0.1")
    assert set(wanted) <= set(arguments) and "--worker-cls=fastness.engines.vllm.worker.Worker" in arguments
    assert told(second)["follows"] == str(task.socket) and not told(replace(task, seat=Seat(0, 3)))["follows"]
    environ = ENGINE.launch(second).environ
    assert (environ["VLLM_HOST_IP"], environ["GLOO_SOCKET_IFNAME"]) == ("198.18.0.2", "gang0")
    assert (environ["NCCL_SOCKET_IFNAME"], environ["NCCL_IB_DISABLE"]) == ("gang0", "1")
    on_devices = told(replace(second, accelerators=4))["arguments"]
    assert {"--tensor-parallel-size=4", "--pipeline-parallel-size=3"} <= set(on_devices)
    assert not [one for one in on_devices if one.startswith("--worker-cls")]
    assert not [one for one in told(task)["arguments"] if "nnodes" in one or "pipeline" in one]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"python": ""}, "vllm_python is empty.*FASTNESS__ENGINE__VLLM_PYTHON"),
        ({"python": "/no/such/python"}, "no such file"),
        ({"files": ()}, 'GGUF file.*engine = "llamacpp"'),
        ({"cache_type": "q8_0"}, "q8_0.*f16"),
    ],
)
def test_what_it_cannot_be_is_refused_with_what_to_do(task: EngineTask, changed: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ENGINE.launch(replace(task, **changed))


def test_the_template_parts_control_tokens_wherever_the_model_keeps_it(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "tokenizer.json").write_text(
        '{"added_tokens": [{"content": "<|im_end|>", "special": true}, {"content": "<x>", "special": false}]}'
    )
    (folder / "tokenizer_config.json").write_text('{"chat_template": "{{ messages[0].content }}"}')
    written = child.write_template(folder)
    assert written is not None
    text = written.read_text()
    assert "replace('<|im_end|>', '< |im_end|>')" in text and "'<x>'" not in text
    (folder / "chat_template.jinja").write_text("another")
    assert child.write_template(folder).read_text().endswith("another")  # type: ignore[union-attr]
    assert child.write_template(tmp_path) is None


def test_a_token_takes_its_keys_and_values(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(
        '{"num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3, "hidden_size": 576}'
    )
    assert child.token_bytes(tmp_path) == 30 * 2 * 3 * 64 * 4
    assert child.token_bytes(tmp_path, 4) == 8 * 2 * 3 * 64 * 4, "what the largest stage holds"


def test_a_member_that_is_asked_nothing_says_that_it_is_well() -> None:
    with tempfile.TemporaryDirectory(prefix="fsf-") as folder:
        path = Path(folder) / "engine.sock"
        with closing(following.answer(str(path))), socket.socket(socket.AF_UNIX) as asking:
            asking.connect(str(path))
            asking.sendall(b"GET /health HTTP/1.1\r\n\r\n")
            assert asking.recv(100).startswith(b"HTTP/1.1 200")


def adapted(task: EngineTask, *digests: str) -> EngineTask:
    files = (("README.md", Path("/proc/self/fd/10")), ("adapter_config.json", Path("/proc/self/fd/11")))
    return replace(task, adapters=tuple(EngineAdapter(one, 1, files) for one in digests))


def test_adapters_are_loaded_as_it_starts_each_under_its_digest_and_nothing_else_of_their_folders(task) -> None:
    launch, found = ENGINE.launch(adapted(task, "aa", "bb")), told(adapted(task, "aa", "bb"))
    link = task.scratch / "adapters/bb/adapter_config.json"
    assert (link, Path("/proc/self/fd/11")) in launch.links
    assert not [path for path, _ in launch.links if path.name == "README.md"]
    assert found["adapters"][str(link)] == "/proc/self/fd/11"
    arguments = found["arguments"]
    at = arguments.index("--lora-modules")
    assert arguments[at + 1 :] == [f"{one}={task.scratch / 'adapters' / one}" for one in ("aa", "bb")]
    assert {"--enable-lora", "--max-loras=2", "--max-cpu-loras=2"} <= set(arguments)
    assert not [one for one in told(task)["arguments"] if "lora" in one]
    assert not [one for one in launch.environ if "LORA" in one], "nobody loads one into an engine that runs"


def test_an_adapter_in_another_format_is_refused(task: EngineTask) -> None:
    one = EngineAdapter("aa", 1, (("", Path("/proc/self/fd/11")),))
    with pytest.raises(ValueError, match="GGUF file, which vLLM does not read"):
        ENGINE.launch(replace(task, adapters=(one,)))


def test_there_is_room_for_the_highest_rank(tmp_path: Path) -> None:
    files = []
    for name, rank in (("a", 4), ("b", 17)):
        (tmp_path / name).mkdir()
        files += [tmp_path / name / "adapter_config.json", tmp_path / name / "adapter_model.safetensors"]
        files[-2].write_text(json.dumps({"r": rank}))
    assert child.rank_max(files[:2]) == 8
    assert child.rank_max(files) == 32
    files[0].write_text('{"r": 513}')
    with pytest.raises(ValueError, match="rank 513"):
        child.rank_max(files)


def test_what_the_seal_has_not_linked_is_linked_and_what_it_has_is_left(tmp_path: Path) -> None:
    (tmp_path / "there").symlink_to("/elsewhere")
    child.link({tmp_path / "there": "/proc/self/fd/5", tmp_path / "new/file": "/proc/self/fd/6"})
    assert os.readlink(tmp_path / "there") == "/elsewhere"
    assert os.readlink(tmp_path / "new/file") == f"/proc/{os.getpid()}/fd/6"
