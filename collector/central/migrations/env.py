"""Runs the migrations on the connection that collector.central.engine hands over, inside its transaction."""

from alembic import context

from collector.central.database import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
