"""`fastness limits` and `fastness usage`, on an installation that does not run."""


def test_limits_are_set_listed_and_removed(fastness):
    fastness.ok("tenants", "create", "health")
    made = fastness.document("limits", "set", "--tenant", "health", "--requests-per-minute", 60, "--concurrent", 2)
    assert (made["id"], made["requests_per_minute"], made["tokens_per_day"]) == ("tenant:health", 60, None)
    assert fastness.document("limits") == {"limits": [made]}
    listed = fastness.ok("limits", "list")
    assert "tenant:health" in listed
    assert fastness.document("limits", "remove", "--tenant", "health", "--yes") == made
    assert "No limits yet" in fastness("limits").stderr


def test_usage_shows_what_is_left_of_each_number(fastness):
    fastness.ok("tenants", "create", "health")
    said = fastness("limits", "set", "--tenant", "health", "--tokens-per-day", 1_000_000)
    assert "fastness usage" in said.stderr
    (one,) = fastness.document("usage", "--tenant", "health")["usage"]
    assert (one["metric"], one["used"], one["remaining"]) == ("tokens_per_day", 0, 1_000_000)
    assert "1,000,000" in fastness.ok("usage")


def test_a_limit_on_nobody_is_refused_with_what_to_try(fastness):
    refused = fastness("limits", "set", "--requests-per-minute", 5)
    assert refused.exit_code != 0
    assert "fastness limits set --tenant health" in refused.stderr
    assert "no tenant nowhere" in fastness("limits", "set", "--tenant", "nowhere", "--concurrent", 5).stderr
