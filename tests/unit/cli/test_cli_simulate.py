"""`fastness simulate` needs no installation, tells what happened, and says how to see it again."""

import json

import pytest

from fastness.cli.simulate import clock, verdict
from fastness.fleet.simulated import SimulatedNodes
from fastness.simulator.drawing import draw
from fastness.simulator.laws import Broken
from fastness.simulator.reading import SHIPPED, ScenarioError, read, shipped
from fastness.simulator.world import Rules, World


@pytest.mark.slow
def test_a_power_cut_is_told_as_an_operator_would_tell_it(fastness):
    said = fastness.ok("simulate", "power-cut", "--hours", "0.3")
    assert "node leeds-01 lost its power" in said
    assert "node leeds-01 lost (nothing was heard of it for" in said
    assert "resumed on" in said and ", 0 failed" in said
    assert "replicas placed: " in said
    assert "DEPLOYMENT" in said
    assert "laws       kept in" in said


@pytest.mark.slow
def test_json_has_the_timeline_the_figures_and_the_laws(fastness):
    document = json.loads(fastness.ok("simulate", "two-departments", "--hours", "0.5", "--seed", "3", "--json"))
    assert document["seed"] == 3 and document["nodes"] == 2
    assert document["laws"]["broken"] is None and document["laws"]["looks"] > 1_000
    health = document["deployments"][0]
    assert health["deployment"] == "chat-health" and health["slo_attainment"] > 0.99
    assert any("guaranteed to health" in one["text"] for one in document["timeline"])


def test_without_a_scenario_one_is_drawn_from_the_seed(fastness):
    once = fastness.ok("simulate", "--seed", "5", "--hours", "1.5")
    assert once == fastness.ok("simulate", "--seed", "5", "--hours", "1.5")
    assert "seed 5" in once


def test_an_unknown_scenario_and_a_wrong_field_are_refused_with_what_there_is(fastness, tmp_path):
    refused = fastness("simulate", "power-cult")
    assert refused.exit_code == 2
    assert "Shipped are burst, power-cut, two-departments" in refused.stderr
    wrong = tmp_path / "wrong.toml"
    wrong.write_text((SHIPPED / "burst.toml").read_text() + "\n[[faults]]\nat_s = 1\nkind = 'flood'\n")
    refused = fastness("simulate", str(wrong))
    assert refused.exit_code == 2
    assert "flood" in refused.stderr and "faults[0].kind" in refused.stderr


@pytest.mark.parametrize("name", shipped())
def test_every_shipped_scenario_says_what_it_is_about(name):
    scenario, about = read(name)
    assert about.endswith(".") and scenario.nodes and scenario.commands


def test_traffic_for_a_deployment_that_is_not_there_is_refused(tmp_path):
    path = tmp_path / "one.toml"
    path.write_text((SHIPPED / "burst.toml").read_text().replace('deployment = "assistant"', 'deployment = "asistant"'))
    with pytest.raises(ScenarioError, match="Traffic is for asistant; the deployments are assistant"):
        read(str(path))


def test_a_broken_law_is_told_with_place_time_and_seed_and_how_to_replay_it():
    world = World(draw(88_121, 1.0), Rules(nodes=SimulatedNodes))
    world.now_s = 412.0
    broken = Broken("over-allocation", "node-3", 412.0, 88_121, "gpu-0 is held by a and b")
    assert str(broken).startswith("law 7: over-allocation on node-3 at t=412.0 s, seed 88121")
    assert verdict(world, broken).endswith("replay     fastness simulate --seed 88121 --hours 1")


def test_the_clock_counts_from_the_beginning():
    assert clock(52_267.9) == "14:31:07"
