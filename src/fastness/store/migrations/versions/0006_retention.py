"""Whether what a tenant asks is kept, and who asked to open what was."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("tenants", sa.Column("retention", sa.String(40), nullable=False, server_default="none"))
    op.create_table(
        "disclosures",
        sa.Column("id", sa.String(63), primary_key=True),
        sa.Column("tenant", sa.String(63), nullable=False),
        sa.Column("document", sa.Text, nullable=False),
        sa.Column("added", sa.BigInteger, nullable=False),
    )
    op.create_index("ix_disclosures_tenant", "disclosures", ["tenant"])


def downgrade() -> None:
    op.drop_table("disclosures")
    op.drop_column("tenants", "retention")
