"""Every error of every route has the one shape, and says something true in each of its fields."""

import re

import pytest

from fastness.control import ledger_tiles, policy_api
from fastness.control.api import ROUTES
from fastness.control.policy_wire import POLICY_BODY_BYTES_MAX
from fastness.control.problem import HINTS
from fastness.core.error import ERROR_CODES
from fastness.ledger.port import LedgerCorrupt
from fastness.store.port import Unavailable

FIELDS = {
    "type": str,
    "title": str,
    "status": int,
    "detail": str,
    "instance": str,
    "code": str,
    "hint": str,
    "param": (str, type(None)),
}
TABLE = (*ROUTES, *policy_api.ROUTES, *ledger_tiles.ROUTES)
EVERY_ROUTE = [(method, path.removeprefix("/api/v1")) for method, path, *_ in TABLE]
READING = [(method, path) for method, path in EVERY_ROUTE if re.match("/ledger/(?!logs)", path)]
POSTS = [path for method, path in EVERY_ROUTE if method == "POST"]
LARGE = ("/policy/apply", "/policy/diff", "/policy/test")
"""Those that take a whole policy."""


def filled(path):
    """A path with its parameters filled in by what is not there."""
    for name, value in (
        ("{id}", "nobody"),
        ("{log}", "nowhere"),
        ("{index}", "0"),
        ("{code}", "no_such_code"),
        ("{path:path}", "0/000"),
    ):
        path = path.replace(name, value)
    return path


def problem_of(response, code):
    """Hold an answer to the shape, and return it."""
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert problem.keys() == FIELDS.keys()
    assert all(isinstance(problem[name], kind) for name, kind in FIELDS.items())
    row = ERROR_CODES[problem["code"]]
    assert problem["code"] == code, problem
    assert problem["status"] == response.status_code == row.status
    assert problem["type"] == f"/api/v1/errors/{code}"
    assert problem["title"] == row.meaning.rstrip(".")
    assert problem["instance"] == response.headers["x-request-id"]
    assert problem["instance"].startswith("req_")
    assert all(problem[name].strip() for name in FIELDS if name not in ("status", "param"))
    return problem


@pytest.fixture
def admin(world):
    world.post("/keys/first-admin")
    return world


@pytest.mark.parametrize(("method", "path"), EVERY_ROUTE)
def test_a_wrong_method_is_told_the_right_ones(world, method, path):
    response = world.ask("DELETE", filled(path))
    problem_of(response, "method_not_allowed")
    assert method in response.headers["allow"]


@pytest.mark.parametrize(("method", "path"), EVERY_ROUTE)
def test_an_unknown_query_parameter_is_refused_by_name(world, method, path):
    assert problem_of(world.ask(method, filled(path), params={"colour": "red"}), "unknown_field")["param"] == "colour"


@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize(
    ("content", "code", "param"),
    [
        (b"{", "invalid_json", None),
        (b"\xff", "invalid_json", None),
        (b'{"a": NaN}', "unknown_field", "a"),
        (b"[" * 60_000, "invalid_type", None),
        (b"[]", "invalid_type", None),
        (b'{"colour": "red"}', "unknown_field", "colour"),
        (b'{"' + b"x" * 60_000 + b'": 1}', "unknown_field", None),
        (b" " * 65_537, "body_too_large", None),
    ],
)
def test_a_body_that_cannot_be_is_refused(world, path, content, code, param):
    if code == "body_too_large" and path in LARGE:
        content *= POLICY_BODY_BYTES_MAX // len(content) + 1
    problem = problem_of(world.ask("POST", filled(path), content=content), code)
    assert problem["param"] == param or param is None
    assert len(problem["detail"]) < 400


@pytest.mark.parametrize("path", [path for _, path in EVERY_ROUTE if "{" in path])
def test_what_is_not_there_is_not_found(world, path):
    method = next(method for method, known in EVERY_ROUTE if known == path)
    problem_of(world.ask(method, filled(path)), "not_found")


@pytest.mark.parametrize(
    ("path", "body", "code", "param"),
    [
        ("/tenants", {}, "missing_field", "id"),
        ("/tenants", {"id": 5}, "invalid_type", "id"),
        ("/tenants", {"id": "a", "models": [5]}, "invalid_type", "models[0]"),
        ("/tenants", {"id": "Not A Name"}, "invalid_value", "id"),
        ("/tenants", {"id": "default"}, "conflict", None),
        ("/keys", {"tenant": "default"}, "missing_field", "name"),
        ("/keys", {"tenant": "default", "name": "a", "role": "king"}, "invalid_value", "role"),
        ("/keys", {"tenant": "nobody", "name": "a"}, "not_found", None),
        ("/keys", {"tenant": "default", "name": "a", "ttl_s": 1.5}, "invalid_type", "ttl_s"),
        ("/keys", {"tenant": "default", "name": "a", "ttl_s": 0}, "invalid_value", "ttl_s"),
        ("/keys", {"tenant": "default", "name": "a", "expires_s": -1}, "invalid_value", "expires_s"),
        ("/keys", {"tenant": "default", "name": "a", "ttl_s": 10**400}, "invalid_value", "ttl_s"),
        ("/keys", {"tenant": "default", "name": "a", "models": []}, "invalid_value", "models"),
    ],
)
def test_a_field_that_does_not_fit_is_named(admin, path, body, code, param):
    assert problem_of(admin.ask("POST", path, json=body), code)["param"] == param


@pytest.mark.parametrize(
    ("path", "query", "code", "param"),
    [
        ("/keys", {"tenant": "nobody"}, "not_found", "tenant"),
        ("/keys", [("tenant", "a"), ("tenant", "b")], "invalid_value", "tenant"),
        ("/logs", {"process": "../../etc/passwd"}, "not_found", "process"),
        ("/logs", {"lines": "many"}, "invalid_value", "lines"),
        ("/logs", {"lines": "0"}, "invalid_value", "lines"),
        ("/logs", {"lines": "10001"}, "invalid_value", "lines"),
        ("/logs", {"lines": "-1"}, "invalid_value", "lines"),
        ("/logs", {"lines": "\u0663"}, "invalid_value", "lines"),
        ("/ledger/tail", {"count": "1001"}, "invalid_value", "count"),
        ("/ledger/tail", {"log": "../secrets"}, "not_found", "log"),
        ("/ledger/find", {"type": "everything"}, "invalid_value", "type"),
        ("/ledger/find", {"prompt": "x"}, "unknown_field", "prompt"),
        ("/ledger/entries/node/minus", {}, "invalid_value", "index"),
    ],
)
def test_a_query_that_does_not_fit_is_named(world, path, query, code, param):
    assert problem_of(world.ask("GET", path, params=query), code)["param"] == param


@pytest.mark.parametrize("path", ["/nothing", "/keys/", "/status/", "/", "/keys/x/../y", "//keys"])
def test_what_is_no_route_says_so_and_redirects_nowhere(world, path):
    problem_of(world.ask("GET", path), "route_not_found")


def test_outside_the_api_there_is_nothing(world):
    problem_of(world.ask("GET", "/../../docs"), "route_not_found")


class Broken:
    """Stands for a store, and raises whatever is asked of it."""

    def __init__(self, error):
        self.error = error

    def __getattr__(self, name):
        def refuse(*_args):
            raise self.error

        return refuse


STORING = [
    (method, path, body)
    for method, path, body in (
        ("GET", "/tenants", None),
        ("POST", "/tenants", {"id": "tax"}),
        ("POST", "/tenants/default/revoke", None),
        ("GET", "/keys", None),
        ("POST", "/keys", {"tenant": "default", "name": "ci"}),
        ("POST", "/keys/ephemeral", None),
        ("POST", "/keys/first-admin", None),
        ("POST", "/keys/key_1/revoke", None),
    )
]


@pytest.mark.parametrize(("method", "path", "body"), STORING)
def test_a_store_that_cannot_be_used_is_said_so(world, method, path, body):
    world.access._store = Broken(Unavailable("the store is locked"))
    problem = problem_of(world.ask(method, path, json=body), "store_unavailable")
    assert problem["detail"] == "The store is locked."


@pytest.mark.parametrize(("method", "path", "body"), STORING)
def test_a_defect_is_named_by_its_request_id_and_told_to_the_log_alone(world, method, path, body):
    world.access._store = Broken(ZeroDivisionError("secret details"))
    response = world.ask(method, path, json=body)
    problem = problem_of(response, "internal_error")
    assert "secret details" not in response.text
    level, event, fields = world.log.records[-1]
    assert (level, event, fields["reason"]) == ("error", "request.failed", "ZeroDivisionError")
    assert fields["request_id"] == problem["instance"]
    assert fields["where"].startswith("test_problem_shape.py:")


@pytest.mark.parametrize(
    ("path", "body"),
    [("/tenants", {"id": "tax"}), ("/keys", {"tenant": "default", "name": "ci"}), ("/keys/ephemeral", {})],
)
def test_a_ledger_that_cannot_record_is_said_so(admin, path, body):
    admin.ledger.refusal = "disk full"
    assert "disk full" in problem_of(admin.ask("POST", path, json=body), "ledger_unavailable")["detail"]


@pytest.mark.parametrize(("method", "path"), READING)
def test_a_ledger_that_cannot_be_read_is_said_so(world, monkeypatch, method, path):
    (world.deps.ledger_directory / "nowhere").mkdir(parents=True)
    for name in ("verify", "read", "tail", "find"):
        monkeypatch.setattr(
            f"fastness.control.evidence.ledger.{name}", lambda *_, **__: (_ for _ in ()).throw(LedgerCorrupt("torn"))
        )
    problem_of(world.ask(method, filled(path)), "ledger_unavailable")


def test_a_snapshot_that_cannot_be_replaced_is_said_so(admin, tmp_path):
    admin.run_directory.rename(tmp_path / "elsewhere")
    problem = problem_of(admin.ask("POST", "/tenants", json={"id": "tax"}), "store_unavailable")
    assert "access.json" in problem["detail"]
    assert "tried again" in problem["detail"]


def test_each_request_has_its_own_id_also_when_it_succeeds(world):
    ids = {world.ask("GET", "/status").headers["x-request-id"] for _ in range(3)}
    assert len(ids) == 3


def test_hints_are_for_codes_that_there_are():
    assert HINTS.keys() <= ERROR_CODES.keys()
