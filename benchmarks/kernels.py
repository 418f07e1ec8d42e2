"""This benchmark holds the kernels of joined layers against the plain products on this machine's GPU, and times both.

    .venv/bin/python benchmarks/kernels.py [--batches 1 8] [--kinds bf16 int8 fp8] [--record]
    .venv/bin/python benchmarks/kernels.py --dry

The layers are those of one block of LTX 2.3 with random weights, rank 32, and the rows those of clips of 5 s. The fused
times are those with the fastest tile sizes. A run takes the plain products where these are faster still. Times are
medians, with weights that the GPU's caches don't hold.

With --dry Triton's interpreter does all of it in tiny sizes on the CPU, which shows that the script works.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import torch
from history import Figure
from table import add_record, report
from torch import Tensor

from soundlora.lora.adapter import Adapter
from soundlora.lora.joint import Both, Joint
from soundlora.lora.targets import GROUPS
from soundlora.model.config import ModelConfig
from soundlora.model.latents import training_latents
from soundlora.model.quantize import quantize
from soundlora.model.transformer import AudioTransformer
from soundlora.training.kernels.tiles import Choice, Shape, Tiles
from soundlora.weights.full_size import LTX_2_3

SECONDS, RANK = 5.0, 32
KINDS = ("bf16", "int8", "fp8")
BOUND = 1e-2
"""The largest error of a kernel, as a share of the result's norm."""

Clock = Callable[[Callable[[], object]], float]


class Setting(NamedTuple):
    """What is measured, and by what."""

    config: ModelConfig
    device: torch.device
    dtype: torch.dtype
    fused: Any  # `soundlora.training.kernels.launch.Fused`
    clock: Clock  # it returns the milliseconds of a call


@dataclass(frozen=True)
class Measured:
    """One product of one joint."""

    name: str
    error: float  # of the kernel, as a share of the plain result's norm
    plain: float  # ms
    fused: float  # ms
    work: int  # floating-point operations


def on_gpu() -> Setting:
    """The GPU's setting. Raises what Triton raises where it doesn't work."""
    import triton

    from soundlora.training.kernels.launch import on_card

    class KernelsAlone(Choice):
        def of(self, shape: Shape, call: Callable[[Tiles], object], plain: object) -> Tiles | None:
            return super().of(shape, call, None)

    def clock(call: Callable[[], object]) -> float:
        return float(triton.testing.do_bench(call, warmup=10, rep=50, return_mode="median"))

    device = torch.device("cuda", torch.cuda.current_device())
    fused = on_card(device, tunes=True)
    fused.choice = KernelsAlone(fused.choice.table, timer=fused.choice.timer)
    return Setting(LTX_2_3, device, torch.bfloat16, fused, clock)


def dry() -> Setting:
    """The setting of a rehearsal without a GPU. The interpreter multiplies no bf16."""
    os.environ["TRITON_INTERPRET"] = "1"
    from soundlora.training.kernels.launch import Fused

    def clock(call: Callable[[], object]) -> float:
        began = time.perf_counter()
        call()
        return 1000 * (time.perf_counter() - began)

    device = torch.device("cpu")
    transformer = replace(LTX_2_3.transformer, heads=2, head_dim=16, context_dim=32)
    config = replace(LTX_2_3, transformer=transformer, text=replace(LTX_2_3.text, context_length=8))
    fused = Fused(device, 1, Choice((Tiles(128, 128, 128, 4, 2),)))
    return Setting(config, device, torch.float32, fused, clock)


def joints(setting: Setting, kind: str) -> Iterator[tuple[str, Joint, bool]]:
    """Yield each joint of a block with its layers' names, and whether its input is a context."""
    with setting.device:
        model = AudioTransformer(replace(setting.config.transformer, layers=1)).to(setting.dtype)
    model.requires_grad_(False)
    if kind != "bf16":
        quantize(model, kind)
    adapter = Adapter.create(model, RANK)
    for layer in adapter.layers.values():
        torch.nn.init.normal_(layer.lora_B, std=0.02)
    adapter.join(setting.fused)
    adapter.refresh()
    for group, each in zip(GROUPS, adapter.joints, strict=True):
        yield " + ".join(group), each.of[0], "audio_attn2.to_k" in group


def measured(setting: Setting, kind: str, batch: int) -> list[Measured]:
    """Compare and time every product of a block. Raises ArithmeticError for a kernel that is wrong."""
    found = []
    for name, joint, of_text in joints(setting, kind):
        tokens = training_latents(SECONDS, setting.config.audio)
        rows = batch * (setting.config.text.context_length if of_text else tokens)
        x, out = (
            torch.randn(rows, size, device=setting.device, dtype=setting.dtype)
            for size in (joint.inputs, joint.all_outputs)
        )
        calls: dict[str, Callable[[], Both]] = {
            "outputs": partial(joint.forward, x),
            "input_gradients": partial(joint.input_gradients, out),
        }
        if of_text:
            calls["on_top"] = partial(joint.on_top, x, out)
        ranks = joint.parts.layers * joint.parts.rank
        for kernel, call in calls.items():
            work = (
                2 * rows * (ranks * (joint.inputs + joint.outputs) + (kernel != "on_top") * x.shape[1] * out.shape[1])
            )
            found.append(_one(setting, f"{kernel}, {name}, {kind}", joint, call, work))
    return found


def _one(setting: Setting, name: str, joint: Joint, call: Callable[[], Both], work: int) -> Measured:
    joint.kernels = None
    expected, plain = call(), setting.clock(call)
    joint.kernels = setting.fused
    results, fused = call(), setting.clock(call)
    if setting.fused.failed:
        raise ArithmeticError(f"{name}: the kernels failed; a sentence above says why")
    error = max(_error(made, want) for made, want in zip(results, expected, strict=True))
    if not error <= BOUND:
        raise ArithmeticError(f"{name} is off by {error:.2g} of the plain result")
    return Measured(name, error, plain, fused, work)


def _error(made: Tensor, want: Tensor) -> float:
    return float((made.float() - want.float()).norm() / want.float().norm())


def figures_of(found: Sequence[Measured], rate: float) -> list[Figure]:
    """The rows of the table. rate: of matrix products, in floating-point operations a second."""
    figures = []
    for each in found:
        for way, taken in (("plain", each.plain), ("fused", each.fused)):
            figures.append(Figure(f"{each.name} | {way}", taken, "ms"))
            share = 100 * each.work / (taken / 1000) / rate
            figures.append(Figure(f"{each.name} | {way}, share of the matrix rate", share, "% of the matrix rate"))
        figures.append(Figure(f"{each.name} | plain / fused", each.plain / each.fused, "times"))
        figures.append(Figure(f"{each.name} | error", 100 * each.error, "%"))
    return figures


def matrix_rate(setting: Setting, size: int) -> float:
    """Return the floating-point operations a second of square products, the best of some."""
    a, b = (torch.randn(size, size, device=setting.device, dtype=setting.dtype) for _ in range(2))
    return 2 * size**3 / min(setting.clock(lambda: a @ b) / 1000 for _ in range(5))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 8], help="clips that go through at once")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS, help="how the base's weights are held")
    parser.add_argument("--dry", action="store_true", help="rehearse in tiny sizes, without a GPU")
    add_record(parser)
    arguments = parser.parse_args()
    setting = dry() if arguments.dry else on_gpu()
    rate = matrix_rate(setting, 64 if arguments.dry else 8192)
    for batch in arguments.batches:
        found = [each for kind in arguments.kinds for each in measured(setting, kind, batch)]
        title = f"Products of joined layers: batch {batch}, rank {RANK}, clips of {SECONDS:g} s, {setting.dtype}"
        tiles = {" ".join(map(str, shape)): chosen for shape, chosen in setting.fused._chosen.items()}
        details = {"rate": rate, "tiles": tiles, "products": [vars(each) for each in found]}
        name = f"kernels_{'dry' if arguments.dry else batch}"
        report(name, title, figures_of(found, rate), details, None if arguments.dry else arguments.record)


if __name__ == "__main__":
    main()
