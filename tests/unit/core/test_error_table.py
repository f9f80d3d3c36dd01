"""The one table of error codes: whole, in OpenAI's words, and the only source of codes."""

from __future__ import annotations

import pytest

from fastness.core.error import ERROR_CODES, Refusal

TYPES = {
    400: {"invalid_request_error"},
    401: {"authentication_error"},
    403: {"permission_error"},
    404: {"not_found_error"},
    429: {"rate_limit_error"},
}


def test_every_row_is_known_by_its_own_code() -> None:
    assert all(code == row.code for code, row in ERROR_CODES.items())


def test_a_code_is_lower_case_words_so_that_it_can_be_a_metric_label_and_an_anchor() -> None:
    assert all(code.replace("_", "").isalnum() and code == code.lower() for code in ERROR_CODES)


def test_every_status_is_an_error_of_http() -> None:
    assert all(400 <= row.status < 600 for row in ERROR_CODES.values())


def test_the_type_follows_from_the_status_as_openai_has_it() -> None:
    for row in ERROR_CODES.values():
        usual = {"server_error"} if row.status in (500, 502, 503, 504) else {"invalid_request_error"}
        assert row.type in TYPES.get(row.status, usual), row.code


def test_every_meaning_is_a_sentence() -> None:
    for row in ERROR_CODES.values():
        assert row.meaning[0].isupper(), row.code
        assert row.meaning.endswith("."), row.code


def test_no_two_codes_mean_the_same() -> None:
    assert len({row.meaning for row in ERROR_CODES.values()}) == len(ERROR_CODES)


def test_the_table_cannot_be_changed_at_run_time() -> None:
    with pytest.raises(TypeError):
        ERROR_CODES["surprise"] = next(iter(ERROR_CODES.values()))  # type: ignore[index]


def test_a_refusal_takes_status_and_type_from_the_table() -> None:
    refusal = Refusal("queue_full", "1,024 wait already. Try again in 3 s.", retry_after_s=3)
    assert (refusal.code, refusal.status, refusal.row.type) == ("queue_full", 429, "rate_limit_error")
    assert str(refusal) == refusal.message == "1,024 wait already. Try again in 3 s."
    assert (refusal.param, refusal.retry_after_s) == (None, 3)


def test_a_refusal_with_a_code_outside_the_table_is_a_defect() -> None:
    with pytest.raises(KeyError):
        Refusal("no_such_code", "never")
