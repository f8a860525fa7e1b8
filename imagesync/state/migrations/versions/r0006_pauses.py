"""What is paused, what images say of themselves, and since when a target fails."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "pause",
        sa.Column("scope", sa.String(8), primary_key=True),
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("who", sa.Text, nullable=False),
        sa.Column("since", _MOMENT, nullable=False),
        sa.Column("until", _MOMENT),
    )
    op.create_table(
        "image_metadata",
        sa.Column("target", sa.Text, primary_key=True),
        sa.Column("key_sha256", sa.String(64), primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("min_ram", sa.Integer, nullable=False),
        sa.Column("properties", sa.JSON, nullable=False),
        sa.Column("at", _MOMENT, nullable=False),
    )
    op.create_table(
        "target_failure",
        sa.Column("target", sa.Text, primary_key=True),
        sa.Column("since", _MOMENT, nullable=False),
    )
