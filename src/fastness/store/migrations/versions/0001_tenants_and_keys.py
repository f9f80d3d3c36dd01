"""Tenants, their API keys, and the version that grows with each change."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "access_version",
        sa.Column(
            "id", sa.Integer, sa.CheckConstraint("id = 1", name="one_row"), primary_key=True, autoincrement=False
        ),
        sa.Column("version", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "tenants",
        sa.Column("id", sa.String(63), primary_key=True),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("created_s", sa.BigInteger, nullable=False),
        sa.Column("models", sa.JSON, nullable=True),
        sa.Column("revoked_s", sa.BigInteger, nullable=True),
        sa.Column("added", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "api_keys",
        sa.Column("id", sa.String(63), primary_key=True),
        sa.Column("tenant", sa.String(63), sa.ForeignKey("tenants.id"), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("role", sa.String(20), nullable=False),
        sa.Column("hint", sa.String(40), nullable=False),
        sa.Column("mac", sa.String(64), nullable=False, unique=True),
        sa.Column("created_s", sa.BigInteger, nullable=False),
        sa.Column("expires_s", sa.BigInteger, nullable=True),
        sa.Column("revoked_s", sa.BigInteger, nullable=True),
        sa.Column("models", sa.JSON, nullable=True),
        sa.Column("added", sa.BigInteger, nullable=False),
    )
    op.create_index("ix_api_keys_tenant", "api_keys", ["tenant"])
    op.execute("INSERT INTO access_version (id, version) VALUES (1, 0)")


def downgrade() -> None:
    op.drop_table("api_keys")
    op.drop_table("tenants")
    op.drop_table("access_version")
