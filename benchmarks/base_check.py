"""What `soundlora base check` is worth: which wrong bases it tells from the right one, and by which measures.

    .venv/bin/python benchmarks/base_check.py [--seeds 10] [--jobs 2] [--only WORDS] [--out results.json]

Each variant of nano in `base_variants.py` has one fault. The right base is checked with several seeds, also in int8 and
fp8, and must pass each time. The table is printed as Markdown. Of faults of the text half and of the codec it names the
first measure alone: looking for others would take most of the time.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from base_faults import Variant, right
from base_variants import variants

from soundlora.pipeline import base_check
from soundlora.pipeline.base_sound import clips, round_trip
from soundlora.weights.base import open_base

CPU = torch.device("cpu")
KINDS = (None, "int8", "fp8")


@cache
def usual_trip() -> Any:
    """What the right codec makes of the clips, which most variants leave alone."""
    return round_trip(open_base("nano").codec(CPU, encoder=True, decoder=True), clips())


def told_by(variant: Variant, *, stop: bool = False) -> list[str]:
    """Return the measures that find a variant wrong; "refused" where it does not even load or compute.

    stop: only the first measure counts.
    """
    trip = nullcontext() if variant.codec else patch.object(base_check, "round_trip", lambda *_: usual_trip())
    usual_trip()
    found: list[str] = []
    with tempfile.TemporaryDirectory() as folder, trip:
        try:
            with variant.build(Path(folder)) as base:
                wrong = (line.measure for line in base_check.measured(base, CPU) if line.fine is False)
                found.extend(islice(wrong, 1 if stop else None))
        except (ValueError, RuntimeError) as error:
            found.append(f"refused: {error}")
    return found


def false_alarms(seed: int, quantization: str | None) -> list[str]:
    """Return the measures that find the right base wrong."""
    with patch.object(base_check, "round_trip", lambda *_: usual_trip()), right(Path()) as base:
        return [line.measure for line in base_check.measured(base, CPU, quantization, seed) if line.fine is False]


def table(found: Iterable[tuple[Variant, list[str]]]) -> str:
    """Return rows of variants and the measures that told them."""
    rows = ["| from | fault | told by |", "|---|---|---|"]
    for variant, told in found:
        shown = ", ".join(told[:4]) + (f" and {len(told) - 4} more" if len(told) > 4 else "")
        rows.append(f"| {variant.source} | {variant.fault} | {shown or '**not told**'} |")
    return "\n".join(rows)


def _number(index: int) -> list[str]:
    torch.set_num_threads(1)
    variant = variants()[index]
    return told_by(variant, stop=variant.brief)


def _alarm(case: tuple[int, str | None]) -> list[str]:
    torch.set_num_threads(1)
    return false_alarms(*case)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--only", default="")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    chosen = [number for number, variant in enumerate(variants()) if options.only in variant.words]
    cases = [(seed, kind) for seed in range(options.seeds) for kind in KINDS]
    found: dict[str, list[str]] = {}
    with ProcessPoolExecutor(options.jobs) as pool:
        for number, told in zip(chosen, pool.map(_number, chosen), strict=True):
            found[variants()[number].words] = told
            print(f"{variants()[number].words}: {', '.join(told) or 'NOT TOLD'}", flush=True)
        alarms = dict(zip(cases, pool.map(_alarm, cases), strict=True))
    if options.out:
        options.out.write_text(json.dumps(found, indent=1))
    print(table((variants()[number], found[variants()[number].words]) for number in chosen))
    print(f"{sum(map(bool, found.values()))} of {len(found)} told")
    false = [f"seed {seed}, {kind or 'fp32'}: {', '.join(told)}" for (seed, kind), told in alarms.items() if told]
    print(f"{len(false)} false alarms in {len(alarms)} checks of the right base", *false, sep="\n")


if __name__ == "__main__":
    main()
