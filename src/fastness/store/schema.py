"""The tables as the code sees them. How a database gets there is told by the migrations, one step at a time.

Only what SQLite and PostgreSQL both understand. `added` is the version of the store at which a row came: it orders
rows exactly, which seconds do not.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    Integer,
    MetaData,
    String,
    Table,
    Text,
)

from fastness.core.limit import Metric

SCHEMA_REVISION: Final = "0006"
"""The newest migration. A test holds it to the scripts; so an up-to-date database opens without loading Alembic."""

METADATA: Final = MetaData()

ACCESS_VERSION: Final = Table(
    "access_version",
    METADATA,
    Column("id", Integer, CheckConstraint("id = 1", name="one_row"), primary_key=True, autoincrement=False),
    Column("version", BigInteger, nullable=False),
)

TENANTS: Final = Table(
    "tenants",
    METADATA,
    Column("id", String(63), primary_key=True),
    Column("name", String(200), nullable=False),
    Column("created_s", BigInteger, nullable=False),
    Column("models", JSON(none_as_null=True), nullable=True),
    Column("revoked_s", BigInteger, nullable=True),
    Column("added", BigInteger, nullable=False),
    Column("clearance", JSON(none_as_null=True), nullable=True),
    Column("marking", JSON(none_as_null=True), nullable=True),
    Column("share", Double, nullable=False, server_default="1"),
    Column("retention", String(40), nullable=False, server_default="none"),
)

API_KEYS: Final = Table(
    "api_keys",
    METADATA,
    Column("id", String(63), primary_key=True),
    Column("tenant", String(63), ForeignKey("tenants.id"), nullable=False, index=True),
    Column("name", String(200), nullable=False),
    Column("role", String(20), nullable=False),
    Column("hint", String(40), nullable=False),
    Column("mac", String(64), nullable=False, unique=True),
    Column("created_s", BigInteger, nullable=False),
    Column("expires_s", BigInteger, nullable=True),
    Column("revoked_s", BigInteger, nullable=True),
    Column("models", JSON(none_as_null=True), nullable=True),
    Column("added", BigInteger, nullable=False),
    Column("clearance", JSON(none_as_null=True), nullable=True),
)

POLICIES: Final = Table(
    "policies",
    METADATA,
    Column("version", BigInteger, primary_key=True, autoincrement=False),
    Column("digest", String(64), nullable=False),
    Column("bundle", Text, nullable=False),
    Column("applied_s", BigInteger, nullable=False),
    Column("applied_by", Text, nullable=False),
)
"""Every policy that was in force; the newest is. `bundle` is a PolicyBundle as JSON."""

ADMISSIONS: Final = Table(
    "admissions",
    METADATA,
    Column("digest", String(64), primary_key=True),
    Column("name", String(63), nullable=False, index=True),
    Column("state", String(20), nullable=False),
    Column("document", Text, nullable=False),
    Column("added", BigInteger, nullable=False),
)
"""Every artefact that was ever imported, the revoked ones too. `document` is an Admission as JSON."""

BUNDLES: Final = Table(
    "bundles",
    METADATA,
    Column("id", String(64), primary_key=True),
    Column("direction", String(3), primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("digest", String(64), nullable=False),
    Column("at_s", BigInteger, nullable=False),
)
"""The newest version of each bundle that came `in` or went `out`."""

LIMITS: Final = Table(
    "limits",
    METADATA,
    Column("id", String(400), primary_key=True),
    Column("tenant", String(63), nullable=True),
    Column("key", String(256), nullable=True),
    Column("model", String(128), nullable=True),
    *(Column(metric.value, BigInteger, nullable=True) for metric in Metric),
    Column("added", BigInteger, nullable=False),
)

DISCLOSURES: Final = Table(
    "disclosures",
    METADATA,
    Column("id", String(63), primary_key=True),
    Column("tenant", String(63), nullable=False, index=True),
    Column("document", Text, nullable=False),
    Column("added", BigInteger, nullable=False),
)
"""Every wish to open, export or shred sealed content. `document` is a Disclosure as JSON."""

QUOTA_GATEWAYS: Final = Table(
    "quota_gateways",
    METADATA,
    Column("name", String(63), primary_key=True),
    Column("boot", String(64), nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("seen_s", BigInteger, nullable=False),
)
"""Every gateway that leases, and how far its ledger is counted."""

QUOTA_LINES: Final = Table(
    "quota_lines",
    METADATA,
    Column("limit_id", String(400), primary_key=True),
    Column("metric", String(32), primary_key=True),
    Column("window_s", BigInteger, primary_key=True, autoincrement=False),
    Column("gateway", String(63), primary_key=True),
    Column("boot", String(64), nullable=False),
    Column("base", BigInteger, nullable=False),
    Column("held", BigInteger, nullable=False),
    Column("used", BigInteger, nullable=False),
)
"""What each gateway holds and has used of a limit in a window: see traffic/quota.py."""
