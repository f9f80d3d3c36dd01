"""One frozen settings tree: `settings.py` says what there is, `loading.py` reads it from where people write it."""

from __future__ import annotations

from fastness.config.loading import RUN_PATH_BYTES_MAX, ConfigError, Explanation, load, run_directory
from fastness.config.settings import (
    SECTIONS,
    BatchSettings,
    ClusterSettings,
    EngineSettings,
    GatewaySettings,
    IdentitySettings,
    LedgerSettings,
    LimitSettings,
    NodeSettings,
    PerimeterSettings,
    PolicySettings,
    RaySettings,
    RegistrySettings,
    RetentionSettings,
    Settings,
    StoreSettings,
    TelemetrySettings,
    TrafficSettings,
)

__all__ = [
    "RUN_PATH_BYTES_MAX",
    "SECTIONS",
    "BatchSettings",
    "ClusterSettings",
    "ConfigError",
    "EngineSettings",
    "Explanation",
    "GatewaySettings",
    "IdentitySettings",
    "LedgerSettings",
    "LimitSettings",
    "NodeSettings",
    "PerimeterSettings",
    "PolicySettings",
    "RaySettings",
    "RegistrySettings",
    "RetentionSettings",
    "Settings",
    "StoreSettings",
    "TelemetrySettings",
    "TrafficSettings",
    "load",
    "run_directory",
]
