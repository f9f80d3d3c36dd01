"""`fastness up` as people and scripts see it; what runs beneath is given by composition."""

import json
import os
import re
import shlex
import subprocess
import sys
import textwrap

import pytest

from fastness.cli.composition import UpReady
from fastness.cli.progress import Progress, ready_text
from fastness.cli.talk import Talk
from fastness.control.problem import Problem
from fastness.core.model import ModelCard, ModelKind
from fastness.perimeter.port import SealUnavailable

KEY = "fst_admin_" + "x" * 49
CHAT = ModelCard("smollm2", ModelKind.CHAT, "ab" * 32, 98_362_432, "Apache-2.0", 8_192, 0)
EMBEDDING = ModelCard("minilm", ModelKind.EMBEDDING, "cd" * 32, 90_868_376, "Apache-2.0", 512, 0)


def ready(**changes):
    given = {
        "base_url": "http://127.0.0.1:8080/v1",
        "admin_key": KEY,
        "console_url": None,
        "pid": 4711,
        "elapsed_s": 3.2104,
        "models": (EMBEDDING, CHAT),
        "prove_line": "Nothing leaves this machine. Prove it: fastness doctor",
    }
    return UpReady(**(given | changes))


def comes_up(settings, progress, unsealed):
    progress.stage("model", "smollm2")
    progress.progress("model", 49_181_216, 98_362_432)
    progress.done("model", "smollm2  98 MB  sha256 abababab…  Apache-2.0", 1.234, "admitted")
    progress.stage("engine", "llama.cpp · 8 slots of 2,048 tokens")
    progress.warn("the engine coughed")
    progress.done("engine", "llama.cpp · 8 slots of 2,048 tokens", 0.93)
    progress.done("gateway", "http://127.0.0.1:8080/v1", 0.2)
    progress.ready(ready(sealed=not unsealed))
    progress.warn("after ready")
    return 0


def test_json_is_one_line_on_stdout_and_nothing_else(fastness):
    fastness.run_up = comes_up
    result = fastness("up", "--json")
    assert result.exit_code == 0
    assert result.stdout.count("\n") == 1
    assert json.loads(result.stdout) == {
        "base_url": "http://127.0.0.1:8080/v1",
        "admin_key": KEY,
        "console_url": None,
        "pid": 4711,
        "elapsed_s": 3.21,
        "models": ["minilm", "smollm2"],
        "sealed": True,
    }
    assert KEY not in result.stderr


def test_people_see_each_stage_as_a_plain_line_and_then_the_address_and_the_key(fastness):
    fastness.run_up = comes_up
    result = fastness("up")
    assert result.stderr.splitlines() == [
        "model      smollm2  98 MB  sha256 abababab…  Apache-2.0       admitted  1.2 s",
        "warning    the engine coughed",
        "engine     llama.cpp · 8 slots of 2,048 tokens                ready     0.93 s",
        "gateway    http://127.0.0.1:8080/v1                           ready     0.20 s",
        "Ready in 3.2 s. Ctrl-C or `fastness stop` ends it.",
        "warning    after ready",
    ]
    shown = result.stdout.splitlines()
    assert shown[1] == "address    http://127.0.0.1:8080/v1"
    assert shown[2:4] == [f"admin key  {KEY}", "           shown once; fastness keys create makes more"]
    assert shown[-1] == "Nothing leaves this machine. Prove it: fastness doctor"


def test_quiet_leaves_the_address_the_key_and_warnings(fastness):
    fastness.run_up = comes_up
    result = fastness("up", "--quiet")
    assert KEY in result.stdout
    assert result.stderr.splitlines() == ["warning    the engine coughed", "warning    after ready"]


def test_the_curl_line_and_the_python_lines_can_be_pasted():
    text = ready_text(ready(), colour=False)
    curl = text[text.index("curl ") : text.index("\n\npython3")].replace("\\\n", "")
    words = shlex.split(curl)
    assert words[:2] == ["curl", "http://127.0.0.1:8080/v1/chat/completions"]
    assert f"authorization: Bearer {KEY}" in words
    assert json.loads(words[words.index("-d") + 1])["model"] == "smollm2"
    code = re.search(r"<<'END'\n(.*?)\nEND\n", text, re.DOTALL).group(1)
    compile(code, "pasted", "exec")
    assert f'api_key="{KEY}"' in code


@pytest.mark.parametrize("models", [(CHAT,), (EMBEDDING,), ()])
def test_a_key_shown_on_an_earlier_start_is_not_shown_again(models):
    text = ready_text(ready(admin_key=None, models=models), colour=False)
    assert "admin key  made on an earlier start; fastness keys create --role admin makes another" in text
    assert "None" not in text
    if models:
        assert "Bearer $FASTNESS_API_KEY" in text
        compile(re.search(r"<<'END'\n(.*?)\nEND\n", text, re.DOTALL).group(1), "pasted", "exec")


def test_flags_become_settings(fastness, tmp_path):
    seen = []
    fastness.run_up = lambda settings, progress, unsealed: seen.append((settings.gateway, unsealed)) or 7
    (tmp_path / "other.toml").write_text("[gateway]\nport = 1\nidle_timeout_s = 5\n")
    result = fastness("up", "--host", "::1", "--port", "0", "--unsealed", "--config", tmp_path / "other.toml")
    assert result.exit_code == 7
    gateway, unsealed = seen[0]
    assert (gateway.host, gateway.port, gateway.idle_timeout_s, unsealed) == ("::1", 0, 5.0, True)


def test_a_second_up_is_refused_naming_the_first(fastness):
    with fastness.supervisor("http://127.0.0.1:8080/v1") as process:
        result = fastness("up")
    assert result.exit_code == 1
    assert f"already runs for {fastness.home}: http://127.0.0.1:8080/v1 (pid {process.pid})" in result.stderr
    assert "fastness stop" in result.stderr


@pytest.mark.parametrize(
    ("error", "exit_code", "said"),
    [
        (SealUnavailable("user namespaces are off: sysctl user.max_user_namespaces=0"), 3, "user namespaces are off"),
        (Problem("store_unavailable", "The store is locked.", "wait"), 1, "The store is locked."),
        (PermissionError(13, "Permission denied", "/srv"), 1, "Permission denied: '/srv'"),
    ],
)
def test_a_start_that_is_refused_says_why(fastness, error, exit_code, said):
    def refuse(settings, progress, unsealed):
        progress.stage("seal", "proving")
        raise error

    fastness.run_up = refuse
    result = fastness("up", "--json")
    assert result.exit_code == exit_code
    assert result.stdout == ""
    assert said in result.stderr


def test_a_defect_keeps_its_traceback(fastness):
    def fail(settings, progress, unsealed):
        raise KeyError("defect")

    fastness.run_up = fail
    with pytest.raises(KeyError):
        fastness("up")


def test_off_a_terminal_a_long_stage_is_told_again_now_and_then(capsys):
    now_s = iter(range(0, 1_000_000, 3))
    progress = Progress(Talk(), clock=lambda: float(next(now_s)))
    progress.stage("model", "smollm2")
    progress.progress("model", 49_181_216, 98_362_432)
    progress.tick()
    progress.tick()
    progress.done("model", "smollm2", 6.0, "admitted")
    progress.close()
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].split() == ["model", "smollm2", "…", "50", "%", "of", "98", "MB"]
    assert lines[-1].split() == ["model", "smollm2", "admitted", "6.0", "s"]


ON_A_TERMINAL = """
import pty, os, sys
def read(fd):
    return os.read(fd, 65536)
sys.exit(os.waitstatus_to_exitcode(pty.spawn([sys.executable, "-c", sys.argv[1]], read)))
"""
STAGES = textwrap.dedent("""
    import time
    from fastness.cli.progress import Progress
    from fastness.cli.talk import Talk
    progress = Progress(Talk())
    progress.stage("engine", "llama.cpp")
    time.sleep(0.5)
    progress.done("engine", "llama.cpp", 0.5)
    progress.close()
""")


@pytest.mark.parametrize("no_color", [False, True])
def test_on_a_terminal_a_running_stage_is_one_live_line_that_goes_when_it_is_done(no_color):
    environ = {**os.environ, "TERM": "xterm", "COLUMNS": "100"} | ({"NO_COLOR": "1"} if no_color else {})
    argv = [sys.executable, "-c", ON_A_TERMINAL, STAGES]
    seen = subprocess.run(argv, env=environ, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    assert seen.returncode == 0, seen.stderr
    assert re.search(r"engine     llama\.cpp +[⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏] +0 s", seen.stdout)
    assert re.search(r"engine     llama\.cpp +ready +0\.50 s", seen.stdout)
    assert "\x1b[2K" in seen.stdout, "the live line is erased"
    assert bool(re.search(r"\x1b\[3[0-7]m", seen.stdout)) is False
