"""This step lets a claim and an end write to fewer indexes, and finds what is held and what is to be forgotten.

Neither is looked for among all that waits and has ended any more. A request may take several slots of a node, which
says how many of its slots are free.
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    held, ended = sa.text("owner IS NOT NULL"), sa.text("ended_at IS NOT NULL")
    for name in ("requests_queue", "requests_running", "requests_ended"):
        op.drop_index(name, "requests")
    op.create_index("requests_held", "requests", ["owner"], sqlite_where=held, postgresql_where=held)
    columns = ["endpoint", "key_id", "ended_at", "number"]
    op.create_index("requests_ended", "requests", columns, sqlite_where=ended, postgresql_where=ended)
    op.add_column("requests", sa.Column("gpus", sa.Integer, nullable=False, server_default=sa.text("1")))
    waiting, columns = (
        sa.text("state = 'queued'"),
        ["key_id", "endpoint", "prepared", "gpus", "priority", "number", "state"],
    )
    op.drop_index("requests_waiting", "requests")
    op.create_index("requests_waiting", "requests", columns, sqlite_where=waiting, postgresql_where=waiting)
    for name in ("free", "most"):
        op.add_column("nodes", sa.Column(name, sa.Integer, nullable=False, server_default=sa.text("0")))
    op.add_column("nodes", sa.Column("takes", sa.Text, nullable=False, server_default=sa.text("''")))
    unkept = sa.text("NOT keep_payloads AND response IS NOT NULL")
    op.create_index("requests_unkept", "requests", ["ended_at"], sqlite_where=unkept, postgresql_where=unkept)
