"""How a verb ends: the exit codes, and the failure that says what was needed, what came, and what to try."""

from __future__ import annotations

from enum import IntEnum

from fastness.config import ConfigError
from fastness.core.error import Refusal


class ExitCode(IntEnum):
    """What a script may rely on; docs/reference/cli.md lists them."""

    OK = 0
    FAILED = 1
    USAGE = 2
    REFUSED = 3
    NOT_FOUND = 4
    UNREACHABLE = 5
    UNPROVED = 6


MEANINGS = {
    ExitCode.OK: "done",
    ExitCode.FAILED: "failed; the message says at what",
    ExitCode.USAGE: "the command line or a setting cannot be used as given",
    ExitCode.REFUSED: "refused by policy, quota, limit, or for want of a valid key",
    ExitCode.NOT_FOUND: "the named thing does not exist",
    ExitCode.UNREACHABLE: "nothing runs, or it does not answer",
    ExitCode.UNPROVED: "nothing is false, and it is not proved by keys that you trust (`fastness verify`)",
}

_REFUSING_CODES = frozenset({"context_length_exceeded", "limit_exceeded", "artefact_refused"})
_BY_STATUS = {
    400: ExitCode.USAGE,
    401: ExitCode.REFUSED,
    403: ExitCode.REFUSED,
    404: ExitCode.NOT_FOUND,
    422: ExitCode.USAGE,
    429: ExitCode.REFUSED,
}


class Failure(Exception):  # noqa: N818 - an outcome of a verb, not a defect of it
    """Ends a verb with `exit_code`. `summary` is one sentence; `hint` what to try; `lines` further facts, one each.

    `code` is that of core/error.py, where an API refused.
    """

    def __init__(
        self, exit_code: ExitCode, summary: str, hint: str = "", lines: tuple[str, ...] = (), code: str = ""
    ) -> None:
        super().__init__(summary)
        self.exit_code = exit_code
        self.summary = summary
        self.hint = hint
        self.lines = lines
        self.code = code


def exit_code_of(status: int, code: str) -> ExitCode:
    """Read an error answer: HTTP `status` and our `code` become an exit code."""
    if code in _REFUSING_CODES:
        return ExitCode.REFUSED
    return _BY_STATUS.get(status, ExitCode.FAILED)


def spoken(error: Exception) -> Failure | None:
    """Return the failure that an error of another room, or of the operating system, amounts to.

    What the rooms raise is written for people; anything else (None) is a defect and keeps its traceback.
    """
    if isinstance(error, Failure):
        return error
    if isinstance(error, ConfigError):
        return Failure(ExitCode.USAGE, str(error), "fastness config explain")
    if isinstance(error, Refusal):
        return Failure(exit_code_of(error.status, error.code), str(error))
    if isinstance(error, OSError) or type(error).__module__.startswith("fastness."):
        return Failure(ExitCode.FAILED, str(error) or type(error).__name__)
    return None
