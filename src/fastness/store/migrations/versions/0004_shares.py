"""What each tenant weighs where tenants compete for slots."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("tenants", sa.Column("share", sa.Double, nullable=False, server_default="1"))


def downgrade() -> None:
    op.drop_column("tenants", "share")
