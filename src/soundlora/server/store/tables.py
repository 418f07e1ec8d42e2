"""The tables. A change here needs a step in `migrations/versions`.

Times are seconds since 1970 in UTC. Money is whole billionths of a dollar, so that sums are exact.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Float, Index, Integer, MetaData, String, Table, Text, text

metadata = MetaData()

# SQLite counts up only in a column of the type INTEGER.
_Number = BigInteger().with_variant(Integer, "sqlite")
_DEADLINE = text("start_before IS NOT NULL")
UNFINISHED = text("state <> 'completed'")
"""Queries write it so, too: a planner doesn't know of a parameter that it is always the same."""
FAILED = text("status_code >= 400")

requests = Table(
    "requests",
    metadata,
    Column("number", _Number, primary_key=True),  # order of arrival
    Column("id", String(36), nullable=False, unique=True),
    Column("endpoint", String(200), nullable=False),
    Column("key_id", String(36), nullable=False),  # its owner; "" where the server has no keys
    Column("state", String(16), nullable=False),  # queued, running, completed
    Column("priority", Integer, nullable=False),  # 0 normal, 1 low
    Column("input", Text),  # JSON as it came; None once its payloads were deleted
    Column("summary", Text, nullable=False),  # lower case, what a search looks through
    Column("keep_payloads", Boolean, nullable=False),
    Column("file_seconds", Float),  # lifetime of the files of the result; None is without end
    Column("webhook_url", Text),
    Column("base_url", Text, nullable=False),  # the address that it was submitted to
    Column("created_at", Float, nullable=False),
    Column("started_at", Float),
    Column("ended_at", Float),
    Column("start_before", Float),  # else the request ends unstarted
    Column("no_retry", Boolean, nullable=False),
    Column("attempts", Integer, nullable=False),  # of workers, the present one included
    Column("owner", String(36)),  # token of the worker that holds the lease
    Column("beat", Integer, nullable=False),  # counted up by that worker for as long as it lives
    # The beat that last brought more than progress: lines, points or files. Until the next one there is none to read.
    Column("told", Integer, nullable=False, server_default=text("0")),
    Column("cancel_asked", Boolean, nullable=False),
    Column("stop_asked", Boolean, nullable=False, server_default=text("false")),  # to end with what it has learnt
    Column("progress", Text),  # JSON, the live state of the run
    Column("status_code", Integer),  # of the result, as are the next four
    Column("response", Text),  # JSON
    Column("error", Text),
    Column("error_type", String(100)),
    Column("units", Integer),
    # This index serves the next request in line, the requests ahead of one, and those that run.
    Index("requests_queue", "state", "priority", "number"),
    Index("requests_by_endpoint", "endpoint", "key_id", "number"),
    Index("requests_ended", "endpoint", "key_id", "ended_at", "number"),
    Index("requests_by_key", "key_id", "number"),
    # What a key has under way is found among millions that have ended, and so are the few that have failed.
    Index("requests_unfinished", "key_id", "number", sqlite_where=UNFINISHED, postgresql_where=UNFINISHED),
    Index("requests_failed", "key_id", "number", sqlite_where=FAILED, postgresql_where=FAILED),
    # Few requests have a deadline to begin, so this index is small.
    Index("requests_deadlines", "state", "start_before", sqlite_where=_DEADLINE, postgresql_where=_DEADLINE),
)

logs = Table(
    "logs",
    metadata,
    Column("number", _Number, primary_key=True),
    Column("request_id", String(36), nullable=False),
    Column("at", Float, nullable=False),
    Column("level", String(10), nullable=False),
    Column("message", Text, nullable=False),
    Index("logs_by_request", "request_id", "number"),
)

# The curve of a run has enough points to be drawn, and no more.
points = Table(
    "points",
    metadata,
    Column("number", _Number, primary_key=True),
    Column("request_id", String(36), nullable=False),
    Column("step", Integer, nullable=False),
    Column("name", String(20), nullable=False),  # loss, held_out
    Column("value", Float, nullable=False),
    Index("points_by_request", "request_id", "number"),
)

# Each completed request has one line, which is never changed or deleted.
ledger = Table(
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

# Each row is a webhook that is to be sent, or was.
deliveries = Table(
    "deliveries",
    metadata,
    Column("request_id", String(36), primary_key=True),
    Column("url", Text, nullable=False),
    Column("body", Text, nullable=False),  # JSON
    Column("state", String(16), nullable=False),  # waiting, delivered, failed
    Column("attempts", Integer, nullable=False),
    Column("next_at", Float, nullable=False),
    Column("error", Text),  # of the last attempt
    Index("deliveries_due", "state", "next_at"),
)

# What people say of their requests. It is apart from them, so that the queue and statuses read none of it.
marks = Table(
    "marks",
    metadata,
    Column("request_id", String(36), primary_key=True),
    Column("key_id", String(36), nullable=False),
    Column("starred", Boolean, nullable=False),
    Column("name", Text, nullable=False),
    Column("note", Text, nullable=False),
    Column("said", Text, nullable=False),  # name and note in lower case, what a search looks through
    Index("marks_by_key", "key_id", "starred"),
)

keys = Table(
    "keys",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("name", String(200), nullable=False),
    Column("hash", String(64), nullable=False, unique=True),  # SHA-256 of the secret
    Column("created_at", Float, nullable=False),
    Column("revoked_at", Float),
    Column("max_queue", Integer, nullable=False),  # waiting requests; 0 takes the server's limit
)

files = Table(
    "files",
    metadata,
    Column("id", String(32), primary_key=True),  # random: who knows it may read the file
    Column("key_id", String(36), nullable=False),
    Column("request_id", String(36)),  # whose result or preview it is
    Column("role", String(40), nullable=False),  # upload, lora, config, audio, preview, checkpoint, ...
    Column("name", String(255), nullable=False),
    Column("content_type", String(200), nullable=False),
    Column("size", BigInteger),  # bytes; None until it is whole
    Column("created_at", Float, nullable=False),
    Column("expires_at", Float),
    Index("files_by_request", "request_id", "role"),
    Index("files_by_key", "key_id", "created_at"),
    Index("files_expiring", "expires_at"),
)

# The server makes these for itself: the key that signs webhooks, and the one that signs upload addresses.
secrets = Table(
    "secrets",
    metadata,
    Column("name", String(40), primary_key=True),
    Column("value", Text, nullable=False),
)
