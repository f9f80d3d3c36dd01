"""The reference pages of the fleet say what the code does."""

import re
from pathlib import Path

import msgspec
import pytest

from fastness.control import deployments, desired_wire, fleet_events, fleet_wire, given_fleet, nodes, spec_checks, wire
from fastness.control.fleet_api import ROUTES
from fastness.core.fleet_state import Phase

DOCS = Path(__file__).parents[3] / "docs"
PAGE = (DOCS / "reference/fleet-api.md").read_text()
FILE = (DOCS / "reference/deployment-file.md").read_text()
SHOWN = [
    one
    for room in (fleet_wire, given_fleet)
    for one in vars(room).values()
    if isinstance(one, type) and issubclass(one, msgspec.Struct) and one.__module__ == room.__name__
]
SECTIONS = {
    "deployment": desired_wire.GivenDeployment,
    "deployment.parameters": desired_wire.GivenParameters,
    "deployment.needs": desired_wire.GivenNeeds,
    "deployment.scaling": desired_wire.GivenScaling,
    "deployment.rollout": desired_wire.GivenRollout,
}


def test_every_route_has_its_heading_and_there_are_no_others():
    headings = re.findall(r"^### `([A-Z]+) ([^`]+)`$", PAGE, re.MULTILINE)
    assert sorted(headings) == sorted((method, path) for method, path, *_ in ROUTES)


@pytest.mark.parametrize("shown", SHOWN, ids=lambda shown: shown.__name__)
def test_every_field_is_named(shown):
    assert [one.encode_name for one in msgspec.structs.fields(shown) if f"`{one.encode_name}`" not in PAGE] == []


def test_every_bound_is_given():
    bounds = (
        deployments.DEPLOYMENTS_MAX, spec_checks.REPLICAS_MAX, given_fleet.APPLY_BYTES_MAX, wire.BODY_BYTES_MAX,
        nodes.REASON_CHARS_MAX, spec_checks.LABELS_MAX, spec_checks.LABEL_CHARS_MAX, fleet_events.EVENTS_MAX,
    )  # fmt: skip
    assert [one for one in bounds if not re.search(rf"\b{one:,}\b", PAGE)] == []
    assert [one for one in Phase if f"`{one}`" not in PAGE] == []


@pytest.mark.parametrize("section", SECTIONS)
def test_every_field_of_the_file_stands_in_its_table_with_its_bounds(section):
    table = FILE.partition(f"\n## `{section}`\n")[2].partition("\n## ")[0]
    rows = {line.split("`")[1]: line for line in table.splitlines() if line.startswith("| `")}
    expected = [one for one in SECTIONS[section].__struct_fields__ if f"{section}.{one}" not in SECTIONS]
    assert sorted(rows) == sorted(expected)
    for place, (low, high) in spec_checks.BOUNDS.items():
        above, _, leaf = f"deployment.{place}".rpartition(".")
        if above == section:
            assert f"{low:,} to {high:,}" in rows[leaf], place
    assert all(f"`{one}`" in rows["cache_type"] for one in spec_checks.CACHE_TYPES if "cache_type" in rows)
