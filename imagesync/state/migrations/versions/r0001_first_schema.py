"""First schema."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Create every table."""
    _create_lists()
    _create_images()
    _create_history()


def _create_lists() -> None:
    op.create_table(
        "message",
        sa.Column("sha256", sa.String(64), primary_key=True),
        sa.Column("content", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "list_version",
        sa.Column("subscription", sa.Text, primary_key=True),
        sa.Column("message", sa.String(64), sa.ForeignKey("message.sha256"), primary_key=True),
        sa.Column("list", sa.Text, nullable=False),
        sa.Column("version", sa.Text, nullable=False),
        sa.Column("signer_dn", sa.Text, nullable=False),
        sa.Column("signer_ca", sa.Text, nullable=False),
        sa.Column("first_seen", _MOMENT, nullable=False),
        sa.Column("last_seen", _MOMENT, nullable=False),
    )
    op.create_index("list_version_message", "list_version", ["message"])
    op.create_table(
        "accepted",
        sa.Column("subscription", sa.Text, primary_key=True),
        sa.Column("list", sa.Text, nullable=False),
        sa.Column("pinned", sa.Boolean, nullable=False),
        sa.Column("lifted", sa.Boolean, nullable=False),
        sa.Column("version", sa.Text),
        sa.Column("digest", sa.String(128), nullable=False),
        sa.Column("created", _MOMENT, nullable=False),
        sa.Column("expires", _MOMENT, nullable=False),
        sa.Column("accepted_at", _MOMENT, nullable=False),
        sa.Column("signer_dn", sa.Text, nullable=False),
        sa.Column("signer_ca", sa.Text, nullable=False),
        sa.Column("signer_not_after", _MOMENT, nullable=False),
        sa.Column("signer_sha256", sa.String(64), nullable=False),
        sa.Column("signer_expects_pin", sa.Boolean, nullable=False),
        sa.Column("expiries", sa.JSON, nullable=False),
        sa.Column("message", sa.String(64), sa.ForeignKey("message.sha256"), nullable=False),
        sa.Column("etag", sa.Text),
        sa.Column("last_modified", sa.Text),
    )


def _create_images() -> None:
    op.create_table(
        "image",
        sa.Column("target", sa.Text, primary_key=True),
        sa.Column("key_sha256", sa.String(64), primary_key=True),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("list", sa.Text, nullable=False),
        sa.Column("image", sa.Text, nullable=False),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("since", _MOMENT, nullable=False),
        sa.Column("digest", sa.String(128)),
        sa.Column("format", sa.Text, nullable=False),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("retry_at", _MOMENT),
        sa.Column("attempted", sa.Text, nullable=False),
    )
    op.create_table(
        "artifact",
        sa.Column("fingerprint", sa.Text, primary_key=True),
        sa.Column("source", sa.String(128), nullable=False),
        sa.Column("source_format", sa.Text, nullable=False),
        sa.Column("digest", sa.String(128), nullable=False),
        sa.Column("format", sa.Text, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("virtual_size", sa.BigInteger, nullable=False),
    )
    op.create_index("artifact_source", "artifact", ["source"])


def _create_history() -> None:
    op.create_table(
        "run",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("started", _MOMENT, nullable=False),
        sa.Column("finished", _MOMENT),
        sa.Column("exit", sa.Integer),
        sa.Column("report", sa.JSON),
        sa.Column("clock", sa.Text),
    )
    op.create_index("run_started", "run", ["started"])
    op.create_table(
        "action",
        sa.Column("run", sa.Text, sa.ForeignKey("run.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("position", sa.Integer, primary_key=True),
        sa.Column("at", _MOMENT, nullable=False),
        sa.Column("target", sa.Text, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("key_sha256", sa.String(64), nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("error", sa.Text, nullable=False),
        sa.Column("bytes_downloaded", sa.BigInteger, nullable=False),
        sa.Column("bytes_uploaded", sa.BigInteger, nullable=False),
        sa.Column("seconds", sa.Float, nullable=False),
    )
    op.create_index("action_key", "action", ["key_sha256"])
    op.create_table(
        "holder",
        sa.Column("target", sa.Text, primary_key=True),
        sa.Column("host", sa.Text, nullable=False),
        sa.Column("pid", sa.Integer, nullable=False),
        sa.Column("since", _MOMENT, nullable=False),
    )
