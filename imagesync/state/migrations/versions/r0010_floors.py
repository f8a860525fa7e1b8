"""Which versions of lists were begun with, and of which URL the validators are."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table and the column."""
    op.create_table(
        "begun_list",
        sa.Column("subscription", sa.Text, primary_key=True),
        sa.Column("list", sa.Text, primary_key=True),
        sa.Column("version", sa.Text, nullable=False),
        sa.Column("digest", sa.String(128), nullable=False),
    )
    op.add_column("accepted", sa.Column("url_sha256", sa.String(64)))
