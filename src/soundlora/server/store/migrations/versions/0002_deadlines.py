"""This step adds an index of the requests with a deadline to begin, which are few among those that wait."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    some = sa.text("start_before IS NOT NULL")
    op.create_index(
        "requests_deadlines", "requests", ["state", "start_before"], sqlite_where=some, postgresql_where=some
    )
