"""Settings: where a value comes from, what it may be, and what is said when it may not."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastness.config import RUN_PATH_BYTES_MAX, SECTIONS, ConfigError, Settings, load, run_directory


def every_setting() -> list[tuple[str, dataclasses.Field[Any]]]:
    settings, _ = load({})
    return [(f"{name}.{item.name}", item) for name in SECTIONS for item in dataclasses.fields(getattr(settings, name))]


NUMBERS = [(name, item) for name, item in every_setting() if not isinstance(item.metadata["default"], str)]


def written(home: Path, text: str) -> dict[str, str]:
    (home / "config.toml").write_text(text)
    return {"FASTNESS_HOME": str(home)}


def test_without_anything_the_defaults_hold() -> None:
    settings, explained = load({"HOME": "/home/somebody"})
    assert settings == Settings(home=Path("/home/somebody/.local/share/fastness"))
    assert {one.source for one in explained.values()} == {"default"}


def test_fastness_home_moves_everything() -> None:
    assert load({"FASTNESS_HOME": "/srv/fastness"})[0].home == Path("/srv/fastness")


def test_a_relative_home_is_made_absolute_once() -> None:
    assert load({"FASTNESS_HOME": "here"})[0].home == Path.cwd() / "here"


def test_the_file_beats_the_default(tmp_path: Path) -> None:
    settings, explained = load(written(tmp_path, "[gateway]\nport = 9000\n"))
    assert settings.gateway.port == 9_000
    assert explained["gateway.port"].source == str(tmp_path / "config.toml")
    assert explained["gateway.port"].default == 8_080


def test_the_environment_beats_the_file(tmp_path: Path) -> None:
    environ = written(tmp_path, "[gateway]\nport = 9000\n") | {"FASTNESS__GATEWAY__PORT": "9001"}
    settings, explained = load(environ)
    assert settings.gateway.port == 9_001
    assert explained["gateway.port"].source == "$FASTNESS__GATEWAY__PORT"


def test_a_flag_beats_the_environment(tmp_path: Path) -> None:
    environ = written(tmp_path, "[gateway]\nport = 9000\n") | {"FASTNESS__GATEWAY__PORT": "9001"}
    settings, explained = load(environ, {"gateway.port": 9_002})
    assert settings.gateway.port == 9_002
    assert explained["gateway.port"].source == "flag"


def test_a_flag_that_was_not_given_changes_nothing() -> None:
    settings, explained = load({}, {"gateway.port": None})
    assert settings.gateway.port == 8_080
    assert explained["gateway.port"].source == "default"


def test_another_file_can_be_named(tmp_path: Path) -> None:
    other = tmp_path / "other.toml"
    other.write_text('[telemetry]\nlog_level = "debug"\n')
    settings, explained = load({"FASTNESS_HOME": str(tmp_path), "FASTNESS_CONFIG": str(other)})
    assert settings.telemetry.log_level == "debug"
    assert explained["telemetry.log_level"].source == str(other)


def test_every_setting_can_come_from_the_environment_and_from_a_flag() -> None:
    for name, item in every_setting():
        variable = "FASTNESS__" + name.upper().replace(".", "__")
        default = item.metadata["default"]
        _, explained = load({variable: str(default)})
        assert (explained[name].value, explained[name].source) == (default, f"${variable}")
        assert load({}, {name: default})[1][name].source == "flag"


def test_an_unknown_setting_is_refused_with_the_nearest_known_one(tmp_path: Path) -> None:
    environ = written(tmp_path, "[gateway]\nprot = 9000\n")
    with pytest.raises(ConfigError, match=r"gateway\.prot .*config\.toml.* Did you mean gateway\.port\?"):
        load(environ)


def test_an_unknown_section_is_refused_with_the_nearest_known_setting(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"Did you mean gateway\.port\?"):
        load(written(tmp_path, "[gatway]\nport = 9000\n"))


@pytest.mark.parametrize("variable", ["FASTNESS__GATEWAY__PROT", "FASTNESS__PORT", "FASTNESS__", "FASTNESS__A__B__C"])
def test_an_unknown_variable_is_refused_by_its_name(variable: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"${variable}")):
        load({variable: "1"})


def test_variables_of_other_programs_are_none_of_ours() -> None:
    load({"FASTNESS_HOME": "/srv", "FASTNESSX": "1", "PATH": "/bin", "gateway.port": "1"})


def test_a_setting_outside_any_section_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"`port` stands outside any section; sections are gateway, control, limits"):
        load(written(tmp_path, "port = 9000\n"))


def test_a_file_that_is_not_toml_is_refused_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"config\.toml cannot be read as TOML"):
        load(written(tmp_path, "[gateway\n"))


def test_a_file_that_is_not_text_is_refused_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"config\.toml cannot be read"):
        load({"FASTNESS_HOME": str(tmp_path)})


@pytest.mark.parametrize("value", ["", "eighty", "80.5", "1e3", "true", "nan", "0x50", "8080;"])
def test_text_that_is_no_whole_number_is_refused_where_one_is_needed(value: str) -> None:
    with pytest.raises(ConfigError, match=r"gateway\.port \(from \$FASTNESS__.*\) is .*; it needs a whole number"):
        load({"FASTNESS__GATEWAY__PORT": value})


@pytest.mark.parametrize("toml", ["80.0", "true", '["80"]', "{ a = 1 }", "1979-05-27"])
def test_a_value_of_another_kind_is_refused_where_a_number_is_needed(tmp_path: Path, toml: str) -> None:
    with pytest.raises(ConfigError, match=r"gateway\.port .* it needs a whole number"):
        load(written(tmp_path, f"[gateway]\nport = {toml}\n"))


@pytest.mark.parametrize("toml", ["5", "true", '["a"]', "{ a = 1 }", "1979-05-27"])
def test_a_value_of_another_kind_is_refused_where_text_is_needed(tmp_path: Path, toml: str) -> None:
    with pytest.raises(ConfigError, match=r"gateway\.host .* it needs text"):
        load(written(tmp_path, f"[gateway]\nhost = {toml}\n"))


def test_a_whole_number_is_fine_where_seconds_are_needed(tmp_path: Path) -> None:
    settings, _ = load(written(tmp_path, "[gateway]\nidle_timeout_s = 5\n"))
    assert settings.gateway.idle_timeout_s == 5.0
    assert isinstance(settings.gateway.idle_timeout_s, float)


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "NaN"])
def test_a_time_limit_is_a_number_that_can_be_waited_for(value: str) -> None:
    with pytest.raises(ConfigError, match=r"gateway\.idle_timeout_s"):
        load({"FASTNESS__GATEWAY__IDLE_TIMEOUT_S": value})


def test_a_log_level_is_one_of_those_there_are() -> None:
    with pytest.raises(ConfigError, match=r"telemetry\.log_level .*'loud'.* debug, info, warning, error"):
        load({"FASTNESS__TELEMETRY__LOG_LEVEL": "loud"})


@pytest.mark.parametrize("name", [name for name, _ in NUMBERS])
def test_both_ends_of_every_range_hold_and_one_beyond_is_refused(name: str) -> None:
    item = dict(NUMBERS)[name]
    low, high = item.metadata["low"], item.metadata["high"]
    for edge, beyond in ((low, low - 1), (high, None if high is None else high + 1)):
        if edge is not None:
            assert load({}, {name: edge})[1][name].value == edge
        if beyond is not None:
            with pytest.raises(ConfigError, match=rf"{re.escape(name)} \(from flag\) is .*; it may be from"):
                load({}, {name: beyond})


def test_every_setting_says_what_it_is_and_every_number_has_a_lower_bound() -> None:
    for name, item in every_setting():
        assert len(item.metadata["doc"]) > 5, name
        assert item.metadata["doc"].endswith("."), name
    for name, item in NUMBERS:
        assert item.metadata["low"] is not None, name
        assert item.metadata["low"] <= item.metadata["default"], name


def test_every_time_and_size_says_its_unit() -> None:
    for name, item in NUMBERS:
        if isinstance(item.metadata["default"], float):
            assert name.endswith("_s"), name


@pytest.mark.parametrize(
    "url",
    [
        "postgresql:///fastness?host=/run/postgresql",
        "postgresql://fast-ness@/fast.ness?host=/run/postgresql&port=5433&passfile=/etc/fastness/passfile",
        "",
    ],
)
def test_the_store_is_sqlite_or_a_postgresql_on_a_unix_socket(url: str) -> None:
    assert load({"FASTNESS__STORE__URL": url})[0].store.url == url


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://fastness:s3cret@/fastness?host=/run/postgresql",
        "postgresql://fastness:s3/cr@et@/fastness?host=/run/postgresql",
        "postgresql:///fastness?host=/run/postgresql&password=s3cret",
        "postgresql:///fastness?host=/run/postgresql&sslpassword=s3cret",
        "postgresql://fastness@db.example:5432/s3cret",
        "postgresql:///s3cret?host=db.example",
        "postgresql:///s3cret?host=/run,db.example",
        "postgresql:///s3cret?host=/run&host=/tmp",
        "postgresql:///s3cret?host=/run&hostaddr=192.0.2.1",
        "postgresql:///s3cret?host=%2Crun",
        "postgresql:///s3cret?port=5432",
        "postgresql:///s3cret",
        "postgresql+psycopg2:///s3cret?host=/run",
        "mysql://s3cret@localhost/fastness",
        "sqlite:////tmp/s3cret.db",
        "postgresql:///s3cret?host=/run\n",
        5,
    ],
)
def test_a_store_url_with_a_password_or_an_address_is_refused_and_never_shown(url: object) -> None:
    with pytest.raises(ConfigError, match=r"store\.url \(from flag\) needs to be empty, or postgresql://") as caught:
        load({}, {"store.url": url})
    assert "s3" not in str(caught.value)
    assert "example" not in str(caught.value)


def test_settings_cannot_be_changed_once_read() -> None:
    settings, _ = load({})
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.gateway.port = 1  # type: ignore[misc]


def test_sockets_live_below_home() -> None:
    assert run_directory(Path("/srv/fastness"), 1_000) == Path("/srv/fastness/run")


def test_where_home_is_too_deep_for_sockets_they_live_in_a_short_place_of_their_own() -> None:
    deep = Path("/srv") / ("x" * 100)
    found = run_directory(deep, 1_000)
    assert found.parent == Path("/tmp")
    assert found != run_directory(deep, 1_001)
    assert found != run_directory(deep / "y", 1_000)
    assert found == run_directory(deep, 1_000)


@given(st.text(st.characters(exclude_characters="\0/", codec="utf-8"), min_size=1, max_size=80), st.integers(0, 2**32))
def test_the_run_directory_always_leaves_room_for_socket_names(name: str, uid: int) -> None:
    assert len(bytes(run_directory(Path("/srv") / name, uid))) <= RUN_PATH_BYTES_MAX
