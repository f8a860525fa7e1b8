"""What became of files that were started."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "boot_check",
        sa.Column("digest", sa.String(128), primary_key=True),
        sa.Column("machine", sa.String(200), primary_key=True),
        sa.Column("source", sa.String(128), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("verdict", sa.Text, nullable=False),
        sa.Column("rule", sa.Text, nullable=False),
        sa.Column("why", sa.Text, nullable=False),
        sa.Column("accelerator", sa.Text, nullable=False),
        sa.Column("seconds", sa.Float, nullable=False),
        sa.Column("console", sa.Text, nullable=False),
        sa.Column("screen", sa.LargeBinary),
    )
    op.create_index("boot_check_source", "boot_check", ["source"])
