"""Which versions of lists were begun with, how often lists were reset, of which URL the validators are, and digests."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables and the columns."""
    op.create_table(
        "begun_list",
        sa.Column("subscription", sa.Text, primary_key=True),
        sa.Column("list", sa.Text, primary_key=True),
        sa.Column("version", sa.Text, nullable=False),
        sa.Column("digest", sa.String(128), nullable=False),
    )
    op.create_table(
        "list_reset",
        sa.Column("subscription", sa.Text, primary_key=True),
        sa.Column("identifier", sa.Integer, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
    )
    op.add_column("list_version", sa.Column("digest", sa.String(128)))
    op.add_column("accepted", sa.Column("url_sha256", sa.String(64)))
