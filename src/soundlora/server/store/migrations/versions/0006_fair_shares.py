"""This step adds what fair shares and limits of keys are counted by."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

_NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    op.add_column("requests", sa.Column("claimed_at", sa.Float()))
    op.add_column("requests", sa.Column("asked_units", sa.Integer(), nullable=False, server_default=sa.text("0")))
    waiting, running = sa.text("state = 'queued'"), sa.text("state = 'running'")
    op.create_index(
        "requests_waiting",
        "requests",
        ["key_id", "endpoint", "prepared", "priority", "number", "state"],
        sqlite_where=waiting,
        postgresql_where=waiting,
    )
    op.create_index("requests_running", "requests", ["key_id"], sqlite_where=running, postgresql_where=running)
    op.add_column("keys", sa.Column("max_running", sa.Integer()))
    op.add_column("keys", sa.Column("budget", sa.BigInteger()))
    op.add_column("keys", sa.Column("weight", sa.Float(), nullable=False, server_default=sa.text("1")))
    op.create_table(
        "usage",
        sa.Column("key_id", sa.String(36), primary_key=True),
        sa.Column("stretch", _NUMBER, primary_key=True),
        sa.Column("endpoint", sa.String(200), primary_key=True),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.Column("ends", sa.Integer(), nullable=False),
    )
    op.create_table(
        "duties",
        sa.Column("name", sa.String(40), primary_key=True),
        sa.Column("due_at", sa.Float(), nullable=False),
    )
