"""Alembic's environment for the state. Run by ``imagesync.state.database`` when a state is opened."""
