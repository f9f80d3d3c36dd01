"""The reference page of the management API says what the code does."""

import re
from pathlib import Path

import msgspec
import pytest

from fastness.control import (
    access,
    api,
    evidence,
    kept,
    ledger_tiles,
    observed,
    policies,
    policy_api,
    policy_wire,
    problem,
    process,
    receipts,
    served_wire,
    upkeep,
    validation,
    wire,
)
from fastness.core.error import ERROR_CODES
from fastness.core.replica import Replica, ReplicaState
from fastness.identity import authenticator
from fastness.store import database

DOCS = Path(__file__).parents[3] / "docs"
PAGE = (DOCS / "reference" / "management-api.md").read_text()
EXPLANATION = (DOCS / "explanation" / "keys-and-tenants.md").read_text()
SHOWN = (
    problem.ProblemDetails,
    observed.Status,
    observed.ReplicaCount,
    observed.LogTail,
    wire.NewTenant,
    wire.NewKey,
    wire.TenantView,
    wire.KeyView,
    wire.IssuedKeyView,
    served_wire.ModelView,
    served_wire.ServedView,
    served_wire.DeploymentView,
    served_wire.NodeView,
    policy_wire.GivenPolicy,
    policy_wire.ApplyPolicy,
    policy_wire.TestPolicy,
    policy_wire.ExplainPolicy,
    policy_wire.GivenParameters,
    policy_wire.PolicyView,
    policy_wire.PrincipalView,
    policy_wire.DecisionView,
    policy_wire.ExplanationView,
    policy_wire.OutcomeView,
    policy_wire.TrialView,
    policy_wire.DifferenceView,
    wire.SettingView,
    evidence.Verification,
    evidence.LogView,
    evidence.FaultView,
    evidence.EntryView,
)
LIMITS = (
    wire.BODY_BYTES_MAX,
    policy_wire.POLICY_BODY_BYTES_MAX,
    policies.HISTORY_MAX,
    validation.TENANTS_MAX,
    validation.KEYS_MAX,
    validation.LIFETIME_MAX_S,
    validation.TENANT_NAME_CHARS_MAX,
    validation.MODELS_MAX,
    validation.MODEL_CHARS_MAX,
    validation.MODELS_CHARS_MAX,
    validation.ENDED_KEPT_S,
    validation.SHORT_LIFETIME_S,
    validation.SHORT_ENDED_KEPT_S,
    process.CONNECTIONS_MAX,
    process.IDLE_TIMEOUT_S,
    process.DRAIN_TIMEOUT_S,
    database.BUSY_TIMEOUT_MS,
    int(upkeep.PUBLISH_PERIOD_S),
    api.LOG_LINES_MAX,
    api.ENTRIES_MAX,
    observed.LOG_TAIL_BYTES_MAX,
    access.EPHEMERAL_TTL_S,
)


def test_every_route_has_its_heading_and_there_are_no_others():
    headings = re.findall(r"^### `([A-Z]+) ([^`]+)`$", PAGE, re.MULTILINE)
    assert sorted(headings) == sorted(
        (method, path)
        for method, path, *_ in (
            *api.ROUTES,
            *policy_api.ROUTES,
            *kept.ROUTES,
            *ledger_tiles.ROUTES,
            *receipts.ROUTES,
        )
    )


@pytest.mark.parametrize("shown", SHOWN, ids=lambda shown: shown.__name__)
def test_every_field_is_named(shown):
    assert [name for name in msgspec.structs.fields(shown) if f"`{name.encode_name}`" not in PAGE] == []


def test_every_field_of_a_replica_and_every_state_is_named():
    names = [*Replica.__dataclass_fields__, *ReplicaState]
    assert [name for name in names if f"`{name}`" not in PAGE] == []


def test_every_limit_is_given():
    assert [limit for limit in LIMITS if not re.search(rf"\b{limit:,}\b", PAGE)] == []
    assert f"{authenticator.AUTHORIZATION_CHARS_MAX} characters" in EXPLANATION


def test_the_codes_named_are_codes():
    listed = PAGE.partition("The codes that these routes use:")[2].partition(".")[0]
    codes = re.findall(r"`([a-z_]+)`", listed)
    assert len(codes) > 10
    assert set(codes) <= ERROR_CODES.keys()


def test_every_parameter_of_the_query_is_named():
    assert [
        name for name in (*api.FIND_FIELDS, "log", "count", "process", "lines", "tenant") if f"`{name}`" not in PAGE
    ] == []
