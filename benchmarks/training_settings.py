"""This benchmark shows what settings do to the loss on held-out clips, by short runs that differ in one thing each.

    .venv/bin/python benchmarks/training_settings.py [--steps 200] [--base nano] [--seed 42] [--record]

The runs train on examples/clips. The loss tells how well clips that were not trained on are predicted. It does not tell
how a LoRA sounds.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

from history import Figure
from table import add_record, report

from soundlora import train

CLIPS = Path(__file__).resolve().parents[1] / "examples" / "clips"
HOLD_OUT = 2


def variants(steps: int) -> dict[str, dict[str, Any]]:
    return {
        "defaults: rank 32, 2e-4, all, batch 1": {},
        "rank 8": {"rank": 8},
        "learning rate 5e-5": {"learning_rate": 5e-5},
        "learning rate 1e-3": {"learning_rate": 1e-3},
        "targets attention": {"targets": "attention"},
        "targets self-ff": {"targets": "self-ff"},
        "optimizer adamw8bit": {"optimizer": "adamw8bit"},
        "without averaging": {"average": False},
        "batch 4, a quarter of the steps": {"batch_size": 4, "steps": max(1, steps // 4)},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--base", default="nano")
    parser.add_argument("--seed", type=int, default=42)
    add_record(parser)
    options = parser.parse_args()

    figures, details = [], {}
    for name, change in variants(options.steps).items():
        began = time.time()
        with tempfile.TemporaryDirectory() as folder:
            settings = {"steps": options.steps, "base": options.base, "seed": options.seed} | change
            fit = train(CLIPS, Path(folder, "run"), hold_out=HOLD_OUT, validation_prompts=[], **settings).fit
        details[name] = {**fit.to_json(), "seconds": time.time() - began}
        base, final = fit.base_loss or 0.0, fit.final_loss or 0.0
        print(f"{name}: {base:.3f} → {final:.3f}, lowest at {fit.best_step}", flush=True)
        figures.append(Figure(name, 100 * (1 - final / base), "% lower"))
    title = f"Fall of the loss on {HOLD_OUT} clips kept out of {CLIPS.name}; {options.base}, {options.steps} steps."
    report("training_settings", title, figures, details, options.record)


if __name__ == "__main__":
    main()
