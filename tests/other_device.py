"""A device that is no CPU, for machines without a GPU: tensors on it compute on the CPU, but not with others.

What mixes the two fails as it would on a GPU. It lacks what Apple's GPUs lack, see `LACKS`; pinned memory and autocast
it never has. Whatever the host reads back, or copies there, is counted. torch knows it as "other:0" from the first
import on, in this process for good; so a test starts a process of its own, see `on_other_device.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import (
    TorchDispatchMode,
    is_traceable_wrapper_subclass,
    return_and_correct_aliasing,
)
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

DEVICE = "other:0"
_setup_privateuseone_for_python_backend("other")
# Whoever computes activations again asks for it. There is no type to cast to, so autocast stays switched off.
torch.get_device_module("other").get_amp_supported_dtype = list
# A tensor of inference mode can't be wrapped. It only saves time, so let it be what it is made from.
torch.inference_mode = torch.no_grad  # type: ignore[assignment, misc]


LACKS = {"fp64", "complex", "bf16", "long convolutions", "wide sums"}
"""What the device refuses. macOS before 14 had no bf16, before 15 it convolved no more than 65,536 samples."""

_LONGEST = 65_536
_WIDE_SUMS: dict[Any, Callable[..., Tensor]] = {
    torch.ops.aten.addmm.dtype_out: torch.addmm,
    torch.ops.aten.baddbmm.dtype_out: torch.baddbmm,
}
_TYPES = {"fp64": {torch.float64}, "complex": {torch.complex64, torch.complex128}, "bf16": {torch.bfloat16}}


class Reads:
    """How often the host has asked for a value, and waited for the device to get there."""

    count = 0


class Writes:
    """The bytes that were copied to the device."""

    bytes = 0


class _OtherTensor(torch.Tensor):
    host: Tensor  # the values, on the CPU

    @staticmethod
    def __new__(cls, values: Tensor) -> _OtherTensor:
        made: _OtherTensor = torch.Tensor._make_wrapper_subclass(
            cls,
            values.shape,
            strides=values.stride(),
            storage_offset=values.storage_offset(),
            dtype=values.dtype,
            device=torch.device(DEVICE),
        )
        return made

    def __init__(self, values: Tensor) -> None:
        self.host = values

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        return _call(func, args, kwargs or {})

    @property
    def data(self) -> Tensor:
        return self.detach()

    @data.setter  # type: ignore[override]
    def data(self, value: _OtherTensor) -> None:
        torch.Tensor.data.__set__(self, value)  # type: ignore[attr-defined]
        self.host = value.host

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Saved as if on the CPU, where files are loaded to."""
        return self.host.detach().__reduce_ex__(protocol)


class _Mode(TorchDispatchMode):
    """Sees the calls that make tensors, too."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if any(is_traceable_wrapper_subclass(leaf) for leaf in tree_leaves((args, kwargs))):
            return NotImplemented  # a quantised tensor does it with the plain ones inside it, which come by here
        return _call(func, args, kwargs or {})


@contextmanager
def other_device() -> Iterator[None]:
    """While it lasts tensors can be made on `DEVICE`."""
    torch._C._set_only_lift_cpu_tensors(True)  # so that the mode sees where `torch.tensor` puts a new one
    with _Mode():  # type: ignore[no-untyped-call]
        yield


def _call(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    others = [tensor for tensor in tensors if isinstance(tensor, _OtherTensor)]
    target = kwargs.get("device")
    copies = func is torch.ops.aten.copy_.default
    if others and func is torch.ops.aten._local_scalar_dense.default:
        Reads.count += 1
        return func(others[0].host)
    if others and target is None and not copies and any(t.dim() > 0 and t.device.type == "cpu" for t in tensors):
        raise RuntimeError(f"{func} was called with tensors on both devices: {[(t.device, t.shape) for t in tensors]}")
    if target is not None:
        there = torch.device(target).type == "other"
        kwargs = kwargs | {"device": torch.device("cpu")}
    else:
        there = isinstance(args[0], _OtherTensor) if copies else bool(others)
    if others and not there:
        Reads.count += 1
    if there:
        _check(func, tensors)
        Writes.bytes += sum(tensor.nbytes for tensor in tensors if tensor.device.type == "cpu" and tensor.dim() > 0)
    plain_args, plain_kwargs = tree_map(_values, (args, kwargs))
    if func in _WIDE_SUMS:
        result = _add_widened(func, *plain_args, **plain_kwargs)
    else:
        result = func(*plain_args, **plain_kwargs)
    if not there:
        return result
    _check(func, [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)])
    known = {id(tensor.host): tensor for tensor in others}  # what is computed in place stays the same tensor
    result = tree_map(lambda t: known.get(id(t), _OtherTensor(t)) if isinstance(t, Tensor) else t, result)
    return return_and_correct_aliasing(func, args, kwargs, result) if others else result


def _check(func: Any, tensors: Sequence[Tensor]) -> None:
    """Raise what torch raises on MPS where the device can't hold one of the tensors, or make it."""
    for lacking, types in _TYPES.items():
        if lacking in LACKS and any(tensor.dtype in types for tensor in tensors):
            raise TypeError(f"{func}: the device has no {lacking}")
    longest = max((size for tensor in tensors for size in tensor.shape), default=0)
    if func is torch.ops.aten.convolution.default and "long convolutions" in LACKS and longest > _LONGEST:
        raise NotImplementedError(f"{func}: the device convolves no more than {_LONGEST} samples")
    if func in (*_WIDE_SUMS, torch.ops.aten.addmm.dtype, torch.ops.aten.baddbmm.dtype) and "wide sums" in LACKS:
        raise NotImplementedError(f"{func}: the device has no sum of another type than its factors'")


def _values(leaf: Any) -> Any:
    return leaf.host if isinstance(leaf, _OtherTensor) else leaf


def _add_widened(
    func: Any, to: Tensor, a: Tensor, b: Tensor, dtype: torch.dtype, *, alpha: float = 1, out: Tensor
) -> Tensor:
    """A sum that only GPUs have: of bf16 products in fp32."""
    return _WIDE_SUMS[func](to, a.to(dtype), b.to(dtype), alpha=alpha, out=out)
