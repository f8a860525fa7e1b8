"""By what messages were verified."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "proof",
        sa.Column("sha256", sa.String(64), primary_key=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("der", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "evidence",
        sa.Column("message", sa.String(64), sa.ForeignKey("message.sha256"), primary_key=True),
        sa.Column("position", sa.Integer, primary_key=True),
        sa.Column("proof", sa.String(64), sa.ForeignKey("proof.sha256"), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("evidence_proof", "evidence", ["proof"])
