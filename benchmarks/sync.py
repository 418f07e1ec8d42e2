"""This benchmark measures how much slower a training step is while states are brought to a storage.

    .venv/bin/python benchmarks/sync.py [--base nano] [--blocks 6] [--seconds 10] [--record]

Blocks of steps with and without a mirror take turns in one process. States are filled up so that as many bytes a second
are brought as of a full-size state every five minutes. The storage is a folder, whose disk this machine has to fill
itself; to S3 a network card does a part of that.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

from history import Figure
from table import MB, add_record, report

SECONDS, RANK = 5.0, 32
STATE_BYTES, EVERY_SECONDS = 1.3e9, 300.0  # of a state at full size, and between two of them
GOAL = 3.0  # per cent
WARMUP = 30


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default="nano")
    parser.add_argument("--text-encoder", type=Path)
    parser.add_argument("--blocks", type=int, default=6, help="of each kind")
    parser.add_argument("--seconds", type=float, default=10.0, help="of a block, in which one state is brought")
    add_record(parser)
    arguments = parser.parse_args()
    import torch

    from soundlora.lora.adapter import Adapter
    from soundlora.model.latents import training_latents
    from soundlora.net.storage import Storage
    from soundlora.pipeline.run_mirror import RunMirror
    from soundlora.system.devices import pick_device
    from soundlora.training.run_folder import RunFolder
    from soundlora.training.trainer import Example, Trainer
    from soundlora.weights.base import open_base

    base = open_base(arguments.base, arguments.text_encoder)
    config, device = base.config, pick_device()
    adapter = Adapter.create(base.transformer(device), RANK)
    generator = torch.Generator().manual_seed(0)
    examples = [
        Example(
            str(number),
            torch.randn(training_latents(SECONDS, config.audio), config.transformer.in_channels, generator=generator),
            torch.randn(config.text.context_length, config.transformer.context_dim, generator=generator),
        )
        for number in range(10)
    ]
    trainer = Trainer(adapter, examples, config.audio, steps=100_000, learning_rate=2e-4, seed=0, average=True)
    step = 0
    for step in range(WARMUP):
        trainer.step(step)
    filling = int(STATE_BYTES / EVERY_SECONDS * arguments.seconds)
    times: dict[bool, list[float]] = {False: [], True: []}
    shares, offers, waits = [], [], []
    with tempfile.TemporaryDirectory() as place:
        folder = RunFolder(Path(place) / "run")
        folder.create({}, {}, fresh=True)
        mirror = RunMirror(folder.path, Storage(f"{place}/storage"))
        mirror.begin()
        means: dict[bool, float] = {}
        for block in range(2 * arguments.blocks):
            synced = block % 2 == 1
            folder.save_state(step + 1, adapter, trainer.optimizer)
            folder.drop_states(keep=1)
            (folder.path / "filling").write_bytes(os.urandom(filling))
            began = time.perf_counter()
            if synced:
                mirror.offer(step + 1)
                offers.append(time.perf_counter() - began)
            taken = []
            while time.perf_counter() - began < arguments.seconds:
                step += 1
                before = time.perf_counter()
                trainer.step(step)
                taken.append((time.perf_counter() - before) * 1000)
            before = time.perf_counter()
            if not mirror.settle(600):
                raise RuntimeError("the state has not reached the storage")
            waits.append(time.perf_counter() - before)
            times[synced] += taken
            means[synced] = statistics.fmean(taken)
            if synced:
                shares.append(100 * (means[True] / means[False] - 1))
        mirror.close()
        folder.release()
    without, within = statistics.median(times[False]), statistics.median(times[True])
    report(
        "sync",
        f"Training {arguments.base} while a state of {filling / MB:.0f} MB is brought to a folder every "
        f"{arguments.seconds:g} s",
        [
            Figure("a step without, median", without, "ms"),
            Figure("a step with, median", within, "ms"),
            Figure("slower, median of blocks by their means", max(0.0, statistics.median(shares)), "%", GOAL),
            Figure("what a step waits for when a state is offered", 1000 * max(offers), "ms"),
        ],
        {"base": arguments.base, "without": times[False], "with": times[True], "shares": shares, "waits": waits},
        arguments.record,
    )


if __name__ == "__main__":
    main()
