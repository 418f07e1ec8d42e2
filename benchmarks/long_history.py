"""This benchmark asks what servers and workers ask all the time, behind a short history and behind a long one.

    .venv/bin/python benchmarks/long_history.py [--rows 1000000] [--calls 300] [--record]

Postgres holds `--rows` requests that have ended, with a line of the ledger and of the log each, and 1,000 that wait.
The long history is made behind the short one in the same database, so that both are measured in one run.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import sqlalchemy as sa
from history import Figure
from table import add_record, report

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from postgres import cluster

from soundlora.server.store.database import Database
from soundlora.server.store.finish import Outcome
from soundlora.server.store.requests import Requests
from soundlora.server.store.states import read_states

SHORT, WAITING, WATCHED = 1000, 1000, 100
DONE = Outcome(200, {}, units=100)
REQUESTS = """
INSERT INTO requests (id, endpoint, key_id, state, priority, input, summary, keep_payloads, base_url, created_at,
    started_at, ended_at, no_retry, attempts, beat, cancel_asked, status_code, response, units)
SELECT lpad(n::text, 36, '0'), 'train', 'key ' || n % 10, 'completed', 0, '{}', 'rain', true, '', n, n, n + 5, false, 1,
    100, false, CASE WHEN n % 50 = 0 THEN 500 ELSE 200 END, '{}', 100
FROM generate_series(CAST(:first AS int), CAST(:last AS int)) AS n
"""
LEDGER = """
INSERT INTO ledger (request_id, endpoint, key_id, at, units, unit_nano_usd)
SELECT lpad(n::text, 36, '0'), 'train', 'key ' || n % 10, n + 5, 100, 0
FROM generate_series(CAST(:first AS int), CAST(:last AS int)) AS n
"""
LOGS = """
INSERT INTO logs (request_id, at, level, message) SELECT lpad(n::text, 36, '0'), n, 'INFO', 'a line'
FROM generate_series(CAST(:first AS int), CAST(:last AS int)) AS n
"""


def grow(database: Database, first: int, last: int) -> None:
    """Let the requests from one number to another have ended."""
    with database.write() as connection:
        for statement in (REQUESTS, LEDGER, LOGS):
            connection.execute(sa.text(statement), {"first": first, "last": last})
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text("VACUUM ANALYZE"))


def milliseconds(call: Callable[[], object], calls: int) -> float:
    """Return the median of so many calls, after some that count nothing."""
    took = []
    for number in range(calls + 20):
        began = time.perf_counter()
        call()
        if number >= 20:
            took.append((time.perf_counter() - began) * 1000)
    return statistics.median(took)


def measure(database: Database, calls: int) -> dict[str, float]:
    """Return milliseconds by what is done."""
    requests = Requests(database)
    for n in range(WAITING):
        requests.submit("train", {}, key_id=f"key {n % 10}")
    running = requests.claim()
    assert running is not None
    assert running.owner is not None
    id, owner = running.id, running.owner
    ids = [f"{n:036}" for n in range(1, WATCHED + 1)]

    def claim_and_end() -> None:
        taken = requests.claim()
        assert taken is not None
        assert taken.owner is not None
        requests.finish(taken.id, taken.owner, DONE)

    found = {
        "a claim and its end": milliseconds(claim_and_end, calls),
        "a beat with a line": milliseconds(lambda: requests.beat(id, owner, lines=[(1.0, "INFO", "x")]), calls),
        "a look at the leases": milliseconds(requests.held, calls),
        "a look at the deadlines": milliseconds(requests.start_seconds, calls),
        f"{WATCHED} statuses": milliseconds(lambda: read_states(database, ids), calls),
        "payloads to forget": milliseconds(lambda: requests.forget_unkept(1.0), calls),
    }
    requests.finish(id, owner, DONE)
    while (rest := requests.claim()) is not None:
        assert rest.owner is not None
        requests.finish(rest.id, rest.owner, DONE)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--calls", type=int, default=300)
    add_record(parser)
    arguments = parser.parse_args()
    load = os.getloadavg()[0]
    with cluster() as url:
        database = Database(url)
        database.migrate()
        grow(database, 1, SHORT)
        short = measure(database, arguments.calls)
        grow(database, SHORT + 1, arguments.rows)
        long = measure(database, arguments.calls)
        database.close()
    figures = []
    for name, took in long.items():
        figures.append(Figure(f"{name} | {SHORT:,} have ended", short[name], "ms"))
        figures.append(Figure(f"{name} | {arguments.rows:,} have ended", took, "ms"))
    report("long history", f"{WAITING:,} requests wait, load {load:.1f}", figures, {"load": load}, arguments.record)


if __name__ == "__main__":
    main()
