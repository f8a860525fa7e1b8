"""When the daemon's last pass of each subscription was."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "last_pass",
        sa.Column("subscription", sa.Text, primary_key=True),
        sa.Column("ended", sa.DateTime(timezone=True), nullable=False),
        sa.Column("code", sa.Integer, nullable=False),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("retry_at", sa.DateTime(timezone=True)),
        sa.Column("settings", sa.String(64), nullable=False),
    )
