"""Limits, and the book of what gateways hold and have used of them."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "limits",
        sa.Column("id", sa.String(400), primary_key=True),
        sa.Column("tenant", sa.String(63), nullable=True),
        sa.Column("key", sa.String(256), nullable=True),
        sa.Column("model", sa.String(128), nullable=True),
        sa.Column("requests_per_minute", sa.BigInteger, nullable=True),
        sa.Column("tokens_per_minute", sa.BigInteger, nullable=True),
        sa.Column("requests_per_day", sa.BigInteger, nullable=True),
        sa.Column("tokens_per_day", sa.BigInteger, nullable=True),
        sa.Column("concurrent", sa.BigInteger, nullable=True),
        sa.Column("added", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "quota_gateways",
        sa.Column("name", sa.String(63), primary_key=True),
        sa.Column("boot", sa.String(64), nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("position", sa.BigInteger, nullable=False),
        sa.Column("seen_s", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "quota_lines",
        sa.Column("limit_id", sa.String(400), primary_key=True),
        sa.Column("metric", sa.String(32), primary_key=True),
        sa.Column("window_s", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("gateway", sa.String(63), primary_key=True),
        sa.Column("boot", sa.String(64), nullable=False),
        sa.Column("base", sa.BigInteger, nullable=False),
        sa.Column("held", sa.BigInteger, nullable=False),
        sa.Column("used", sa.BigInteger, nullable=False),
    )


def downgrade() -> None:
    op.drop_table("quota_lines")
    op.drop_table("quota_gateways")
    op.drop_table("limits")
