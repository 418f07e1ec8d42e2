"""Asks inductor which kernels it would make of a graph on a GPU, where there is none.

Inductor decides that before it compiles anything, from shapes and from a device's properties alone. So the tensors here
are fake ones on a made-up device, with the properties of an H100. Nothing of a graph is carried out.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch
from torch import Tensor

_DEVICE = torch.device("cuda:0")
_H100 = SimpleNamespace(
    name="NVIDIA H100",
    gcnArchName="",
    major=9,
    minor=0,
    multi_processor_count=132,
    regs_per_multiprocessor=65536,
    max_threads_per_multi_processor=2048,
    max_threads_per_block=1024,
    warp_size=32,
    total_memory=80 << 30,
)


def kernels(module: torch.fx.GraphModule, inputs: Sequence[Any], backward: bool) -> list[Any]:
    """Return what a GPU carries out of a graph of fake tensors, as the scheduler's nodes; views are none of them."""
    from torch._guards import detect_fake_mode
    from torch._inductor.debug import DebugContext
    from torch._inductor.fx_passes.post_grad import view_to_reshape
    from torch._inductor.graph import GraphLowering
    from torch._inductor.ir import MultiOutput
    from torch._inductor.scheduler import NopKernelSchedulerNode
    from torch._inductor.virtualized import V
    from torch.fx.passes.fake_tensor_prop import FakeTensorProp

    fake = detect_fake_mode(inputs)
    assert fake is not None
    module = copy.deepcopy(module)
    for node in module.graph.nodes:
        if "device" in node.kwargs:
            node.kwargs = {**node.kwargs, "device": _DEVICE}
    module.recompile()
    with _pretending():
        with fake:
            there = [_there(value) for value in inputs]
        FakeTensorProp(module, mode=fake).propagate_dont_convert_inputs(*there)
        view_to_reshape(module)
        graph = GraphLowering(module, example_inputs=there, shape_env=fake.shape_env, is_backward=backward)
        with V.set_graph_handler(graph), V.set_fake_mode(fake), V.set_debug_handler(DebugContext()):
            graph.run(*there)
            graph.init_wrapper_code()
            graph._update_scheduler()
    nodes = graph.scheduler.nodes
    return [n for n in nodes if not (isinstance(n, NopKernelSchedulerNode) or isinstance(n.node, MultiOutput))]


def _there(value: Any) -> Any:
    if not isinstance(value, Tensor):
        return value
    return torch.empty_strided(value.size(), value.stride(), dtype=value.dtype, device=_DEVICE)


@contextmanager
def _pretending() -> Iterator[None]:
    """Let inductor find the made-up device."""
    from torch._dynamo import device_interface
    from torch._inductor import scheduler
    from torch._inductor.runtime.hints import DeviceProperties

    class Device(device_interface.CudaInterface):
        @staticmethod
        def is_available() -> bool:
            return True

        @staticmethod
        def get_compute_capability(device: Any = None) -> int:
            return 90

        @staticmethod
        def get_device_properties(device: Any = None) -> Any:
            return _H100

    DeviceProperties.create.cache_clear()
    cuda, made_up = torch.cuda, {"cuda": Device, "cuda:0": Device}
    with (
        mock.patch.dict(device_interface.device_interfaces, made_up),
        mock.patch.object(cuda, "get_device_properties", return_value=_H100),
        mock.patch.object(cuda, "get_device_capability", return_value=(9, 0)),
        mock.patch.object(cuda, "current_device", return_value=0),
        mock.patch.object(scheduler, "has_triton", return_value=True),
    ):
        yield
    DeviceProperties.create.cache_clear()
