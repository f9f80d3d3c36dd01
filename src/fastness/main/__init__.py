"""The only composition root: reads the configuration, builds the adapters, and hands them to the apps.

One file for each process that is composed. Everything heavy is imported inside the function that needs it: a gateway
never loads SQL, `--help` loads nothing.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from fastness.cli.composition import Composition
from fastness.config import Explanation, Settings, load
from fastness.main.control import local_api, run_control
from fastness.main.door import run_door
from fastness.main.gateway import run_gateway
from fastness.main.host import run_node
from fastness.main.machine import machine_facts
from fastness.main.process import LISTENER_VARIABLE, PARENT_VARIABLE, prepare_directories
from fastness.main.up import run_up

__all__ = ["LISTENER_VARIABLE", "PARENT_VARIABLE", "load_settings", "main", "prepare_directories", "run_gateway"]


def main() -> None:
    """The command `fastness`."""
    from fastness.cli.app import build_app

    build_app(
        Composition(
            environ=os.environ,
            load_settings=load_settings,
            run_up=run_up,
            run_node=run_node,
            run_gateway=run_gateway,
            run_control=run_control,
            run_door=run_door,
            local_api=local_api,
            machine_facts=machine_facts,
        )
    )()


def load_settings(
    flags: Mapping[str, object], config: Path | None = None
) -> tuple[Settings, Mapping[str, Explanation]]:
    """Read the settings; raises ConfigError."""
    if config is not None:
        os.environ["FASTNESS_CONFIG"] = str(config.absolute())
    for name, value in flags.items():
        if value is not None:  # the processes started from this one shall see what was said here
            os.environ["FASTNESS__" + name.upper().replace(".", "__")] = str(value)
    return load(os.environ, flags)
