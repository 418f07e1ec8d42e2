"""The history of the tables. Each version is a step, and alembic takes the steps."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

HEAD = "0008"
"""The newest step in `versions`."""


def upgrade(engine: sa.Engine) -> None:
    """Bring the tables to `HEAD`. Two servers may start at once: the second one waits, and has nothing to do."""
    if _current(engine) == HEAD:
        return
    # The import takes a fifth of a second, and is needed once.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    with engine.connect().execution_options(soundlora_write=True) as connection, connection.begin():
        if engine.dialect.name == "postgresql":
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(7710420)"))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _current(engine: sa.Engine) -> str | None:
    with engine.connect() as connection:
        if not sa.inspect(connection).has_table("alembic_version"):
            return None
        return connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()
