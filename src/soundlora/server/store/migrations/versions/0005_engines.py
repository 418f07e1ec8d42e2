"""This step lets data be prepared before a request is claimed, and makes the table of nodes, as it was then."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    # What waits already was accepted without preparing, and is done without it.
    op.add_column("requests", sa.Column("prepared", sa.Boolean, nullable=False, server_default=sa.text("true")))
    unprepared = sa.text("state = 'queued' AND NOT prepared")
    op.create_index(
        "requests_unprepared",
        "requests",
        ["priority", "number"],
        sqlite_where=unprepared,
        postgresql_where=unprepared,
    )
    op.create_table(
        "nodes",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("seen", sa.Float, nullable=False),
        sa.Column("slots", sa.Integer, nullable=False),
        sa.Column("running", sa.Integer, nullable=False),
        sa.Column("draining", sa.String(10), nullable=False),
    )
