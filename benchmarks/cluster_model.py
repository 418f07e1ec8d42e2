"""A calculation from measured costs to clusters that are not here: how far each part is used, and which breaks first.

Every part's load is a sum of rates times costs, so a table answers what a simulation of single events would.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

GPUS = (10, 100, 200, 1000)
REQUESTS_A_DAY = (10_000, 100_000, 1_000_000)

BEATS_A_SECOND = 1.0
"""Of a run whose steps take a second, each of which is news."""
LINES_SHARE = 0.1
"""The share of beats that bring lines or points, too."""
VIEWERS_A_GPU = 10
LOOKS_A_SECOND = 2.5
"""Of a server, for all its viewers: one read for 200 requests."""
TICKS_A_SECOND = 8.0
"""Short statements of a machine's executor: claims that find nothing, leases, deadlines."""
BYTES_A_REQUEST = 12_000
"""Its row, its line in the ledger, twenty lines of log, fifty points, four files, and their indexes."""
CONNECTIONS_A_WORKER, CONNECTIONS_A_SERVER = 2, 10


@dataclass(frozen=True)
class Costs:
    """What was measured. `database_ms`: milliseconds of Postgres' processor for one of each operation."""

    database_ms: Mapping[str, float]
    server_ms_per_viewer: float  # of a server's processor, for a second of watching


@dataclass(frozen=True)
class Limit:
    """What a part takes before it breaks, as it comes and after a change that its operator can make."""

    name: str
    usual: float
    raised: float
    how: str


LIMITS = (
    Limit("Postgres connections", 100, 5000, "`max_connections`, or a pool such as PgBouncer"),
    Limit("Postgres cores", 0.6, 9.6, "a machine of 16 cores, used to 60 %"),
    Limit("commits a second", 2000, 20_000, "a disk with a write cache that survives a power cut"),
    Limit("server cores", 0.6, 60, "a hundred servers behind one address"),
    Limit("GB of tables a day", 5, 50, "`--keep-days`, and a disk to match"),
)


def loads(costs: Costs, gpus: float, requests_a_day: float) -> dict[str, float]:
    """Return the load of each part of LIMITS when every GPU is at work."""
    ms = costs.database_ms
    a_second = requests_a_day / 86_400
    viewers = VIEWERS_A_GPU * gpus
    server_cores = viewers * costs.server_ms_per_viewer / 1000
    servers = max(1, math.ceil(server_cores / 0.6))
    beats = gpus * BEATS_A_SECOND
    watched = beats * LINES_SHARE * min(servers, VIEWERS_A_GPU)  # each server reads what is new for its viewers
    database_ms = (
        beats * ((1 - LINES_SHARE) * ms["progress"] + LINES_SHARE * ms["lines"])
        + a_second * (ms["submit"] + ms["claim"] + ms["finish"] + 4 * ms["submit"])  # and the rows of four files
        + servers * LOOKS_A_SECOND * ms["states"] * max(1.0, min(gpus, viewers / servers) / 200)
        + watched * 3 * ms["log"]  # lines, points and files
        + math.ceil(gpus / 8) * TICKS_A_SECOND * ms["look"]
    )
    return {
        "Postgres connections": gpus * CONNECTIONS_A_WORKER + servers * CONNECTIONS_A_SERVER,
        "Postgres cores": database_ms / 1000,
        "commits a second": beats + 7 * a_second,
        "server cores": server_cores,
        "GB of tables a day": requests_a_day * BYTES_A_REQUEST / 1e9,
    }


def breaks_at(costs: Costs, limit: Limit, most: float, requests_a_gpu: float = 1000) -> float:
    """Return the GPUs at which a part takes `most`, when each does so many requests a day."""
    low, high = 1.0, 1e6
    while high / low > 1.001:
        middle = math.sqrt(low * high)
        if loads(costs, middle, middle * requests_a_gpu)[limit.name] < most:
            low = middle
        else:
            high = middle
    return low


def rows_of(costs: Costs) -> list[dict[str, Any]]:
    """Return a row for each size."""
    return [
        {"gpus": gpus, "requests_a_day": requests, **loads(costs, gpus, requests)}
        for gpus in GPUS
        for requests in REQUESTS_A_DAY
    ]


def table_of(costs: Costs) -> str:
    """Return the sizes, and what breaks first, as Markdown."""
    names = [limit.name for limit in LIMITS]
    lines = [f"| GPUs | requests a day | {' | '.join(names)} |", "|---:" * (2 + len(names)) + "|"]
    for row in rows_of(costs):
        cells = [f"{row['gpus']:,}", f"{row['requests_a_day']:,}", *(_short(row[name]) for name in names)]
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "| breaks | as it comes, at | raised, at | by |", "|---|---:|---:|---|"]
    for limit in sorted(LIMITS, key=lambda limit: breaks_at(costs, limit, limit.usual)):
        usual, raised = (breaks_at(costs, limit, most) for most in (limit.usual, limit.raised))
        lines.append(f"| {limit.name} | {_round(usual)} GPUs | {_round(raised)} GPUs | {limit.how} |")
    return "\n".join(lines)


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 20 else f"{value:.2g}"


def _round(value: float) -> str:
    """Two digits, since the costs are known no better."""
    digits = max(0, math.floor(math.log10(value)) - 1)
    return f"{round(value / 10**digits) * 10**digits:,}"
