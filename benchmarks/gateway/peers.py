"""The other gateways: which, how they are installed, and how they are started as plain pass-through.

Each has a place of its own outside this clone, `${XDG_CACHE_HOME:-~/.cache}/fastness-bench/NAME-VERSION`, made once.
Versions are pinned. LiteLLM's is one that is known to be good: later ones are listed as compromised, see
docs/explanation/performance.md.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

INSTALL_TIMEOUT_S = 600.0
ENV: Mapping[str, str] = {
    "LITELLM_MODE": "PRODUCTION",
    "LITELLM_LOG": "ERROR",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_TELEMETRY": "False",
    "DO_NOT_TRACK": "1",
    "NO_PROXY": "127.0.0.1",
}


@dataclass(frozen=True, slots=True)
class Start:
    """What a start is given: where the peer is installed, a folder for files, its port, a spare one, the workers'."""

    place: Path
    folder: Path
    port: int
    spare_port: int
    workers: Sequence[int]


@dataclass(frozen=True, slots=True)
class Peer:
    """One other gateway. `install` fills its place; `start` makes its argv. `rust`: a router that bars 1 and 2 name."""

    name: str
    version: str
    install: Callable[[Path], None]
    start: Callable[[Start], list[str]]
    rust: bool = False

    @property
    def place(self) -> Path:
        """Where it is, or will be, installed."""
        cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        return Path(cache) / "fastness-bench" / f"{self.name}-{self.version}"

    def ready(self) -> str:
        """Install it if it is not; return why that failed, or nothing."""
        done = self.place / ".ready"
        if done.exists():
            return ""
        shutil.rmtree(self.place, ignore_errors=True)
        self.place.mkdir(parents=True)
        try:
            self.install(self.place)
        except (OSError, subprocess.SubprocessError) as error:
            return _why(error)
        done.touch()
        return ""


def wheels(requirement: str) -> Callable[[Path], None]:
    """Install by pip into a venv of its own, from wheels only: nothing of it runs before it is started."""

    def install(place: Path) -> None:
        _run([sys.executable, "-m", "venv", str(place)])
        quiet = ("--quiet", "--disable-pip-version-check", "--no-input")
        _run([str(place / "bin/python"), "-m", "pip", "install", *quiet, "--only-binary", ":all:", requirement])

    return install


def debian(*packages: str) -> Callable[[Path], None]:
    """Unpack Debian packages without installing them: no root needed, no service started."""

    def install(place: Path) -> None:
        _run(["apt-get", "download", "--quiet", *packages], place)
        for package in sorted(place.glob("*.deb")):
            _run(["dpkg", "-x", str(package), str(place)])

    return install


def router(*command: str) -> Callable[[Start], list[str]]:
    """Start one of the Rust routers; they take the same flags."""

    def start(with_: Start) -> list[str]:
        program, *rest = command
        urls = [f"http://127.0.0.1:{port}" for port in with_.workers]
        listen = ["--host", "127.0.0.1", "--port", str(with_.port)]
        metrics = ["--prometheus-host", "127.0.0.1", "--prometheus-port", str(with_.spare_port)]
        chosen = ["--worker-urls", *urls, "--policy", "round_robin", "--log-level", "error"]
        return [str(with_.place / "bin" / program), *rest, *chosen, *listen, *metrics]

    return start


def litellm(with_: Start) -> list[str]:
    """One worker process, no database, nothing logged."""
    entries = "".join(
        "  - model_name: mock\n    litellm_params:\n      model: openai/mock\n      api_key: none\n"
        f"      api_base: http://127.0.0.1:{port}/v1\n"
        for port in with_.workers
    )
    config = with_.folder / "litellm.yaml"
    config.write_text(f"model_list:\n{entries}litellm_settings:\n  telemetry: false\n")
    listen = ["--host", "127.0.0.1", "--port", str(with_.port), "--num_workers", "1"]
    return [str(with_.place / "bin/litellm"), "--config", str(config), *listen]


NGINX = """daemon off;
pid {folder}/nginx.pid;
error_log {folder}/nginx.log error;
worker_processes 1;
events {{ worker_connections 8192; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  keepalive_requests 100000000;
  client_body_buffer_size 1m;
  upstream workers {{ {workers} keepalive 512; keepalive_requests 100000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{
      proxy_pass http://workers;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffering off;
    }}
  }}
}}
"""


def nginx(with_: Start) -> list[str]:
    """One worker process, streams not buffered."""
    servers = " ".join(f"server 127.0.0.1:{port};" for port in with_.workers)
    config = with_.folder / "nginx.conf"
    config.write_text(NGINX.format(folder=with_.folder, workers=servers, port=with_.port))
    complaints = str(with_.folder / "nginx.log")
    return [str(with_.place / "usr/sbin/nginx"), "-c", str(config), "-p", str(with_.folder), "-e", complaints]


PEERS = (
    Peer("vllm-router", "0.1.17", wheels("vllm-router==0.1.17"), router("vllm-router"), rust=True),
    Peer(
        "sglang-router",
        "0.3.2",
        wheels("sglang-router==0.3.2"),
        router("python", "-m", "sglang_router.launch_router"),
        rust=True,
    ),
    Peer("smg", "1.13.0", wheels("smg==1.13.0"), router("smg", "launch"), rust=True),
    Peer("litellm", "1.102.0", wheels("litellm[proxy]==1.102.0"), litellm),
    Peer("nginx", "debian", debian("nginx", "nginx-light"), nginx),
)


def _run(argv: list[str], folder: Path | None = None) -> None:
    subprocess.run(argv, cwd=folder, check=True, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S)


def _why(error: Exception) -> str:
    if isinstance(error, subprocess.CalledProcessError):
        said = (error.stderr or error.stdout or "").strip().splitlines()
        return f"`{' '.join(error.cmd[:4])} …` ended with {error.returncode}: {said[-1] if said else 'it said nothing'}"
    return f"{type(error).__name__}: {error}"
