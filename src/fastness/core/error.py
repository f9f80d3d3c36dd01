"""The one table of error codes, and the refusal that carries a code to whoever asked.

API, CLI, metrics and docs/reference/errors.md all speak these codes; a test holds the table and the page together.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Final


@dataclass(frozen=True, slots=True)
class ErrorCode:
    """One row: `status` is the HTTP status, `type` the OpenAI error type, `meaning` what a reader is told."""

    code: str
    status: int
    type: str
    meaning: str


_INVALID: Final = "invalid_request_error"
_ROWS: Final = (
    ErrorCode("invalid_json", 400, _INVALID, "The body is not valid JSON."),
    ErrorCode("invalid_type", 400, _INVALID, "A field has the wrong type."),
    ErrorCode("invalid_value", 400, _INVALID, "A field has a value outside its range."),
    ErrorCode("missing_field", 400, _INVALID, "A required field is absent."),
    ErrorCode("unknown_field", 400, _INVALID, "The body has a field that this API does not know."),
    ErrorCode("unsupported_parameter", 400, _INVALID, "The model's engine cannot do what a parameter asks."),
    ErrorCode("unsupported_schema", 400, _INVALID, "A JSON schema uses a feature that cannot be enforced."),
    ErrorCode("context_length_exceeded", 400, _INVALID, "Input and output do not fit the model's context."),
    ErrorCode("limit_exceeded", 400, _INVALID, "A documented limit on the request is exceeded."),
    ErrorCode("unknown_marking", 400, _INVALID, "A marking or caveat that the profile here does not define."),
    ErrorCode("malformed_http", 400, _INVALID, "The bytes on the connection are not a valid HTTP/1.1 request."),
    ErrorCode("missing_api_key", 401, "authentication_error", "No API key was sent."),
    ErrorCode("invalid_api_key", 401, "authentication_error", "The API key is malformed or unknown."),
    ErrorCode("expired_api_key", 401, "authentication_error", "The API key's time is over."),
    ErrorCode("revoked_api_key", 401, "authentication_error", "The API key was revoked."),
    ErrorCode("invalid_token", 401, "authentication_error", "The access token cannot be believed; it says why."),
    ErrorCode("expired_token", 401, "authentication_error", "The access token's time is over, or has not come."),
    ErrorCode("invalid_certificate", 401, "authentication_error", "The client certificate stands for nobody known."),
    ErrorCode("permission_denied", 403, "permission_error", "Policy does not permit this; the message names the rule."),
    ErrorCode(
        "marking_not_cleared",
        403,
        "permission_error",
        "The marking asked for is above what the caller, model, deployment or node is cleared for.",
    ),
    ErrorCode("parameter_not_allowed", 403, "permission_error", "Policy does not permit a parameter, or its value."),
    ErrorCode(
        "model_not_found",
        404,
        "not_found_error",
        "No such model for this key; the message lists those there are.",
    ),
    ErrorCode("route_not_found", 404, "not_found_error", "No such route."),
    ErrorCode("not_found", 404, "not_found_error", "The named thing does not exist."),
    ErrorCode("method_not_allowed", 405, _INVALID, "The route exists, but not for this method."),
    ErrorCode("request_timeout", 408, _INVALID, "Headers or body did not arrive in time."),
    ErrorCode("conflict", 409, _INVALID, "The thing exists already, or is in a state that forbids this."),
    ErrorCode("length_required", 411, _INVALID, "The body's length is neither given nor chunked."),
    ErrorCode("body_too_large", 413, _INVALID, "The body exceeds the limit."),
    ErrorCode("expectation_failed", 417, _INVALID, "Only `Expect: 100-continue` is understood."),
    ErrorCode("artefact_refused", 422, _INVALID, "A model, adapter or bundle breaks a rule of admission."),
    ErrorCode("no_node_fits", 422, _INVALID, "No node here could take a replica of this, even if it were empty."),
    ErrorCode("policy_invalid", 422, _INVALID, "The policy or its profile cannot be put in force; it says where."),
    ErrorCode("queue_full", 429, "rate_limit_error", "Too many requests wait for this model; try after Retry-After."),
    ErrorCode(
        "rate_limit_exceeded",
        429,
        "rate_limit_error",
        "A limit on requests or tokens a minute, or on requests at the same time, is reached; the message says which.",
    ),
    ErrorCode(
        "insufficient_quota",
        429,
        "rate_limit_error",
        "A limit on requests or tokens a day is reached; the message says which, and when there is more.",
    ),
    ErrorCode("headers_too_large", 431, _INVALID, "The request line or headers exceed the limit."),
    ErrorCode("client_closed", 499, _INVALID, "The client left before the answer; only seen in logs and ledger."),
    ErrorCode("internal_error", 500, "server_error", "A defect in Fastness; the request id finds it in the logs."),
    ErrorCode(
        "engine_failed",
        502,
        "server_error",
        "The engine ended or answered nonsense before the answer was whole.",
    ),
    ErrorCode("no_replica_ready", 503, "server_error", "The model is known, but no replica of it is ready."),
    ErrorCode("overloaded", 503, "server_error", "Too many request bytes are arriving at once; try again in a moment."),
    ErrorCode("draining", 503, "server_error", "This gateway is shutting down."),
    ErrorCode("store_unavailable", 503, "server_error", "Tenants and keys cannot be read, changed or published now."),
    ErrorCode("policy_unavailable", 503, "server_error", "No policy is in force here, so nothing is permitted."),
    ErrorCode(
        "identity_unavailable",
        503,
        "server_error",
        "The keys of the identity provider are missing here, or too old to be believed.",
    ),
    ErrorCode("quota_unavailable", 503, "server_error", "What is left of a limit cannot be told, so none is given."),
    ErrorCode("batches_unavailable", 503, "server_error", "Files and batches cannot be reached now; answers can."),
    ErrorCode("retention_unavailable", 503, "server_error", "What is to be kept cannot be, so it is not answered."),
    ErrorCode("receipts_unavailable", 503, "server_error", "A receipt or log cannot be read now; answers are given."),
    ErrorCode("witnesses_unavailable", 503, "server_error", "Too few witnesses have cosigned the ledger for too long."),
    ErrorCode("ledger_unavailable", 503, "server_error", "The ledger cannot record, so nothing may be answered."),
    ErrorCode("queue_timeout", 503, "server_error", "The request waited too long for a free slot."),
    ErrorCode("engine_timeout", 504, "server_error", "The engine made no progress in time."),
    ErrorCode("http_version_not_supported", 505, _INVALID, "Only HTTP/1.1 and HTTP/1.0 are spoken."),
)

ERROR_CODES: Final = MappingProxyType({row.code: row for row in _ROWS})


class Refusal(Exception):  # noqa: N818 - a refusal is an outcome of the product, not a defect of it
    """A request refused or failed, with the reason a person can act on.

    `message` says what was needed, what came, and what to try. `param` names the offending field or is None.
    `retry_after_s` becomes the Retry-After header; `should_retry`, unless None, overrides what a client would do by
    itself. Raises KeyError for a code outside the table.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        param: str | None = None,
        retry_after_s: int | None = None,
        should_retry: bool | None = None,
    ) -> None:
        super().__init__(message)
        self.row = ERROR_CODES[code]
        self.message = message
        self.param = param
        self.retry_after_s = retry_after_s
        self.should_retry = should_retry

    @property
    def code(self) -> str:
        """The code, as in the table."""
        return self.row.code

    @property
    def status(self) -> int:
        """The HTTP status, as in the table."""
        return self.row.status
