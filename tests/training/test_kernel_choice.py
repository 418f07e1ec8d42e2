"""Which products are made by kernels, with which tile sizes, and what is done where something is missing or fails."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from parity.cases import checkpoint
from torch import Tensor

from soundlora.lora.joint import Both, Parts
from soundlora.training import gradient as gradient_module
from soundlora.training.gradient import Gradient
from soundlora.training.kernels import card
from soundlora.training.kernels.tiles import ADA, AMPERE, HOPPER, Choice, Shape, Tiles, rows_of, table, tuned_file

if importlib.util.find_spec("triton") is None:
    pytest.skip("Triton is not installed", allow_module_level=True)

from kernel_parts import given_to, made, never, parts_of

from soundlora.training.kernels import language, launch
from soundlora.training.kernels.launch import Fused

CONFIG = checkpoint().config


def parts_and_input() -> tuple[Parts, Tensor]:
    parts = parts_of()
    return parts, given_to("outputs", parts, 7)[0]


def assert_plain(fused: Fused, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Twice the plain products are taken, and one sentence says why."""
    parts, x = parts_and_input()
    for _ in range(2):
        out, low = fused.outputs(parts, x, lambda: parts.outputs(x))
        assert torch.equal(out, parts.outputs(x)[0])
        assert torch.equal(low, parts.outputs(x)[1])
    sentence = capsys.readouterr().err
    assert sentence.count("\n") == 1
    assert sentence.startswith("The products of LoRA layers are not fused, and take more calls: ")
    assert said in sentence


def test_where_a_kernel_fails_the_plain_products_are_taken(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("PassManager::run failed\nat a place that says nothing")

    monkeypatch.setattr(language, "outputs", {(1, 1): refuse})
    assert_plain(made(), "PassManager::run failed\n", capsys)


def test_where_a_kernel_is_wrong_the_plain_products_are_taken(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    right = Fused._outputs

    def wrong(self: Fused, *given: Any) -> Both:
        out, low = right(self, *given)
        return out * 1.001, low

    monkeypatch.setattr(Fused, "_outputs", wrong)
    assert_plain(made(), "more calls: outputs is off by 0.001 of its result here", capsys)


def test_a_new_adapters_b_of_zeros_hides_no_mistake(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    right = Fused._outputs

    def without_b(self: Fused, tiles: Tiles, parts: Parts, x: Tensor) -> Both:
        return right(self, tiles, parts._replace(b=torch.zeros_like(parts.b)), x)

    monkeypatch.setattr(Fused, "_outputs", without_b)
    fused, (parts, x) = made(), parts_and_input()
    parts = parts._replace(b=torch.zeros_like(parts.b))
    fused.outputs(parts, x, lambda: parts.outputs(x))
    assert "is off by" in capsys.readouterr().err
    assert fused.failed


def test_where_memory_is_short_while_sizes_are_tried_the_plain_products_are_taken(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def full(call: Callable[[], object]) -> float:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 256.00 MiB.")

    file = tmp_path / "card.json"
    assert_plain(made(file=file, timer=full), "CUDA out of memory", capsys)
    assert not file.exists()


def test_nothing_is_chosen_while_a_step_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    timed: list[object] = []

    def timer(call: Callable[[], object]) -> float:
        timed.append(call())
        return 1.0 + len(timed)

    fused, (parts, x) = made(timer=timer), parts_and_input()
    taken: list[Both] = []

    def plain() -> Both:
        taken.append(parts.outputs(x))
        return taken[-1]

    monkeypatch.setattr(launch, "_is_recording", lambda: True)
    fused.outputs(parts, x, plain)
    assert (len(taken), timed, fused.failed) == (1, [], False)
    monkeypatch.setattr(launch, "_is_recording", lambda: False)
    fused.outputs(parts, x, plain)
    assert len(timed) == 2  # the kernel's and the plain products
    monkeypatch.setattr(launch, "_is_recording", lambda: True)
    fused.outputs(parts, x, never)
    assert len(timed) == 2


@pytest.mark.parametrize(
    ("capability", "module", "said"),
    [((7, 5), object(), "Old Card is older"), ((8, 0), None, "triton-windows"), ((9, 0), object(), None)],
)
def test_what_a_card_lacks(
    capability: tuple[int, int], module: object, said: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "Old Card")
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: module)
    lacks = card.lacking(torch.device("cuda"))
    assert lacks is None if said is None else lacks is not None and said in lacks


def test_what_has_no_kernels_says_so_and_goes_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert card.fused(torch.device("cpu"), tunes=True) is None
    assert capsys.readouterr().err.endswith("more calls: the kernels are made for NVIDIA's GPUs\n")

    def refuse(*_: object) -> None:
        raise RuntimeError("0 active drivers ([]). There should only be one.")

    monkeypatch.setattr(card, "lacking", lambda _: None)
    monkeypatch.setattr(launch, "on_card", refuse)
    assert card.fused(torch.device("cpu"), tunes=True) is None
    assert capsys.readouterr().err.endswith("There should only be one.\n")


@pytest.mark.parametrize(("steps", "tunes"), [(1000, False), (2000, True)])
def test_a_gpus_layers_are_joined_with_kernels_and_long_runs_try_sizes(
    steps: int, tunes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, bool]] = []
    joined: list[tuple[object, ...]] = []

    def fused(device: torch.device, tunes: bool) -> str:
        asked.append((device.type, tunes))
        return "kernels"

    monkeypatch.setattr(gradient_module, "fused", fused)
    monkeypatch.setattr(torch.cuda, "device", lambda _: None)
    weight = SimpleNamespace(device=torch.device("cuda"))
    model = SimpleNamespace(
        audio_patchify_proj=SimpleNamespace(weight=weight), offloaded=False, transformer_blocks=range(48)
    )
    stand_in: Any = SimpleNamespace(model=model, join=lambda *how: joined.append(how), joints=[])
    Gradient(stand_in, CONFIG.audio, batch_size=1, steps=steps)
    assert asked == [("cuda", tunes)]
    assert joined == [(True, "kernels")]


# ---------------------------------------------------------------------------------------------------------------------
# tile sizes

SHAPE = Shape("outputs", "bfloat16", "int8", 128, 2048, 6144, 3, 32)


@pytest.mark.parametrize(
    ("rows", "stands_for"), [(1, 16), (16, 16), (17, 32), (126, 128), (128, 128), (1008, 1024), (1600, 2048)]
)
def test_rows_that_need_the_same_tiles_are_one_shape(rows: int, stands_for: int) -> None:
    assert rows_of(rows) == stands_for


def test_each_generation_has_a_table() -> None:
    cards = {(8, 0): AMPERE, (8, 6): ADA, (8, 9): ADA, (9, 0): HOPPER, (10, 0): HOPPER, (12, 0): ADA}
    assert {capability: table(capability) for capability in cards} == cards
    for sizes in (AMPERE, ADA, HOPPER):
        assert [tiles.rows for tiles in sizes] == sorted(tiles.rows for tiles in sizes)
        assert {number & (number - 1) for tiles in sizes for number in tiles[:3]} == {0}


@pytest.mark.parametrize(("rows", "expected"), [(16, 0), (32, 1), (64, 2), (128, 3), (256, 5), (2048, 5)])
def test_few_rows_start_with_tiles_that_hold_them_and_many_with_the_largest(rows: int, expected: int) -> None:
    assert Choice(HOPPER).of(SHAPE._replace(rows=rows), lambda _: None, never) == HOPPER[expected]


def test_tiles_that_a_card_has_no_room_for_are_passed_over() -> None:
    def call(tiles: Tiles) -> None:
        if tiles.rows > 32:
            raise RuntimeError("out of resource: shared memory")

    assert Choice(HOPPER).of(SHAPE, call, never) == HOPPER[1]

    def refuse(_: Tiles) -> None:
        raise RuntimeError("out of resource: shared memory")

    for timer in (None, lambda call: float(call() is None)):
        with pytest.raises(RuntimeError, match="out of resource"):
            Choice(HOPPER, timer=timer).of(SHAPE, refuse, lambda: None)


class Clock:
    """It takes `times` for calls in their order, and for the plain products the last one."""

    def __init__(self, *times: float) -> None:
        self.times = list(times)

    def __call__(self, call: Callable[[], object]) -> float:
        call()
        return self.times.pop(0)


def test_the_fastest_tiles_are_kept_in_the_cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOUNDLORA_CACHE", str(tmp_path))
    file = tuned_file("NVIDIA H200", "3.9.0")
    assert file == tmp_path / "kernels" / "NVIDIA H200, Triton 3.9.0.json"
    clock = Clock(5, 4, 2, 3, 6, 9)  # 16, 32, 64, 128 and 128 rows fit, and the last one is the plain products'
    assert Choice(HOPPER, file, clock).of(SHAPE, lambda _: None, lambda: None) == HOPPER[2]
    other = SHAPE._replace(kernel="input_gradients")
    assert Choice(HOPPER, file, Clock(5, 4, 2, 3, 6, 1)).of(other, lambda _: None, lambda: None) is None
    again = Choice(HOPPER, file, Clock())
    assert again.of(SHAPE, lambda _: None, never) == HOPPER[2]
    assert again.of(other, lambda _: None, never) is None
    assert json.loads(file.read_text()) == {
        "outputs bfloat16 int8 128 2048 6144 3 32": list(HOPPER[2]),
        "input_gradients bfloat16 int8 128 2048 6144 3 32": None,
    }


@pytest.mark.parametrize("content", ["", "[1]", '{"outputs": 3}', "\udcff", '{"a": ["x", 1, 2, 3, 4]}', '{"a": [1]}'])
def test_a_damaged_file_is_written_anew(content: str, tmp_path: Path) -> None:
    file = tmp_path / "card.json"
    file.write_bytes(content.encode("utf-8", "surrogateescape"))
    choice = Choice(HOPPER, file, Clock(1, 2, 3, 4, 5, 6))
    assert choice.of(SHAPE, lambda _: None, lambda: None) == HOPPER[0]
    assert list(json.loads(file.read_text()).values()) == [list(HOPPER[0])]


def test_where_no_file_can_be_kept_the_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "taken").write_text("a file in the folder's place")
    choice = Choice(HOPPER, tmp_path / "taken" / "card.json", Clock(1, 2, 3, 4, 5, 6))
    assert choice.of(SHAPE, lambda _: None, lambda: None) == HOPPER[0]
    for name in ("SOUNDLORA_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)

    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    assert tuned_file("NVIDIA H200", "3.9.0") is None
