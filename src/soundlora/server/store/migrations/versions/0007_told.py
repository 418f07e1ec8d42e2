"""This step adds the number of the beat that last brought lines, points or files."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0004"


def upgrade() -> None:
    # What runs meanwhile has a beat, and its lines are read again once.
    op.add_column("requests", sa.Column("told", sa.Integer, nullable=False, server_default=sa.text("0")))
