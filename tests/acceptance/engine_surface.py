"""What engines would take if one could reach them: routes and request fields, read out of the engine itself where it is
installed, and written down for the one that is not."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import xllamacpp

_ROUTE = re.compile(rb"\0(/[a-z][a-zA-Z0-9_./:-]{2,60})(?=\0)")
_NAME = re.compile(rb"(?<=\0)([a-z][a-z0-9_]{2,40})(?=\0)")
_PLACES = ("/etc", "/proc", "/sys", "/dev", "/usr", "/workspace", "/rust", "/opt", "/tmp", "/topology")
"""Files and source files, whose names look like routes."""
_MARKS = (b"\0n_discard\0", b"\0chat_template_kwargs\0", b"\0return_progress\0", b"\0repeat_last_n\0")
_AROUND_BYTES = 3_000
"""The names of request fields lie together in the binary, around these."""

LLAMACPP_FIELDS = frozenset({
    "add_generation_prompt", "adaptive_decay", "adaptive_target", "backend_sampling", "cache_prompt",
    "chat_format", "chat_parser", "chat_template_kwargs", "continue_final_message", "dry_allowed_length", "dry_base",
    "dry_multiplier", "dry_penalty_last_n", "dry_sequence_breakers", "dynatemp_exponent", "dynatemp_range",
    "enable_thinking", "grammar", "grammar_lazy", "grammar_triggers", "id_slot", "ignore_eos", "input_extra",
    "input_prefix", "input_suffix", "json_schema", "lora", "min_keep", "min_p", "mirostat", "mirostat_eta",
    "mirostat_tau", "n_cmpl", "n_discard", "n_indent", "n_keep", "n_predict", "n_probs", "parse_tool_calls",
    "post_sampling_probs", "preserved_tokens", "reasoning_budget_tokens", "reasoning_format", "reasoning_in_content",
    "repeat_last_n", "repeat_penalty", "response_fields", "return_progress", "return_tokens", "samplers",
    "t_max_predict_ms", "t_max_prompt_ms", "thinking_budget_tokens", "thinking_forced_open", "timings_per_token",
    "top_k", "top_n_sigma", "typical_p", "use_jinja", "xtc_probability", "xtc_threshold", "image_data", "prompt_string",
    "multimodal_data", "speculative.n_max", "speculative.n_min", "speculative.p_min",
})  # fmt: skip
"""Known of llama.cpp's server; joined with what its binary says."""

LLAMACPP_ROUTES = (
    "/", "/api/chat", "/api/show", "/api/tags", "/embd", "/models/load", "/models/sse", "/models/unload",
    "/slots/0?action=erase", "/slots/0?action=restore", "/slots/0?action=save", "/v1/models/load",
    "/v1/models/unload",
)  # fmt: skip
"""Known of llama.cpp's server; joined with what its binary says, which has no strings for short ones."""
VLLM_ROUTES = (
    "/abort_requests", "/classify", "/collective_rpc", "/detokenize", "/generative_scoring", "/get_world_size",
    "/health", "/inference/v1/generate", "/init_weight_transfer_engine", "/invocations", "/is_paused",
    "/is_scaling_elastic_ep", "/is_sleeping", "/load", "/load_lora_adapter", "/load_lora_adapter_from_tensors",
    "/pause", "/ping", "/pooling", "/rerank", "/reset_encoder_cache", "/reset_mm_cache", "/reset_prefix_cache",
    "/resume", "/scale_elastic_ep", "/score", "/server_info", "/sleep", "/start_profile", "/start_weight_update",
    "/finish_weight_update", "/stop_profile", "/tokenize", "/tokenizer_info", "/unload_lora_adapter",
    "/update_weights", "/v1/audio/transcriptions", "/v1/audio/translations", "/v1/chat/completions/batch",
    "/v1/chat/completions/render", "/v1/completions/render", "/v1/invocations", "/v1/load_lora_adapter",
    "/v1/messages", "/v1/messages/count_tokens", "/v1/realtime", "/v1/rerank", "/v1/responses",
    "/v1/responses/resp_1", "/v1/responses/resp_1/cancel", "/v1/score", "/v1/unload_lora_adapter", "/v2/embed",
    "/v2/rerank", "/version", "/wake_up", "/docs", "/redoc",
)  # fmt: skip
VLLM_FIELDS = frozenset({
    "add_generation_prompt", "add_special_tokens", "allowed_token_ids", "bad_words", "cache_salt", "chat_template",
    "chat_template_kwargs", "continue_final_message", "data_parallel_rank", "detokenize", "documents",
    "guided_choice", "guided_decoding_backend", "guided_grammar", "guided_json", "guided_regex",
    "guided_whitespace_pattern", "ignore_eos", "include_reasoning", "include_stop_str_in_output",
    "kv_transfer_params", "length_penalty", "logits_processors", "lora_request", "max_num_batched_tokens",
    "media_io_kwargs", "min_p", "min_tokens", "mm_processor_kwargs", "priority", "prompt_embeds",
    "prompt_logprobs", "repetition_detection", "repetition_penalty", "request_id", "return_token_ids",
    "return_tokens_as_token_ids", "skip_special_tokens", "spaces_between_special_tokens", "stop_token_ids",
    "structured_outputs", "thinking_token_budget", "tokens", "top_k", "truncate_prompt_tokens",
    "truncation_side", "use_beam_search", "vllm_xargs", "ec_transfer_params", "return_hidden_states",
})  # fmt: skip


@cache
def _binary() -> bytes:
    return next(Path(xllamacpp.__file__).parent.glob("*.so")).read_bytes()


@cache
def llamacpp_routes() -> tuple[str, ...]:
    """Whatever in llama.cpp's server looks like a route. A linker keeps one string for two where one ends the other
    (`/v1/health`, `/health`), so each ending is one, too."""
    found = set(LLAMACPP_ROUTES)
    for match in _ROUTE.finditer(_binary()):
        route = match[1].decode().replace(":id_slot", "0").replace(":", "")
        if not route.startswith(_PLACES):
            found |= {route[at:] for at, letter in enumerate(route) if letter == "/" and len(route) - at > 3}
    return tuple(sorted(found))


@cache
def llamacpp_fields() -> tuple[str, ...]:
    """The names of request fields: those known, and whatever stands beside them in the binary."""
    found, binary = set(LLAMACPP_FIELDS), _binary()
    for mark in _MARKS:
        at = binary.find(mark)
        assert at > 0, f"{mark!r} is not in the engine any more: look for where its fields are"
        near = binary[at - _AROUND_BYTES : at + _AROUND_BYTES]
        found |= {match[1].decode() for match in _NAME.finditer(near)}
    return tuple(sorted(found))
