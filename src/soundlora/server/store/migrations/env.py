"""Alembic runs this on the connection that `upgrade` has opened."""

from alembic import context

from soundlora.server.store.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
