"""This benchmark loads the server on loopback: with polling beside a training, with a long queue, and at rest.

    .venv/bin/python benchmarks/service_load.py [--clients 100] [--seconds 30] [--queue 1000] [--record]

The clients are bare sockets in one process beside the server, so that they cost as little as clients can.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import io
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
import zipfile
from pathlib import Path
from typing import Any

from history import Figure
from table import MB, add_record, report

ROOT = Path(__file__).resolve().parents[1]
ENDPOINT = "fal-ai/ltx23-trainer-v2/t2a"
PORT = 8473
ADDRESS = f"http://127.0.0.1:{PORT}"
POLL_SECONDS = 0.1
WORKER_SECONDS = 8  # for a worker's start, which takes a core meanwhile


class Server:
    """`soundlora serve` in a process of its own, with an empty folder."""

    def __init__(self, *arguments: str) -> None:
        self.folder = tempfile.TemporaryDirectory()
        command = [sys.executable, "-c", "from soundlora.cli.app import main; main()", "serve", "--port", str(PORT)]
        # The measurement of the queue needs a data set on this machine.
        environment = os.environ | {"SOUNDLORA_PRIVATE_HOSTS": "127.0.0.1"}
        began = time.perf_counter()
        self.process = subprocess.Popen(
            [*command, "--data-dir", self.folder.name, *arguments], stdout=subprocess.DEVNULL, env=environment
        )
        while True:
            try:
                urllib.request.urlopen(f"{ADDRESS}/health", timeout=1).read()
                break
            except OSError:
                time.sleep(0.01)
        self.start_seconds = time.perf_counter() - began

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()
        self.folder.cleanup()

    def resident(self) -> int:
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS"))

    def processor_seconds(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(") ", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def ask(path: str, body: Any = None, method: str | None = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{ADDRESS}/{path}", data=data, headers=headers, method=method)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


async def exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, message: bytes) -> int:
    """Send one request on a kept connection and return the status code."""
    writer.write(message)
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    await reader.readexactly(length)
    return int(head.split(b" ", 2)[1])


def message(method: str, path: str, body: bytes = b"") -> bytes:
    head = f"{method} /{path} HTTP/1.1\r\nHost: 127.0.0.1:{PORT}\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


async def poll(path: str, clients: int, seconds: float) -> tuple[list[float], int]:
    """Return the latencies in ms of all polls, and how many failed."""
    latencies: list[float] = []
    errors = 0
    asked = message("GET", path)

    async def client(number: int) -> None:
        nonlocal errors
        reader, writer = await asyncio.open_connection("127.0.0.1", PORT)
        due = time.perf_counter() + POLL_SECONDS * number / clients
        end = due + seconds
        while due < end:
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            began = time.perf_counter()
            code = await exchange(reader, writer, asked)
            latencies.append((time.perf_counter() - began) * 1000)
            errors += code not in (200, 202)
            due = max(due + POLL_SECONDS, time.perf_counter())
        writer.close()

    await asyncio.gather(*(client(number) for number in range(clients)))
    return latencies, errors


def p99(values: list[float]) -> float:
    return statistics.quantiles(values, n=100)[98]


def training_speed(metrics: Path, seconds: float) -> float:
    """Return the steps a second of a running training over `seconds`, from its own metrics."""
    before, began = metrics.read_bytes().count(b"\n"), time.perf_counter()
    time.sleep(seconds)
    return (metrics.read_bytes().count(b"\n") - before) / (time.perf_counter() - began)


def wait_for_steps(id: str) -> None:
    while True:
        status = ask(f"{ENDPOINT}/requests/{id}/status?logs=1")
        if any(line["message"].startswith("Step ") for line in status["logs"]):
            return
        if status["status"] == "COMPLETED":
            raise SystemExit(f"the run ended early: {status}")
        time.sleep(0.5)


def examples() -> str:
    """Return the example clips as a data: URI."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path in sorted((ROOT / "examples" / "clips").iterdir()):
            archive.write(path, path.name)
    return "data:application/zip;base64," + base64.b64encode(buffer.getvalue()).decode()


def measure_polling(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure clients beside a training on the same cores."""
    server = Server()
    try:
        id = ask(ENDPOINT, {"training_data_url": examples(), "number_of_steps": 20000})["request_id"]
        metrics = Path(server.folder.name, "runs", id, "run", "metrics.jsonl")
        wait_for_steps(id)
        stretch = arguments.seconds / 2
        before = training_speed(metrics, stretch)
        path = f"{ENDPOINT}/requests/{id}/status?logs=1"
        spent = server.processor_seconds()
        code = "import asyncio, json, sys; sys.path.insert(0, sys.argv[1]); import service_load as s;" + (
            "print(json.dumps(asyncio.run(s.poll(sys.argv[2], int(sys.argv[3]), float(sys.argv[4])))))"
        )
        command = [sys.executable, "-c", code, str(Path(__file__).parent), path, str(arguments.clients)]
        polls = subprocess.Popen([*command, str(arguments.seconds)], stdout=subprocess.PIPE)
        beside = training_speed(metrics, arguments.seconds)
        latencies, errors = json.loads(polls.communicate()[0])
        share = (server.processor_seconds() - spent) / arguments.seconds
        after = training_speed(metrics, stretch)
        ask(f"{ENDPOINT}/requests/{id}/cancel", method="PUT")
    finally:
        server.stop()
    return {
        "polls": len(latencies),
        "errors": errors,
        "p50_ms": statistics.median(latencies),
        "p99_ms": p99(latencies),
        "steps_per_second": [before, beside, after],
        "slowed": 1 - beside / ((before + after) / 2),
        "server_share_of_core": share,
    }


def measure_queue(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure submits one after the other, and the status of the latest while the queue grows."""
    # A run that waits for its data takes the one slot: this socket accepts, and never answers.
    silent = socket.create_server(("127.0.0.1", 0))
    server = Server("--slots", "1")
    try:
        submits = []
        early: list[float] = []
        late: list[float] = []
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/clips.zip"
        body = {"training_data_url": url, "number_of_steps": 100}
        ask(ENDPOINT, body)
        time.sleep(WORKER_SECONDS)
        for number in range(arguments.queue):
            began = time.perf_counter()
            id = ask(ENDPOINT, body)["request_id"]
            submits.append((time.perf_counter() - began) * 1000)
            first = number < arguments.queue // 5
            if first or number >= arguments.queue - arguments.queue // 5:
                began = time.perf_counter()
                ask(f"{ENDPOINT}/requests/{id}/status")
                (early if first else late).append((time.perf_counter() - began) * 1000)
    finally:
        server.stop()
        silent.close()
    return {
        "submit_p50_ms": statistics.median(submits),
        "submit_p99_ms": p99(submits),
        "status_first_fifth_ms": statistics.median(early),
        "status_last_fifth_ms": statistics.median(late),
    }


def measure_rest() -> dict[str, Any]:
    server = Server()
    try:
        time.sleep(3)
        spent, began = server.processor_seconds(), time.perf_counter()
        time.sleep(20)
        share = (server.processor_seconds() - spent) / (time.perf_counter() - began)
        return {"start_seconds": server.start_seconds, "memory_bytes": server.resident(), "share_of_core": share}
    finally:
        server.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--queue", type=int, default=1000)
    add_record(parser)
    arguments = parser.parse_args()
    rest, queue, polling = measure_rest(), measure_queue(arguments), measure_polling(arguments)
    who = f"{arguments.clients} clients, {arguments.seconds:g} s beside a training"
    first, last = queue["status_first_fifth_ms"], queue["status_last_fifth_ms"]
    figures = [
        Figure("start to the first answer", rest["start_seconds"], "s", 2),
        Figure("memory at rest", rest["memory_bytes"] / MB, "MB", 150),
        Figure("share of a core at rest", 100 * rest["share_of_core"], "% of a core", 1),
        Figure(f"{arguments.queue:,} submits, p99", queue["submit_p99_ms"], "ms", 100),
        Figure("a status, first fifth of the queue", first, "ms"),
        Figure("a status, last fifth of the queue", last, "ms"),
        # Up to there it is called flat.
        Figure("the last fifth against the first", last / first, "times the first fifth", 1.5),
        Figure(f"{who}: answers", polling["polls"], "answers"),
        Figure(f"{who}: wrong ones", polling["errors"], "wrong answers", 0),
        Figure(f"{who}: p99", polling["p99_ms"], "ms", 300),
        Figure("the training slowed by", 100 * polling["slowed"], "%", 15),
        Figure("the server's share of a core meanwhile", 100 * polling["server_share_of_core"], "% of a core"),
    ]
    details = {"rest": rest, "queue": queue, **polling}
    report("service_load", "The server under load, on loopback", figures, details, arguments.record)


if __name__ == "__main__":
    main()
