"""The benchmark of the kernels, rehearsed without a GPU."""

from __future__ import annotations

import importlib.util

import kernels
import pytest
import torch

pytestmark = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")


def test_every_product_of_a_block_is_compared_and_timed() -> None:
    setting = kernels.dry()
    found = kernels.measured(setting, "bf16", batch=1)
    assert len(found) == 7 * 2 + 1
    assert {each.name.partition(",")[0] for each in found} == {"outputs", "input_gradients", "on_top"}
    for each in found:
        assert each.error < 1e-5
        assert min(each.plain, each.fused) > 0
    assert max(each.error for each in found) > 0  # they are not the plain products
    width = 32
    gates = 8  # rows for those of two heads
    assert found[0].work == 2 * 126 * (96 * (width + 3 * width) + width * (3 * width + gates))
    figures = kernels.figures_of(found[:1], rate=1e9)
    columns = [figure.name.partition(" | ")[2] for figure in figures]
    share = "share of the matrix rate"
    assert columns == ["plain", f"plain, {share}", "fused", f"fused, {share}", "plain / fused", "error"]
    assert figures[3].value == pytest.approx(100 * found[0].work / (found[0].fused / 1000) / 1e9)


def test_a_wrong_kernel_ends_the_comparison(capsys: pytest.CaptureFixture[str]) -> None:
    setting = kernels.dry()
    setting.fused._outputs = lambda tiles, parts, x: (torch.zeros(len(x), len(parts.bias)), x @ parts.a.T)
    with pytest.raises(ArithmeticError, match=r"outputs, audio_attn1\.to_q .*: the kernels failed"):
        kernels.measured(setting, "bf16", batch=1)
    assert "outputs is off by 1 of its result here" in capsys.readouterr().err
