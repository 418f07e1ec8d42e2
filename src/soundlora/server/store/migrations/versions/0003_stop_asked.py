"""This step adds the wish that a training end with what it has learnt so far."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("requests", sa.Column("stop_asked", sa.Boolean(), nullable=False, server_default=sa.text("false")))
