"""Makes models in vLLM's format out of the starter models, in vLLM's own Python: nothing is downloaded.

`python tests/vllm_weights.py FILE.gguf FOLDER` writes `FOLDER/smollm2-135m-instruct/`: config, tokenizer, safetensors.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

CHAT = "smollm2-135m-instruct"


def main(source: Path, target: Path) -> None:
    os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    folder, told = str(source.parent), {"gguf_file": source.name, "local_files_only": True}
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.bfloat16, quantization_config=GgufConfig(dequantize=True), **told
    )
    model.save_pretrained(target / CHAT)
    AutoTokenizer.from_pretrained(folder, **told).save_pretrained(target / CHAT)
    for file in (target / CHAT).iterdir():
        file.chmod(0o644)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
