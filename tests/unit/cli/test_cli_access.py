"""`fastness tenants` and `fastness keys`, on the real store, ledger and management API."""

import io
import json
import re

import pytest

from fastness.cli.keys import lifetime_s
from fastness.cli.outcome import Failure
from fastness.cli.talk import Talk
from fastness.identity.keys import parse


@pytest.fixture(params=["in-process", "socket"])
def installed(request, fastness):
    """The same verbs, while nothing runs and while control answers."""
    if request.param == "in-process":
        yield fastness
    else:
        with fastness.control():
            yield fastness


def test_a_tenant_and_a_key_are_made_listed_and_revoked(installed):
    installed.ok("tenants", "create", "health", "--name", "Department of Health", "--models", "chat-a, chat-b")
    key = installed.ok("keys", "create", "--tenant", "health", "--name", "letters", "--models", "chat-a").strip()
    assert parse(key) == "developer"

    listed = installed.ok("keys").splitlines()
    assert listed[0].split() == [
        "KEY", "TENANT", "NAME", "ROLE", "BEGINS", "CLEARANCE", "MODELS", "EXPIRES", "STATE",
    ]  # fmt: skip
    key_id = listed[1].split()[0]
    assert re.fullmatch(
        rf"{key_id} +health +letters +developer +{key[:10]}… +tenant's +chat-a +never +active", listed[1]
    )

    installed.ok("keys", "revoke", key_id, "--yes")
    assert installed.ok("keys", "list", "--tenant", "health").splitlines()[1].endswith("revoked")
    assert "a share of 2.5" in installed("tenants", "set", "health", "--share", "2.5").stderr
    installed.ok("tenants", "revoke", "health", "--yes")
    tenant = installed.ok("tenants").splitlines()[1]
    assert re.fullmatch(
        r"health +Department of Health +default +default +2.5 +chat-a, chat-b +\d{4}-\d\d-\d\d \d\d:\d\dZ +revoked",
        tenant,
    )


def test_a_new_key_alone_is_on_stdout_so_that_a_shell_can_keep_it(installed):
    installed.ok("tenants", "create", "health")
    result = installed("keys", "create", "--tenant", "health", "--role", "admin", "--expires", "30d")
    assert re.fullmatch(r"fst_admin_\w{49}\n", result.stdout)
    assert re.search(
        r"key_\w+ for tenant health, role admin, expires \d{4}-.*Z\. It is not shown again\.", result.stderr
    )
    assert installed("keys", "create", "--tenant", "health", "--quiet").stderr == ""


def test_every_act_gives_one_json_document(installed):
    assert installed.document("tenants", "create", "health")["id"] == "health"
    made = installed.document("keys", "create", "--tenant", "health")
    assert made["key"].startswith("fst_")
    listed = installed.document("keys")["keys"]
    assert [key["id"] for key in listed] == [made["id"]]
    assert made["key"] not in json.dumps(listed)
    assert installed.document("keys", "revoke", made["id"], "--yes")["state"] == "revoked"
    assert installed.document("tenants", "set", "health", "--share", "4")["share"] == 4.0
    assert installed.document("tenants", "revoke", "health", "--yes")["state"] == "revoked"
    assert len(installed.document("tenants", "list")["tenants"]) == 1


@pytest.mark.parametrize(
    ("words", "exit_code", "said", "hint"),
    [
        (("tenants", "create", "a", "--share", "0"), 2, "from 0.001 to 1,000,000", "Only the ratio"),
        (("tenants", "set", "nobody", "--share", "2"), 4, "there is no tenant nobody", "fastness tenants list"),
        (("tenants", "create", "Bad Name"), 2, "lower-case letters", "Names like"),
        (("keys", "create", "--tenant", "nobody"), 4, "there is no tenant nobody", "fastness tenants list"),
        (("keys", "revoke", "key_x", "--yes"), 4, "key_x", "fastness keys list"),
        (("keys", "revoke", "key?x=#1", "--yes"), 4, "key?x=#1", "fastness keys list"),
        (("keys", "list", "--tenant", "nobody"), 4, "There is no tenant 'nobody'", "fastness tenants list"),
    ],
)
def test_a_refusal_says_why_and_what_to_try(installed, words, exit_code, said, hint):
    result = installed(*words)
    assert result.exit_code == exit_code
    assert result.stdout == ""
    error, tried = result.stderr.splitlines()
    assert error.startswith("error  ")
    assert said.lower() in error.lower()
    assert tried.startswith("try    ")
    assert hint in tried


def test_a_taken_name_is_a_failure(installed):
    installed.ok("tenants", "create", "health")
    result = installed("tenants", "create", "health")
    assert result.exit_code == 1
    assert "exists already" in result.stderr


def test_nothing_is_revoked_unasked(fastness):
    fastness.ok("tenants", "create", "health")
    result = fastness("tenants", "revoke", "health")
    assert result.exit_code == 2
    assert "Revoke tenant health and all of its keys, for good? Nobody can be asked here." in result.stderr
    assert "--yes" in result.stderr
    assert fastness.document("tenants")["tenants"][0]["state"] == "active"


@pytest.mark.parametrize(
    ("text", "seconds"), [("45s", 45), ("90m", 5_400), ("12h", 43_200), ("30d", 2_592_000), ("2w", 1_209_600)]
)
def test_spans_are_read(text, seconds):
    assert lifetime_s(text) == seconds


@pytest.mark.parametrize("text", ["", "0d", "30", "d", "1.5h", "-3d", "30 d", "٣d", "9999999999d"])
def test_what_is_no_span_is_a_usage_error_with_examples(fastness, text):
    result = fastness("keys", "create", "--expires", text)
    assert result.exit_code == 2
    assert "30d, 12h" in result.stderr


def test_an_unknown_role_is_a_usage_error_naming_the_roles(fastness):
    result = fastness("keys", "create", "--role", "boss")
    assert result.exit_code == 2
    assert "developer" in result.stderr
    assert "admin" in result.stderr


class Person(io.StringIO):
    """Somebody at a terminal who types one line."""

    def isatty(self):
        return True


@pytest.mark.parametrize("answer", ["y\n", "YES\n"])
def test_who_says_yes_is_believed(monkeypatch, capsys, answer):
    monkeypatch.setattr("sys.stdin", Person(answer))
    Talk().confirm("Revoke it?")
    assert capsys.readouterr() == ("", "Revoke it? [y/N] ")


@pytest.mark.parametrize("answer", ["n\n", "\n", ""])
def test_anything_else_changes_nothing(monkeypatch, answer):
    monkeypatch.setattr("sys.stdin", Person(answer))
    with pytest.raises(Failure, match=r"Nothing was changed\."):
        Talk().confirm("Revoke it?")
