"""What Alembic runs: the migrations, inside the transaction that the opener began."""

from alembic import context

from imagesync.state.tables import VERSION_TABLE, metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
    transactional_ddl=True,
)
context.run_migrations()
