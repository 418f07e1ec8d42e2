"""This benchmark lets many workers take requests from a long queue on Postgres, of one key, of three and of a hundred.

    .venv/bin/python benchmarks/claims.py [--queue 100000] [--workers 200] [--seconds 20] [--record]

A worker takes a request, ends it and takes the next one; it holds none for longer, so that claims are all there is to
wait for. Each has a connection of its own, as on machines of their own.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from history import Figure
from table import add_record, report

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from postgres import cluster

from soundlora.server.store import usage
from soundlora.server.store.database import Database
from soundlora.server.store.finish import Outcome
from soundlora.server.store.requests import Requests
from soundlora.server.store.tables import ledger, requests
from soundlora.server.store.tables import usage as usage_table

KEYS = (1, 3, 100)
PROCESSES = 2
WARM_UP = 12
DONE = Outcome(200, {}, units=100)
GOAL = 200.0


def fill(database: Database, queue: int, keys: int) -> None:
    """Let `queue` requests wait, of keys that have all used something in the last hour."""
    row = {
        "endpoint": "train",
        "state": "queued",
        "priority": 0,
        "input": "{}",
        "summary": "",
        "keep_payloads": True,
        "base_url": "",
        "created_at": 0.0,
        "no_retry": False,
        "attempts": 0,
        "beat": 0,
        "cancel_asked": False,
        "stop_asked": False,
    }
    names = ", ".join((*row, "key_id", "id"))
    values = ", ".join(f":{name}" for name in row)
    made = sa.text(
        f"INSERT INTO requests ({names}) SELECT {values}, 'key ' || (n % :keys), "
        "lpad(n::text, 36, '0') FROM generate_series(1, :queue) AS n"
    )
    with database.write() as connection:
        for table in (requests, ledger, usage_table):
            connection.execute(sa.delete(table))
        connection.execute(made, {**row, "keys": keys, "queue": queue})
        first, last = usage.window(time.time())
        for number in range(keys):
            for stretch in range(first, last + 1):
                used = {"key_id": f"key {number}", "stretch": stretch, "endpoint": "train", "seconds": 60.0, "ends": 1}
                connection.execute(sa.insert(usage_table).values(used))
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text("VACUUM ANALYZE"))


def work(url: str, workers: int, seconds: float, begin: Any, answers: Any) -> None:
    """Take and end requests with so many threads, all of which `begin` at once. Puts (latencies in ms, claims by key).

    Each connection has done it a few times before: a driver prepares a statement from its sixth time on, and Postgres
    plans a prepared one anew five times. An executor's connection lives for days, and has left that behind.
    """
    latencies: list[float] = []
    taken: Counter[str] = Counter()
    warm, begun = threading.Barrier(workers + 1), threading.Barrier(workers + 1)
    database = Database(url)
    database.engine = sa.create_engine(database.engine.url, pool_size=workers, pool_pre_ping=True)
    table = Requests(database)

    def run() -> None:
        for _ in range(WARM_UP):
            request = table.claim()
            if request is not None and request.owner is not None:
                table.finish(request.id, request.owner, DONE)
        warm.wait()
        begun.wait()
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            began = time.perf_counter()
            request = table.claim()
            latencies.append((time.perf_counter() - began) * 1000)
            if request is None or request.owner is None:
                break
            taken[request.key_id] += 1
            table.finish(request.id, request.owner, DONE)

    threads = [threading.Thread(target=run) for _ in range(workers)]
    for thread in threads:
        thread.start()
    warm.wait()
    begin.wait()
    begun.wait()
    for thread in threads:
        thread.join()
    database.close()
    answers.put((latencies, taken))


def database_seconds(url: str) -> float:
    """Return the processor seconds of the database's processes since its start, ended ones included."""
    folder = Path(url.partition("host=")[2]) / "data"
    postmaster = int((folder / "postmaster.pid").read_text().split()[0])
    ticks = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rsplit(") ", 1)[1].split()
        except OSError:  # it has ended
            continue
        if int(path.parent.name) == postmaster:
            ticks += sum(map(int, fields[11:15]))
        elif int(fields[1]) == postmaster:
            ticks += sum(map(int, fields[11:13]))
    return ticks / os.sysconf("SC_CLK_TCK")


def measure(url: str, workers: int, seconds: float) -> tuple[list[float], Counter[str], float]:
    """Return latencies in ms, claims by key, and the database's processor seconds."""
    context = multiprocessing.get_context("spawn")
    answers, begin = context.Queue(), context.Barrier(PROCESSES + 1)
    processes = [
        context.Process(target=work, args=(url, workers // PROCESSES, seconds, begin, answers))
        for _ in range(PROCESSES)
    ]
    for process in processes:
        process.start()
    begin.wait()
    before = database_seconds(url)
    latencies: list[float] = []
    taken: Counter[str] = Counter()
    for _ in processes:
        found = answers.get()
        latencies += found[0]
        taken += found[1]
    spent = database_seconds(url) - before
    for process in processes:
        process.join()
    return latencies, taken, spent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--queue", type=int, default=100_000)
    parser.add_argument("--workers", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=20)
    add_record(parser)
    arguments = parser.parse_args()
    figures: list[Figure] = []
    details: dict[str, Any] = {"load": os.getloadavg()[0]}
    with cluster(arguments.workers + 50) as url:
        database = Database(url)
        database.migrate()
        for keys in KEYS:
            fill(database, arguments.queue, keys)
            latencies, taken, spent = measure(url, arguments.workers, arguments.seconds)
            whose = f"{keys} key{'s' if keys > 1 else ''}"
            figures += [
                Figure(f"claims and ends | {whose}", sum(taken.values()) / arguments.seconds, "a second", GOAL),
                Figure(f"the database's time for both | {whose}", spent / sum(taken.values()) * 1000, "ms"),
                Figure(f"a claim, half of them | {whose}", statistics.median(latencies), "ms"),
                Figure(f"a claim, 99 % of them | {whose}", statistics.quantiles(latencies, n=100)[98], "ms"),
            ]
            details[whose] = {"fewest": min(taken.values()), "most": max(taken.values())}
            print(whose, sum(taken.values()), details[whose], flush=True)
        database.close()
    report(
        "claims",
        f"{arguments.workers} workers, {arguments.queue:,} requests wait, load {details['load']:.1f}",
        figures,
        details,
        arguments.record,
    )


if __name__ == "__main__":
    main()
