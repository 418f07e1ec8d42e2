"""This step adds the number of the beat that last brought lines, points or files, and two small indexes.

They find what a key has under way and what has failed among millions of requests that ended well.
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

_SMALL = {"requests_unfinished": "state <> 'completed'", "requests_failed": "status_code >= 400"}


def upgrade() -> None:
    # What runs meanwhile has a beat, and its lines are read again once.
    op.add_column("requests", sa.Column("told", sa.Integer, nullable=False, server_default=sa.text("0")))
    for name, which in _SMALL.items():
        where = sa.text(which)
        op.create_index(name, "requests", ["key_id", "number"], sqlite_where=where, postgresql_where=where)
