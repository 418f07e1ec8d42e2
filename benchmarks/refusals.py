"""This benchmark sends 400 data sets without a sound, and a good one behind them, for one slot.

    .venv/bin/python benchmarks/refusals.py [--bad 400] [--record]

Nobody's GPU is to wait for them. It counts the refusals a second, and the seconds until the good one trains. Server,
preparers, worker and this program share the machine.
"""

from __future__ import annotations

import argparse
import base64
import io
import subprocess
import sys
import time
import zipfile
from pathlib import Path

from history import Figure
from service_load import Server, ask
from table import add_record, report

TRAINER = "fal-ai/ltx23-trainer-v2"
CLIPS = Path(__file__).parents[1] / "examples" / "clips"
WORK = (sys.executable, "-c", "from soundlora.cli.app import main; main()", "work", "--slots", "1")
GOAL, LATEST = 20.0, 30.0  # refusals a second, and seconds until the good one starts


def data(*paths: Path) -> str:
    """Return a data: URI of a zip of these files."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for path in paths:
            archive.write(path, path.name)
    return "data:application/zip;base64," + base64.b64encode(content.getvalue()).decode()


def submit(url: str) -> str:
    asked = {"training_data_url": url, "number_of_steps": 100, "audio_duration_seconds": 1, "validation": []}
    request: str = ask(f"{TRAINER}/t2a", asked)["request_id"]
    return request


def state(request: str) -> str:
    status: str = ask(f"{TRAINER}/requests/{request}/status")["status"]
    return status


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bad", type=int, default=400)
    add_record(parser)
    arguments = parser.parse_args()
    # All of them wait before anybody looks at the first, or the sending would be what is measured.
    server = Server("--executor", "none")
    worker = None
    try:
        bad = [submit(data()) for _ in range(arguments.bad)]
        good = submit(data(*sorted(CLIPS.iterdir())))
        began = time.perf_counter()
        worker = subprocess.Popen([*WORK, "--data-dir", server.folder.name], stdout=subprocess.DEVNULL)
        refused = started = 0.0
        while not (refused and started):
            # Two prepare side by side, so the last one sent may not be the last that ends.
            if not refused and state(bad[-1]) == "COMPLETED":
                refused = time.perf_counter() - began
            if not started and state(good) != "IN_QUEUE":
                started = time.perf_counter() - began
            time.sleep(0.05)
        ask(f"{TRAINER}/requests/{good}/cancel", method="PUT")
    finally:
        if worker is not None:
            worker.terminate()
            worker.wait()
        server.stop()
    figures = [
        Figure("refusals a second, start of soundlora work included", arguments.bad / refused, "refusals/s", GOAL),
        Figure("a good request behind them starts after", started, "s", LATEST),
    ]
    raw = {"bad": arguments.bad, "refused": refused, "started": started}
    report("refusals", "Data sets that can't be used, before a good one", figures, raw, arguments.record)


if __name__ == "__main__":
    main()
