"""In which order runs began, whatever the clock said, and where each list stands."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Create the table, and number the runs as they were ordered so far."""
    op.create_table(
        "list_standing",
        sa.Column("subscription", sa.Text, primary_key=True),
        sa.Column("verdict", sa.Text, nullable=False),
        sa.Column("since", _MOMENT, nullable=False),
        sa.Column("last", _MOMENT, nullable=False),
        sa.Column("good", _MOMENT),
    )
    op.add_column("run", sa.Column("number", sa.Integer))
    run = sa.table("run", sa.column("id"), sa.column("started"), sa.column("number"))
    connection = op.get_bind()
    ids = connection.execute(sa.select(run.c.id).order_by(run.c.started, run.c.id.desc())).scalars().all()
    numbered = [{"run_id": name, "place": place} for place, name in enumerate(ids, start=1)]
    if numbered:
        change = sa.update(run).where(run.c.id == sa.bindparam("run_id")).values(number=sa.bindparam("place"))
        connection.execute(change, numbered)
    op.create_index("run_number", "run", ["number"])
