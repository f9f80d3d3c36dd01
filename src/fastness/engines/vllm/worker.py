"""The worker of a gang on processors, in vLLM's own Python: it makes room for what the stage before it sends.

vLLM makes that room when it tries a model out, which its build for processors leaves out where nothing is compiled and
the size of the cache is said; then the first answer fails on an assertion (0.32.0).
"""

from __future__ import annotations

from typing import Any

from vllm.v1.worker.cpu_worker import CPUWorker


class Worker(CPUWorker):  # type: ignore[misc]
    """vLLM's, and that."""

    def compile_or_warm_up_model(self) -> Any:
        """See there."""
        from vllm.distributed.parallel_state import get_pp_group

        runner = self.model_runner
        if not get_pp_group().is_first_rank and runner.intermediate_tensors is None:
            runner.intermediate_tensors = runner.model.make_empty_intermediate_tensors(
                batch_size=runner.max_num_tokens, dtype=runner.model_config.dtype, device=runner.device
            )
        return super().compile_or_warm_up_model()
