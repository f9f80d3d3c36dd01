"""Every metric and log field name, pinned once. docs/reference/telemetry.md lists them; a test holds both together."""

from __future__ import annotations

from typing import Final

# OpenTelemetry GenAI semantic conventions, in Prometheus spelling.
TOKEN_USAGE: Final = "gen_ai_client_token_usage"  # noqa: S105 - tokens of text, not credentials
REQUEST_DURATION: Final = "gen_ai_server_request_duration_seconds"
TIME_TO_FIRST_TOKEN: Final = "gen_ai_server_time_to_first_token_seconds"  # noqa: S105 - as above
TIME_PER_OUTPUT_TOKEN: Final = "gen_ai_server_time_per_output_token_seconds"  # noqa: S105 - as above

REQUESTS: Final = "fastness_requests"
REFUSALS: Final = "fastness_refusals"
IN_FLIGHT: Final = "fastness_generations_in_flight"
WAITING: Final = "fastness_generations_waiting"
DISPATCHED: Final = "fastness_generations_dispatched"
REPLICAS: Final = "fastness_replicas"
REPLICAS_WANTED: Final = "fastness_replicas_wanted"
CIRCUITS: Final = "fastness_circuits"
RETRIES: Final = "fastness_retries"
LEDGER_COMMIT: Final = "fastness_ledger_commit_seconds"
QUEUE_WAIT: Final = "fastness_queue_wait_seconds"
CONNECTIONS: Final = "fastness_connections"
PROCESSES: Final = "fastness_processes"

# Buckets as the GenAI conventions give them.
DURATION_BUCKETS_S: Final = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
FIRST_TOKEN_BUCKETS_S: Final = (
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
)  # fmt: skip
PER_TOKEN_BUCKETS_S: Final = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5)
TOKEN_BUCKETS: Final = (1, 4, 16, 64, 256, 1_024, 4_096, 16_384, 65_536, 262_144, 1_048_576)
SHORT_BUCKETS_S: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0)

LOG_FIELDS: Final = frozenset({
    "time", "level", "process", "event",
    "request_id", "tenant", "key", "operation", "model", "replica", "status", "code", "stream", "choices",
    "input_tokens", "output_tokens", "cached_tokens", "queue_ms", "first_token_ms", "total_ms", "commit_ms",
    "reason", "where", "pid", "port", "epoch", "state", "engine", "restarts", "diagnosis", "elapsed_ms", "count",
    "signal", "exit_code", "socket", "version", "line", "marking", "rule", "band",
    "retried", "resumed",
})  # fmt: skip
"""The only fields a log record may have. None of them ever holds content."""
