"""This benchmark measures what many workers and viewers cost one Postgres, and what breaks first with more of them.

    .venv/bin/python benchmarks/cluster.py [--workers 200] [--viewers 2000] [--seconds 120] [--record]

The workers are fakes without torch: threads that claim, beat as a training does and end requests, through the real
tables. The viewers are connections to real servers: most read the events of the page, some the stream of a status, and
one in twenty polls twice a second. Workers and readers of streams would be on machines of their own, so they give way
to the database, the servers and those who poll; else a status would wait for them. Database and servers are measured
in processor time, which the load of others on the machine changes little; latencies and claims a second are only
worth recording on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import random
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from cluster_model import Costs, rows_of, table_of  # noqa: E402
from history import Figure  # noqa: E402
from postgres import Postgres, started  # noqa: E402
from service_load import p99  # noqa: E402
from table import add_record, report  # noqa: E402

from soundlora.server.endpoints import TRAINING  # noqa: E402
from soundlora.server.store.database import Database  # noqa: E402
from soundlora.server.store.finish import Outcome  # noqa: E402
from soundlora.server.store.requests import Requests  # noqa: E402
from soundlora.server.store.states import read_states  # noqa: E402

PORTS = (8481, 8482)
POLL_SECONDS = 0.5
POLLS_ONE_IN = 20  # viewers
STEP_SECONDS = 1.0
RUN_SECONDS = 30.0
LINES_EVERY = 10  # steps
POSTGRES = ("shared_buffers=256MB", "max_connections=500")
INPUT = {"training_data_url": "https://clips.example/a.zip", "number_of_steps": 100, "trigger_phrase": "rain " * 20}
_TICKS = os.sysconf("SC_CLK_TCK")

SERVE = """
import sys
from pathlib import Path
from soundlora.server.http.app import create_app
from soundlora.server.http.serving import open_port, serve
from soundlora.server.settings import Settings
folder, url, port = sys.argv[1:]
settings = Settings(data_dir=Path(folder), database_url=url, max_connections=0)
serve(create_app(settings, executor=False), open_port("127.0.0.1", int(port)), lambda: print("ready", flush=True))
"""


def processor_seconds(process: int, *, with_children: bool = False) -> float:
    """Return the processor time of a process; with its children, those that have ended included."""
    spent = 0.0
    fields = Path(f"/proc/{process}/stat").read_text().rsplit(") ", 1)[1].split()
    spent += sum(int(each) for each in fields[11 : 15 if with_children else 13]) / _TICKS
    if with_children:
        children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
        for child in children:
            with contextlib.suppress(OSError):  # it ends just now, and is counted with the ended ones next time
                spent += processor_seconds(int(child))
    return spent


def costs_of_operations(server: Postgres, requests: Requests, number: int) -> dict[str, float]:
    """Return the milliseconds of the database's processor that each operation takes, by name."""
    owners: list[tuple[str, str]] = []

    def submit(turn: int) -> None:
        requests.submit(TRAINING, INPUT)

    def claim(turn: int) -> None:
        claimed = requests.claim()
        assert claimed is not None
        assert claimed.owner is not None
        owners.append((claimed.id, claimed.owner))

    def progress(turn: int) -> None:
        requests.beat(*owners[turn], progress={"stage": "training", "step": turn, "steps_per_second": 1.0})

    def lines(turn: int) -> None:
        requests.beat(*owners[turn], lines=[(0.0, "INFO", f"Step {turn}")], curve=[(turn, "loss", 0.5)])

    def look(turn: int) -> None:
        requests.asked_of(*owners[turn])

    def states(turn: int) -> None:
        read_states(requests.database, [id for id, _ in owners[:200]])

    def log(turn: int) -> None:
        requests.log_lines(owners[turn][0])

    def finish(turn: int) -> None:
        requests.finish(*owners[turn], Outcome(200, {"lora_file": None}, units=100))

    found = {}
    for operation in (submit, claim, progress, lines, look, states, log, finish):
        before = processor_seconds(server.process, with_children=True)
        for turn in range(number):
            operation(turn)
        found[operation.__name__] = 1000 * (processor_seconds(server.process, with_children=True) - before) / number
    return found


def claims_a_second(url: str, workers: int, number: int) -> float:
    """Return how many requests a second are claimed by so many workers at once, in processes of fifty threads."""
    database = Database(url)
    requests = Requests(database)
    for _ in range(number):
        requests.submit(TRAINING, INPUT)
    processes = [_fakes(url, "claim", min(50, workers - first)) for first in range(0, workers, 50)]
    for process in processes:
        assert process.stdout is not None
        process.stdout.readline()
    began = time.perf_counter()
    for process in processes:
        _go(process)
    taken = sum(int(process.communicate()[0]) for process in processes)
    took = time.perf_counter() - began
    assert taken == number, (taken, number)
    for id, owner, _ in requests.held():  # else viewers would choose these, of which nothing is ever heard
        requests.finish(id, owner, Outcome(200, {"lora_file": None}, units=100))
    database.close()
    return number / took


def _fakes(url: str, what: str, threads: int) -> subprocess.Popen[bytes]:
    return _other("--fakes", what, str(threads), url)


def _other(*arguments: str) -> subprocess.Popen[bytes]:
    """Start what would run on other machines. It steps back for the database and the servers, which are measured."""
    command = ["nice", "-n", "15", sys.executable, __file__, *arguments]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def _go(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    process.stdin.write(b"go\n")
    process.stdin.flush()


def be_fakes(what: str, threads: int, url: str) -> None:
    """Be some fake workers: claim all there is, or claim, work and end until the standard input ends."""
    database = Database(url)
    database.engine.dispose()
    requests = Requests(database)
    requests.database.engine = _with_pool(url, threads)
    print("ready", flush=True)
    sys.stdin.readline()
    over = threading.Event()
    counts = [0] * threads

    def claim(number: int) -> None:
        while requests.claim() is not None:
            counts[number] += 1

    def work(number: int) -> None:
        over.wait(random.uniform(0, RUN_SECONDS))
        while not over.is_set():
            claimed = requests.claim()
            if claimed is None or claimed.owner is None:
                over.wait(0.5)
                continue
            counts[number] += 1
            _train(requests, claimed.id, claimed.owner, over)

    target = claim if what == "claim" else work
    all_threads = [threading.Thread(target=target, args=(number,)) for number in range(threads)]
    for thread in all_threads:
        thread.start()
    if what == "work":
        sys.stdin.read()
        over.set()
    for thread in all_threads:
        thread.join()
    print(sum(counts))


def _with_pool(url: str, threads: int) -> Any:
    """Each thread stands for a process, which has a connection of its own."""
    import sqlalchemy as sa

    parsed = sa.make_url(url).set(drivername="postgresql+psycopg")
    return sa.create_engine(parsed, pool_pre_ping=True, pool_size=threads, max_overflow=0)


def _train(requests: Requests, id: str, owner: str, over: threading.Event) -> None:
    for step in range(int(RUN_SECONDS / STEP_SECONDS)):
        if over.wait(STEP_SECONDS):
            break
        news: dict[str, Any] = {"progress": {"stage": "training", "step": step, "steps_per_second": 1 / STEP_SECONDS}}
        if step % LINES_EVERY == 0:
            news |= {"lines": [(time.time(), "INFO", f"Step {step}")], "curve": [(step, "loss", 1 / (step + 1))]}
        requests.beat(id, owner, **news)
    requests.finish(id, owner, Outcome(200, {"lora_file": None}, units=100))


async def view(ports: list[int], numbers: Iterable[int], seconds: float, ids: Callable[[], list[str]]) -> list[float]:
    """Be the viewers of these numbers for so long. Return the milliseconds of each poll."""
    latencies: list[float] = []
    until = time.perf_counter() + seconds

    async def poll(number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", ports[number // POLLS_ONE_IN % len(ports)])
        due = time.perf_counter() + random.uniform(0, POLL_SECONDS)
        while due < until:
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            began = time.perf_counter()
            path = f"fal-ai/ltx23-trainer-v2/requests/{random.choice(ids())}/status?logs=1"
            writer.write(f"GET /{path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.split(b" ", 2)[1] in (b"200", b"202"), head
            length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            await reader.readexactly(length)
            latencies.append((time.perf_counter() - began) * 1000)
            due = max(due + POLL_SECONDS, time.perf_counter())
        writer.close()

    async def stream(number: int, page: bool) -> None:
        while time.perf_counter() < until:
            id = random.choice(ids())
            path = f"v1/runs/{id}/events" if page else f"fal-ai/ltx23-trainer-v2/requests/{id}/status/stream?logs=1"
            reader, writer = await asyncio.open_connection("127.0.0.1", ports[number % len(ports)])
            writer.write(f"GET /{path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(until - time.perf_counter()):
                    while await reader.read(65536):
                        pass
            writer.close()

    async def viewer(number: int) -> None:
        await asyncio.sleep(random.uniform(0, min(10.0, seconds / 4)))
        await (poll(number) if number % POLLS_ONE_IN == 0 else stream(number, page=number % 4 != 1))

    await asyncio.gather(*(viewer(number) for number in numbers))
    return latencies


def watch_running(requests: Requests, over: threading.Event) -> list[str]:
    """Return a list that holds the ids of the running requests, until it is over."""
    running = [id for id, _, _ in requests.held()]

    def look() -> None:
        while not over.wait(1.0):
            running[:] = [id for id, _, _ in requests.held()] or running

    threading.Thread(target=look, daemon=True).start()
    return running


def be_streams(viewers: int, seconds: float, ports: list[int], url: str) -> None:
    """Be those of so many viewers who read a stream."""
    running = watch_running(Requests(Database(url)), threading.Event())
    numbers = [number for number in range(viewers) if number % POLLS_ONE_IN]
    asyncio.run(view(ports, numbers, seconds, lambda: running))


@contextlib.contextmanager
def servers(url: str, ports: list[int]) -> Iterator[list[int]]:
    """The process ids of servers at these ports."""
    processes = []
    with tempfile.TemporaryDirectory() as folder:
        for port in ports:
            command = [sys.executable, "-c", SERVE, folder, url, str(port)]
            processes.append(subprocess.Popen(command, stdout=subprocess.PIPE))
        try:
            for process in processes:
                assert process.stdout is not None
                assert process.stdout.readline() == b"ready\n"
            yield [process.pid for process in processes]
        finally:
            for process in processes:
                process.terminate()
                process.wait()


def measure_cluster(server: Postgres, arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure servers, workers and viewers all at once."""
    ports = list(PORTS[: arguments.servers])
    database = Database(server.url)
    requests = Requests(database)
    for _ in range(int(arguments.workers * (arguments.seconds / RUN_SECONDS + 3))):
        requests.submit(TRAINING, INPUT)
    with servers(server.url, ports) as processes:
        half = (arguments.workers + 1) // 2
        workers = [_fakes(server.url, "work", half), _fakes(server.url, "work", arguments.workers - half)]
        for worker in workers:
            assert worker.stdout is not None
            worker.stdout.readline()
            _go(worker)
        time.sleep(RUN_SECONDS)  # until all of them work
        over = threading.Event()
        running = watch_running(requests, over)
        latencies: list[float] = []
        polls = range(0, arguments.viewers, POLLS_ONE_IN)
        viewing = threading.Thread(
            target=lambda: latencies.extend(asyncio.run(view(ports, polls, arguments.seconds, lambda: running)))
        )
        viewing.start()
        streams = _other("--streams", str(arguments.viewers), str(arguments.seconds), *map(str, ports), server.url)
        time.sleep(min(12.0, arguments.seconds / 3))  # until all of them are connected
        began, spent = time.perf_counter(), processor_seconds(server.process, with_children=True)
        served = sum(processor_seconds(each) for each in processes)
        statements = _transactions(database)
        viewing.join()
        streams.wait()
        took = time.perf_counter() - began
        database_share = (processor_seconds(server.process, with_children=True) - spent) / took
        server_share = (sum(processor_seconds(each) for each in processes) - served) / took
        statements_a_second = (_transactions(database) - statements) / took
        over.set()
        for worker in workers:
            worker.communicate()
    database.close()
    return {
        "polls": len(latencies),
        "p50_ms": sorted(latencies)[len(latencies) // 2],
        "p99_ms": p99(latencies),
        "database_share_of_core": database_share,
        "servers_share_of_core": server_share,
        "transactions_a_second": statements_a_second,
    }


def _transactions(database: Database) -> int:
    import sqlalchemy as sa

    text = "SELECT pg_stat_force_next_flush(), sum(xact_commit + xact_rollback) FROM pg_stat_database"
    with database.read() as connection:
        return int(connection.execute(sa.text(text)).one()[1])


def allow_many_files() -> None:
    files, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(files, min(most, 8192)), most))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=200)
    parser.add_argument("--viewers", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--servers", type=int, choices=(1, 2), default=2)
    parser.add_argument("--operations", type=int, default=1000)
    parser.add_argument("--claims", type=int, default=2000)
    add_record(parser)
    arguments = parser.parse_args()
    allow_many_files()
    with started(POSTGRES) as server:
        database = Database(server.url)
        database.migrate()
        operations = costs_of_operations(server, Requests(database), arguments.operations)
        claims = claims_a_second(server.url, arguments.workers, arguments.claims)
        loaded = measure_cluster(server, arguments)
        database.close()
    who = f"{arguments.workers:,} workers and {arguments.viewers:,} viewers"
    figures = [
        Figure(f"claims by {arguments.workers} workers at once", claims, "claims/s", 200),
        Figure(f"{who}: a status, median", loaded["p50_ms"], "ms"),
        Figure(f"{who}: a status, p99", loaded["p99_ms"], "ms", 50),
        Figure(f"{who}: Postgres", 100 * loaded["database_share_of_core"], "% of a core", 60),
        Figure(f"{who}: all servers", 100 * loaded["servers_share_of_core"], "% of a core"),
        *(Figure(f"Postgres' processor for one: {name}", cost, "ms") for name, cost in operations.items()),
    ]
    costs = Costs(
        database_ms=operations,
        server_ms_per_viewer=1000 * loaded["servers_share_of_core"] / arguments.viewers,
    )
    details = {"load average": os.getloadavg(), **loaded, "operations_ms": operations, "model": rows_of(costs)}
    print(f"The load average of this machine is {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores.")
    report("cluster", "Many workers and viewers on one Postgres", figures, details, arguments.record)
    print(table_of(costs))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--fakes"]:
        be_fakes(sys.argv[2], int(sys.argv[3]), sys.argv[4])
    elif sys.argv[1:2] == ["--streams"]:
        allow_many_files()
        be_streams(int(sys.argv[2]), float(sys.argv[3]), [int(port) for port in sys.argv[4:-1]], sys.argv[-1])
    else:
        main()
