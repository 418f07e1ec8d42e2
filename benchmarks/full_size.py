"""This benchmark rehearses LTX's full size on a GPU or a CPU, with files of its layout and without its weights.

    .venv/bin/python benchmarks/full_size.py [--generation 2.3] [--layers 48] [--folder FOLDER] [--record]

It makes a checkpoint of 46 GB, whose video tensors are holes and whose audio tensors are small random values (8.5 GB
on the disk). It makes a text encoder of 24 GB that is all holes. For LTX 2.5 these are a file a component, in the hub's
layout and with the switches off that its generation has. Then it does what `soundlora train` does: it
computes contexts of two captions, takes three training steps, and two sampling steps with CFG and STG. The third
training step goes on from a checkpoint after the second. The base is held in bf16. The products on CPUs are in fp32,
because few CPUs multiply in bf16.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import TypeVar
from unittest.mock import patch

import torch
from full_size_files import make_23, make_25
from history import Figure
from table import add_record, peak_resident, report, resident
from torch import Tensor

from soundlora.lora.adapter import Adapter
from soundlora.lora.file import read_lora
from soundlora.model.latents import training_latents
from soundlora.model.tensor_file import TensorFile
from soundlora.sampling.generate import sample_latents
from soundlora.sampling.guidance import Guidance
from soundlora.system.devices import compute_dtype, pick_device
from soundlora.training.memory_choice import choose
from soundlora.training.memory_plan import Settings
from soundlora.training.run_folder import RunFolder
from soundlora.training.trainer import Example, Trainer
from soundlora.weights.base import open_base
from soundlora.weights.full_size import LTX_2_3

SECONDS, RANK = 5.0, 32
GIB, GB = 1 << 30, 1e9
GOAL_GIB, GOAL_GPU_GIB, GOAL_GB = 12, 11, 10
CAPTIONS = ("a laser zaps twice, then a low hum", "noise, hiss, clipping")
DEVICE = pick_device()
DTYPE = compute_dtype(DEVICE)
QUANTIZE = "bf16" if DEVICE.type == "cpu" else None
T = TypeVar("T")


class Reads:
    """Counts the bytes of tensors that are read, by file."""

    def __init__(self) -> None:
        self.bytes = {"checkpoint": 0, "text encoder": 0}
        read = TensorFile.read

        def counting(file: TensorFile, names: Iterable[str]) -> Iterator[tuple[str, Tensor]]:
            for name, tensor in read(file, names):
                language_model = name.startswith(("model.layers.", "model.norm."))
                self.bytes["text encoder" if language_model else "checkpoint"] += tensor.nbytes
                yield name, tensor

        patch.object(TensorFile, "read", counting).start()


def gpu_peak() -> float:
    """Return the peak of the GPU's memory in GiB."""
    return torch.cuda.max_memory_allocated() / GIB if DEVICE.type == "cuda" else 0.0


class Stages:
    """Measures the seconds of every stage, and the most memory held by its end."""

    def __init__(self) -> None:
        self.figures: list[Figure] = []

    def __call__(self, what: str, action: Callable[[], T]) -> T:
        began = time.perf_counter()
        result = action()
        new = [Figure(what, time.perf_counter() - began, "s")]
        new.append(Figure(f"{what}, memory at most so far", peak_resident() / GIB, "GiB"))
        if DEVICE.type == "cuda":
            new.append(Figure(f"{what}, GPU memory at most so far", gpu_peak(), "GiB"))
        print(*(f"{each.name}: {each.value:.2f} {each.unit}" for each in new), sep="\n", file=sys.stderr, flush=True)
        self.figures += new
        return result


def rehearse(folder: Path, generation: str, layers: int, record: str | None) -> None:
    imports = resident()
    stages, reads = Stages(), Reads()
    make = make_25 if generation == "2.5" else make_23
    checkpoint, encoder = stages("make the files", lambda: make(folder, layers))
    base = open_base(str(checkpoint), encoder)
    assert base.generation.name == generation
    contexts = stages("contexts of two captions", lambda: base.contexts(CAPTIONS, DEVICE))
    assert [context.shape for context in contexts] == [(1024, 2048)] * 2

    c = base.config.transformer
    captions = 0 if c.prompt_adaln else 1
    settings = Settings(rank=RANK, seconds=SECONDS, dtype=DTYPE, quantize=QUANTIZE, captions=captions)
    for checkpointing in (False, True):
        plan, why = choose(base.config, settings, DEVICE, checkpointing, base.encoder_config)
        if DEVICE.type == "cuda" or plan.peak + imports < (GOAL_GIB - 1) * GIB:  # The allocator can't use all memory.
            break
    model = stages("load the transformer", lambda: base.transformer(DEVICE, QUANTIZE))
    model.checkpointing = plan.settings.checkpointing
    latents = torch.randn(training_latents(SECONDS, base.config.audio), c.in_channels)
    examples = [Example("noise", latents, contexts[0])]
    run = RunFolder(folder / "run")

    def trainer() -> Trainer:
        adapter = Adapter.create(model, RANK)
        return Trainer(
            adapter, examples, base.config.audio, steps=3, learning_rate=2e-4, seed=0, average=True,
            project_text=plan.settings.captions > 0,
        )  # fmt: skip

    def until_checkpoint() -> tuple[list[float], Path, dict[str, Tensor]]:
        first = trainer()

        def loss_of(step: int) -> float:
            return first.step(step).loss

        losses = [stages(f"training step {step + 1}", partial(loss_of, step)) for step in (0, 1)]
        run.checkpoints.mkdir(parents=True)
        path = stages("write a checkpoint", lambda: run.save_checkpoint(2, first.adapter, first.optimizer, {}))
        first.adapter.detach()
        return losses, path, {key: tensor.clone() for key, tensor in first.adapter.state_dict().items()}

    losses, path, kept = until_checkpoint()
    second = trainer()
    assert stages("read it", lambda: run.load_checkpoint(path, second.adapter, second.optimizer)) == 2
    assert all(torch.equal(tensor, kept[key]) for key, tensor in second.adapter.state_dict().items())
    kept.clear()
    losses.append(stages("training step 3, resumed", lambda: second.step(2).loss))
    assert all(loss == loss and loss < 1e6 for loss in losses)
    run.save_lora(second.adapter, {}, "full-3.safetensors")
    pairs = read_lora(run.lora).pairs
    assert len(pairs) == 10 * c.layers == len(second.adapter.layers)

    guidance = Guidance(stg_blocks=(min(28, c.layers - 1),))
    sound = stages(
        "two sampling steps, CFG and STG",
        lambda: sample_latents(
            model, base.config.audio, *contexts, seconds=SECONDS, seed=0, steps=2, guidance=guidance
        ),
    )
    assert sound.shape == (125, 128)
    assert bool(sound.isfinite().all())

    peak, read = peak_resident() / GIB, reads.bytes["checkpoint"] / GB
    gemma_read = reads.bytes["text encoder"] / GB
    whole = layers == LTX_2_3.transformer.layers
    figures = stages.figures

    def add(name: str, value: float, unit: str, goal: float | None = None) -> None:
        figures.append(Figure(name, value, unit, goal if whole else None))

    if DEVICE.type == "cuda":
        add("GPU memory", gpu_peak(), "GiB", GOAL_GPU_GIB)
    add("memory, imports included", peak, "GiB", GOAL_GIB)
    add("planned, without the imports", plan.peak / GIB, "GiB")
    add("read of the checkpoint", read, "GB", GOAL_GB)
    add("read of Gemma, which is all holes", gemma_read, "GB")
    add("the LoRA", len(pairs), "pairs", 10 * LTX_2_3.transformer.layers)
    add("the checkpoint's length", sum(path.stat().st_size for path in base.checkpoint.paths) / GB, "GB")
    what = f"LTX {generation}, {layers} of 48 blocks, clips of {SECONDS:g} s, rank {RANK}, base held in bf16"
    title = f"Full size: {what}; {why}"
    details = {"layers": layers, "losses": losses, "read": reads.bytes, "figures": [vars(each) for each in figures]}
    # Fewer blocks are another benchmark.
    name = "full_size" if generation == "2.3" else f"full_size_{generation}"
    report(name if whole else f"{name}_{layers}_blocks", title, figures, details, record)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--generation", choices=("2.3", "2.5"), default="2.3")
    parser.add_argument("--layers", type=int, default=48, help="of transformer and text encoder; fewer are a quick try")
    parser.add_argument("--folder", type=Path, help="for the files, 10 GB; they are deleted afterwards")
    add_record(parser)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        rehearse(Path(folder), arguments.generation, arguments.layers, arguments.record)


if __name__ == "__main__":
    main()
