"""What tenants and keys are cleared for, and every policy that was in force."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("tenants", sa.Column("clearance", sa.JSON, nullable=True))
    op.add_column("tenants", sa.Column("marking", sa.JSON, nullable=True))
    op.add_column("api_keys", sa.Column("clearance", sa.JSON, nullable=True))
    op.create_table(
        "policies",
        sa.Column("version", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("bundle", sa.Text, nullable=False),
        sa.Column("applied_s", sa.BigInteger, nullable=False),
        sa.Column("applied_by", sa.Text, nullable=False),
    )


def downgrade() -> None:
    op.drop_table("policies")
    op.drop_column("api_keys", "clearance")
    op.drop_column("tenants", "marking")
    op.drop_column("tenants", "clearance")
