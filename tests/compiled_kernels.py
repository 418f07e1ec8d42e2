"""Compiles the kernels for GPUs that are not here, and prints a line of JSON for each. Triton's compiler needs none.

.venv/bin/python tests/compiled_kernels.py CAPABILITY [--all]

Without --all it is one kernel with one of the generation's tile sizes.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from soundlora.lora.joint import Parts
from soundlora.model.quantize import EightBits
from soundlora.training.kernels import language
from soundlora.training.kernels.launch import Fused
from soundlora.training.kernels.tiles import Choice, Tiles, table

WIDTH, LAYERS, RANK = 2048, 3, 32
STORED = {"bf16": "bf16", "int8": "i8", "fp8": "u8"}
TENSORS = ("x", "g", "a", "b", "bias", "frozen", "out", "low")


def parts_of(kind: str) -> Parts:
    """Joined layers as LTX 2.3 has them, without numbers."""
    outputs, ranks = LAYERS * WIDTH, LAYERS * RANK
    with torch.device("meta"):
        stored: Any = torch.empty(outputs, WIDTH, dtype=torch.bfloat16)
        if kind != "bf16":
            stored = EightBits(stored.to({"int8": torch.int8, "fp8": torch.float8_e4m3fn}[kind]), stored[:, :1].float())
        a, b = (torch.empty(shape, dtype=torch.bfloat16) for shape in ((ranks, WIDTH), (outputs, ranks)))
        return Parts(stored, a, b, b[:, 0], LAYERS, RANK)


def compiled(capability: int, kernel: str, kind: str, tiles: Tiles, shared: bool) -> dict[str, Any]:
    """What the compiler made of a kernel: bytes of shared memory, and how it multiplies."""
    fused = Fused(torch.device("cpu"), 2 if shared else 1, Choice((tiles,)))
    _, sizes = fused._sizes(tiles, parts_of(kind), 1, WIDTH, WIDTH)
    sizes["BESIDE"] = kind == "bf16"  # weights in eight bits have no outputs beside them
    function: Any = getattr(language, kernel)
    types = {"w": "*" + STORED[kind], "scale": "*fp32", "sums": "*fp32", "done": "*i32"}
    types |= dict.fromkeys(TENSORS, "*bf16")
    names = function.arg_names
    source = ASTSource(
        fn=function,
        signature={name: "constexpr" if name.isupper() else types.get(name, "i32") for name in names},
        constexprs={(names.index(name),): value for name, value in sizes.items() if name in names},
        # What Triton finds out of such sizes by itself: 16 divides them.
        attrs={
            (place,): [["tt.divisibility", 16]]
            for place, name in enumerate(names)
            if name in types or name.endswith("_row") or name in ("inputs", "outputs")
        },
    )
    options = {name: sizes[name] for name in ("num_warps", "num_stages", "enable_fp_fusion")}
    made = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)
    ptx = made.asm["ptx"]
    return {
        "kernel": kernel, "kind": kind, "tiles": list(tiles), "shared": shared,
        "memory": made.metadata.shared, "binary": len(made.asm["cubin"]),
        "wgmma": ptx.count("wgmma.mma_async"), "mma": ptx.count("mma.sync"), "atomics": ptx.count("atom."),
    }  # fmt: skip


def cases(capability: int, every: bool) -> Iterator[tuple[str, str, Tiles, bool]]:
    sizes = table((capability // 10, capability % 10))
    yield "outputs", "bf16", sizes[-1], False
    if not every:
        return
    for tiles in sizes:
        for kernel in ("outputs", "input_gradients"):
            yield kernel, "bf16", tiles, True
    for kind in STORED:
        yield "outputs", kind, sizes[1], kind == "int8"
        yield "input_gradients", kind, sizes[-1], kind == "fp8"
    yield "on_top", "bf16", sizes[-1], False


if __name__ == "__main__":
    card = int(sys.argv[1])
    for case in cases(card, "--all" in sys.argv):
        print(json.dumps(compiled(card, *case)), flush=True)
