"""The tables. A change here needs a step in `migrations/versions`.

Times are seconds since 1970 in UTC. Money is whole billionths of a dollar, so that sums are exact.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    and_,
    literal_column,
    text,
)

metadata = MetaData()

# SQLite counts up only in a column of the type INTEGER.
_Number = BigInteger().with_variant(Integer, "sqlite")
_DEADLINE = text("start_before IS NOT NULL")
_WAITING = text("state = 'queued'")
_HELD = text("owner IS NOT NULL")
_ENDED = text("ended_at IS NOT NULL")
_UNKEPT = text("NOT keep_payloads AND response IS NOT NULL")
_UNPREPARED = text("state = 'queued' AND NOT prepared")
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
    Column("claimed_at", Float),  # when the present worker has taken it, or the last one had
    Column("gpus", Integer, nullable=False, server_default=text("1")),  # slots of one machine that it takes
    Column("asked_units", Integer, nullable=False, server_default=text("0")),  # billed if it succeeds
    Column("owner", String(36)),  # token of the worker that holds the lease
    Column("beat", Integer, nullable=False),  # counted up by that worker for as long as it lives
    # The beat that last brought more than progress: lines, points or files. Until the next one there is none to read.
    Column("told", Integer, nullable=False, server_default=text("0")),
    Column("cancel_asked", Boolean, nullable=False),
    Column("stop_asked", Boolean, nullable=False, server_default=text("false")),  # to end with what it has learnt
    # Whether it may begin: the data of a training is fetched and checked before. Who does that has its lease meanwhile.
    Column("prepared", Boolean, nullable=False, server_default=text("true")),
    Column("progress", Text),  # JSON, the live state of the run
    Column("status_code", Integer),  # of the result, as are the next four
    Column("response", Text),  # JSON
    Column("error", Text),
    Column("error_type", String(100)),
    Column("units", Integer),
    # A claim and an end write to every index that has the row, so most indexes have few rows.
    # This one has the lines of all keys, each in the order in which it is served.
    Index(
        "requests_waiting",
        "key_id",
        "endpoint",
        "prepared",
        "gpus",
        "priority",
        "number",
        "state",  # without it SQLite would look each row up
        sqlite_where=_WAITING,
        postgresql_where=_WAITING,
    ),
    # What runs and what is being prepared: as many rows as there are workers, however many wait and have ended.
    Index("requests_held", "owner", sqlite_where=_HELD, postgresql_where=_HELD),
    Index("requests_by_endpoint", "endpoint", "key_id", "number"),
    Index("requests_ended", "endpoint", "key_id", "ended_at", "number", sqlite_where=_ENDED, postgresql_where=_ENDED),
    Index("requests_by_key", "key_id", "number"),
    Index("requests_unprepared", "priority", "number", sqlite_where=_UNPREPARED, postgresql_where=_UNPREPARED),
    # What a key has under way is found among millions that have ended, and so are the few that have failed.
    Index("requests_unfinished", "key_id", "number", sqlite_where=UNFINISHED, postgresql_where=UNFINISHED),
    Index("requests_failed", "key_id", "number", sqlite_where=FAILED, postgresql_where=FAILED),
    # Payloads that are to go soon are found every five minutes.
    Index("requests_unkept", "ended_at", sqlite_where=_UNKEPT, postgresql_where=_UNKEPT),
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
    Column("max_queue", Integer, nullable=False),  # waiting requests; 0 takes the server's limit, -1 has none
    # The server's own limits hold where these are empty; 0 is without limit.
    Column("max_running", Integer),
    Column("budget", BigInteger),  # units a month
    Column("weight", Float, nullable=False, server_default=text("1")),  # of its share of the slots
)

# States are written out, because a plan for any state could not use the indexes that have one state only.
QUEUED = requests.c.state == literal_column("'queued'")
HELD = requests.c.owner > literal_column("''")
"""Somebody works on it. A comparison leads SQLite into the index, too, where `IS NOT NULL` does not."""
RUNNING = (requests.c.state == literal_column("'running'")) & HELD
UNKEPT = and_(text("NOT keep_payloads"), requests.c.response.is_not(None))
UNPREPARED = and_(QUEUED, text("NOT prepared"))

# Time on slots, by key and stretch of time. Its rows are few, and old ones are deleted.
usage = Table(
    "usage",
    metadata,
    Column("key_id", String(36), primary_key=True),
    Column("stretch", _Number, primary_key=True),  # of usage.STRETCH_SECONDS, counted since 1970
    Column("endpoint", String(200), primary_key=True),
    Column("seconds", Float, nullable=False),
    Column("ends", Integer, nullable=False),  # requests that ended in it
)

# What one of many servers does for all of them, and when it is due again.
duties = Table(
    "duties",
    metadata,
    Column("name", String(40), primary_key=True),
    Column("due_at", Float, nullable=False),
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

# Whoever does requests has a row, which the same process renews.
nodes = Table(
    "nodes",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("name", String(200), nullable=False),  # of the machine; several may have the same
    Column("seen", Float, nullable=False),
    Column("slots", Integer, nullable=False),
    Column("running", Integer, nullable=False),  # requests
    Column("draining", String(10), nullable=False),  # "", finish, now
    Column("free", Integer, nullable=False, server_default=text("0")),  # slots
    Column("most", Integer, nullable=False, server_default=text("0")),  # slots of a training that it may take
    Column("takes", Text, nullable=False, server_default=text("''")),  # endpoints with commas between; "" is all
)

# The server makes these for itself: the key that signs webhooks, and the one that signs upload addresses.
secrets = Table(
    "secrets",
    metadata,
    Column("name", String(40), primary_key=True),
    Column("value", Text, nullable=False),
)
