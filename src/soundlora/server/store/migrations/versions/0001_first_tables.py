"""The first tables. The next step must copy their definition to here before it changes it."""

from alembic import op

from soundlora.server.store.tables import metadata

revision = "0001"
down_revision = None


def upgrade() -> None:
    metadata.create_all(op.get_bind())
