"""The plan of LTX 2.3's memory on a GPU, as `soundlora doctor --plan` computes it from sizes: rank 32, clips of 5 s.

.venv/bin/python benchmarks/memory_plan.py [--record]
"""

from __future__ import annotations

import argparse

from history import Figure
from table import add_record, report

from soundlora.cli.plan_table import plans
from soundlora.system.gpu_memory import GIB

RANK, SECONDS = 32, 5.0
FORMS = {
    "bf16": "bf16",
    "bf16 again": "bf16, activations again",
    "int8": "int8",
    "int8 again": "int8, activations again",
}
PARTS = {
    "weights": "the base's weights",
    "adapter": "adapter, gradients, Adam",
    "runtime": "CUDA itself, a guess",
    "saved": "activations of a step",
    "workspace": "workspace of a step",
    "step": "a training step in all",
    "evaluation": "loss on clips kept out",
    "peak": "peak of a run",
}
NOWHERE = "no machine, but computed from sizes"


def figures() -> list[Figure]:
    found = plans("full", RANK, SECONDS, 1)
    return [
        Figure(f"{name} | {column}", getattr(found[form], part) / GIB, "GiB")
        for part, name in PARTS.items()
        for form, column in FORMS.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_record(parser)
    arguments = parser.parse_args()
    title = f"The planned memory of LTX 2.3: rank {RANK}, clips of {SECONDS:g} s"
    report("memory_plan", title, figures(), {}, arguments.record, on=NOWHERE)


if __name__ == "__main__":
    main()
