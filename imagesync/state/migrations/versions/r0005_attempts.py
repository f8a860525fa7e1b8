"""Images that could not be got."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "attempt",
        sa.Column("key_sha256", sa.String(64), primary_key=True),
        sa.Column("list", sa.Text, nullable=False),
        sa.Column("image", sa.Text, nullable=False),
        sa.Column("attempted", sa.String(64), nullable=False),
        sa.Column("sha512", sa.String(128), nullable=False),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("since", _MOMENT, nullable=False),
        sa.Column("last", _MOMENT, nullable=False),
        sa.Column("retry_at", _MOMENT, nullable=False),
        sa.Column("cause", sa.Text, nullable=False),
        sa.Column("error", sa.Text, nullable=False),
    )
