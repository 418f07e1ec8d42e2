"""This step makes the first tables, as they were then."""

from alembic import op
from sqlalchemy import BigInteger, Boolean, Column, Float, Index, Integer, MetaData, String, Table, Text

revision = "0001"
down_revision = None

metadata = MetaData()

_Number = BigInteger().with_variant(Integer, "sqlite")

Table(
    "requests",
    metadata,
    Column("number", _Number, primary_key=True),
    Column("id", String(36), nullable=False, unique=True),
    Column("endpoint", String(200), nullable=False),
    Column("key_id", String(36), nullable=False),
    Column("state", String(16), nullable=False),
    Column("priority", Integer, nullable=False),
    Column("input", Text),
    Column("summary", Text, nullable=False),
    Column("keep_payloads", Boolean, nullable=False),
    Column("file_seconds", Float),
    Column("webhook_url", Text),
    Column("base_url", Text, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("started_at", Float),
    Column("ended_at", Float),
    Column("start_before", Float),
    Column("no_retry", Boolean, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("owner", String(36)),
    Column("beat", Integer, nullable=False),
    Column("cancel_asked", Boolean, nullable=False),
    Column("progress", Text),
    Column("status_code", Integer),
    Column("response", Text),
    Column("error", Text),
    Column("error_type", String(100)),
    Column("units", Integer),
    Index("requests_queue", "state", "priority", "number"),
    Index("requests_by_endpoint", "endpoint", "key_id", "number"),
    Index("requests_ended", "endpoint", "key_id", "ended_at", "number"),
    Index("requests_by_key", "key_id", "number"),
)

Table(
    "logs",
    metadata,
    Column("number", _Number, primary_key=True),
    Column("request_id", String(36), nullable=False),
    Column("at", Float, nullable=False),
    Column("level", String(10), nullable=False),
    Column("message", Text, nullable=False),
    Index("logs_by_request", "request_id", "number"),
)

Table(
    "points",
    metadata,
    Column("number", _Number, primary_key=True),
    Column("request_id", String(36), nullable=False),
    Column("step", Integer, nullable=False),
    Column("name", String(20), nullable=False),
    Column("value", Float, nullable=False),
    Index("points_by_request", "request_id", "number"),
)

Table(
    "ledger",
    metadata,
    Column("number", _Number, primary_key=True),
    Column("request_id", String(36), nullable=False, unique=True),
    Column("endpoint", String(200), nullable=False),
    Column("key_id", String(36), nullable=False),
    Column("at", Float, nullable=False),
    Column("units", Integer, nullable=False),
    Column("unit_nano_usd", BigInteger, nullable=False),
    Index("ledger_by_key", "key_id", "at"),
)

Table(
    "deliveries",
    metadata,
    Column("request_id", String(36), primary_key=True),
    Column("url", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("state", String(16), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("next_at", Float, nullable=False),
    Column("error", Text),
    Index("deliveries_due", "state", "next_at"),
)

Table(
    "keys",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("name", String(200), nullable=False),
    Column("hash", String(64), nullable=False, unique=True),
    Column("created_at", Float, nullable=False),
    Column("revoked_at", Float),
    Column("max_queue", Integer, nullable=False),
)

Table(
    "files",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("key_id", String(36), nullable=False),
    Column("request_id", String(36)),
    Column("role", String(40), nullable=False),
    Column("name", String(255), nullable=False),
    Column("content_type", String(200), nullable=False),
    Column("size", BigInteger),
    Column("created_at", Float, nullable=False),
    Column("expires_at", Float),
    Index("files_by_request", "request_id", "role"),
    Index("files_by_key", "key_id", "created_at"),
    Index("files_expiring", "expires_at"),
)

Table(
    "secrets",
    metadata,
    Column("name", String(40), primary_key=True),
    Column("value", Text, nullable=False),
)


def upgrade() -> None:
    metadata.create_all(op.get_bind())
