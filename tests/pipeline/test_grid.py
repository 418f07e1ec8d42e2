"""A folder of sounds by two settings: each is what it is alone, and none is made twice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from parity.runners import fresh_transformer
from support import BaseNames

from soundlora.errors import InputError, Interrupted
from soundlora.lora.adapter import Adapter
from soundlora.pipeline.generate import Generator
from soundlora.pipeline.grid import Grid, grid
from soundlora.pipeline.grid_axes import axis_of
from soundlora.pipeline.lora_use import LoraUse
from soundlora.progress import Progress

QUICK: dict[str, Any] = {"duration": 0.4, "steps": 1}


@pytest.fixture
def lora(tmp_path: Path) -> Path:
    return saved(tmp_path / "kit.safetensors", 1)


def saved(path: Path, seed: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    adapter = Adapter.create(fresh_transformer(), 8, seed=seed)
    with torch.no_grad():
        for layer in adapter.layers.values():
            layer.lora_B.normal_(std=0.3)
    adapter.save(path, {})
    return path


def made(base: BaseNames, out: Path, rows: Any, columns: Any = None, **settings: Any) -> Grid:
    arguments = {"prompt": "rain"} | QUICK | settings
    return grid(rows, columns, out=out, **base.arguments, **arguments)


def test_every_sound_is_what_its_settings_give_alone(quick_base: BaseNames, tmp_path: Path, lora: Path) -> None:
    found = made(
        quick_base, tmp_path / "grid", {"prompt": ["rain", "a gate"]}, {"strength": [0, 0.5]}, prompt=None, lora=lora
    )
    assert [cell["sound"] for cell in found.cells] == [
        "r01-rain_c01-0.wav", "r01-rain_c02-0.5.wav", "r02-a-gate_c01-0.wav", "r02-a-gate_c02-0.5.wav",
    ]  # fmt: skip
    for cell in found.cells:
        strength = float(cell["labels"][1])
        generator = Generator(quick_base.checkpoint, [(lora, strength)], text_encoder=quick_base.encoder)
        alone = generator(cell["prompt"], seed=42, **QUICK).save(tmp_path / "alone.wav")
        assert (found.folder / cell["sound"]).read_bytes() == alone.read_bytes()
        assert (found.folder / cell["picture"]).read_bytes().startswith(b"\x89PNG")
    table = json.loads((found.folder / "grid.json").read_text())
    assert table["cells"] == found.cells
    assert table["plan"]["columns"] == {"strength": ["0", "0.5"]}
    page = found.page.read_text()
    assert page.count("<button") == 4
    assert 'aria-label="prompt a gate, strength 0.5, 0.37 s"' in page
    assert "http" not in page
    assert found._repr_html_().count("<audio") == 4


def test_a_grid_that_was_stopped_makes_only_what_is_missing(
    quick_base: BaseNames, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, count = tmp_path / "grid", 0
    call = Generator.__call__

    def stopping(self: Generator, *args: Any, **settings: Any) -> Any:
        nonlocal count
        count += 1
        if count == 3:
            raise KeyboardInterrupt
        return call(self, *args, **settings)

    monkeypatch.setattr(Generator, "__call__", stopping)
    with pytest.raises(Interrupted, match="Stopped after 2 of 4 sounds; they are in "):
        made(quick_base, out, {"seed": [1, 2, 3, 4]})
    assert out.joinpath("index.html").read_text().count("not made yet") == 2
    first = {path.name: path.stat().st_mtime_ns for path in out.glob("r*.wav")}
    assert len(first) == 2
    found = made(quick_base, out, {"seed": [1, 2, 3, 4]})
    assert count == 5
    assert all(cell["seconds"] for cell in found.cells)
    assert {name: (out / name).stat().st_mtime_ns for name in first} == first
    # Nothing is missing, so nothing is loaded.
    monkeypatch.setattr("soundlora.pipeline.grid.Generator", None)
    assert made(quick_base, out, {"seed": [1, 2, 3, 4]}).cells == found.cells
    (out / found.cells[1]["sound"]).unlink()
    monkeypatch.undo()
    monkeypatch.setenv("SOUNDLORA_CACHE", str(tmp_path / "cache"))
    assert made(quick_base, out, {"seed": [1, 2, 3, 4]}).cells == found.cells
    assert (out / found.cells[1]["sound"]).is_file()


def test_another_grid_is_not_mixed_into_a_folder(quick_base: BaseNames, tmp_path: Path, lora: Path) -> None:
    out = tmp_path / "grid"
    made(quick_base, out, {"seed": [1, 2]}, lora=lora)
    with pytest.raises(InputError, match="holds another grid; what differs is rows; give another folder with out=, or"):
        made(quick_base, out, {"seed": [1, 3]}, lora=lora)
    saved(lora, 2)
    with pytest.raises(InputError, match="what differs is loras;"):
        made(quick_base, out, {"seed": [1, 2]}, lora=lora)
    (out / "mine.txt").touch()
    made(quick_base, out, {"seed": [3]}, lora=lora, overwrite=True, format="flac")
    assert sorted(path.name for path in out.iterdir()) == [
        "grid.json", "index.html", "mine.txt", "r01-3_c01.flac", "r01-3_c01.png",
    ]  # fmt: skip
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").touch()
    with pytest.raises(InputError, match="full is not empty; give another folder with out="):
        made(quick_base, tmp_path / "full", {"seed": [1]})


def test_loras_and_checkpoints_vary_and_are_exchanged_seldom(
    quick_base: BaseNames, tmp_path: Path, lora: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As an earlier version called it, and as they are called now.
    for name, step in (("step_000020", 20), ("kit-100", 100), ("kit-1000", 7)):
        saved(tmp_path / "run" / "checkpoints" / f"{name}.safetensors", step)
    exchanged: list[int] = []
    exchange = Generator.exchange

    def counted(self: Generator, loras: Any, **more: Any) -> None:
        exchanged.append(len(loras))
        exchange(self, loras, **more)

    monkeypatch.setattr(Generator, "exchange", counted)
    rows = {"lora": [None, LoraUse(lora, 0.5, steps=(0, 0.5))]}
    found = made(quick_base, tmp_path / "grid", rows, {"seed": [1, 2, 3]})
    assert [cell["labels"] for cell in found.cells[::3]] == [["base alone", "1"], ["kit:0.5@0-0.5", "1"]]
    assert len(exchanged) == 1
    found = made(quick_base, tmp_path / "steps", {"seed": [1, 2]}, {"checkpoint": [tmp_path / "run"]}, lora=lora)
    assert [cell["labels"][1] for cell in found.cells] == ["step 20", "step 100", "step 1000"] * 2
    assert [len(cell["loras"]) for cell in found.cells] == [2] * 6
    assert len(exchanged) == 3
    # Of two runs the steps alone would not tell which is which.
    other = saved(tmp_path / "other" / "checkpoints" / "pot-100.safetensors", 8)
    run = tmp_path / "run" / "checkpoints" / "kit-100.safetensors"
    found = made(quick_base, tmp_path / "two", {"checkpoint": [run, other]})
    assert [cell["labels"][0] for cell in found.cells] == ["kit-100", "pot-100"]


def test_news_of_every_sound_is_told(quick_base: BaseNames, tmp_path: Path) -> None:
    news: list[Progress] = []
    made(quick_base, tmp_path / "grid", {"cfg": [1.0, 2.0]}, on_progress=news.append)
    saved = [(each.step, each.steps, each.message) for each in news if each.stage == "saving"]
    assert saved == [(1, 2, "r01-1_c01.wav"), (2, 2, "r02-2_c01.wav")]
    assert "sound 2 of 2" in {each.message for each in news}


@pytest.mark.parametrize(
    ("rows", "columns", "settings", "sentence"),
    [
        (None, None, {}, "Nothing varies; name rows or columns"),
        ({"speed": [1]}, None, {}, "rows is 'speed', but what can vary is prompt, seed, strength, checkpoint, lora"),
        ({"seed": [1]}, {"seed": [2]}, {}, "The seed varies in the rows and in the columns; choose another"),
        ({"seed": []}, None, {}, "rows has no values of seed"),
        ({"seed": [1], "cfg": [1]}, None, {}, "it must be one setting with its values"),
        ({"seed": [1, 1]}, None, {}, "rows has the seed 1 twice; leave one out"),
        ({"seed": [1.5]}, None, {}, "rows has the seed 1.5, but it must be a whole number"),
        ({"seed": [-1]}, None, {}, "seed is -1, but it must be from 0"),
        ({"cfg": [float("nan")]}, None, {}, "rows has the cfg nan, but it must be a number"),
        ({"seed": [1]}, None, {"prompt": None}, "prompt is missing, and no prompts vary"),
        ({"seed": [1]}, None, {"seed": 3}, "seed is given, and the seed varies in the grid, too"),
        ({"prompt": ["a", "b"]}, None, {}, "prompt is given, and the prompt varies"),
        ({"strength": [0, 1]}, None, {}, "The strength varies, but there is no LoRA"),
        ({"strength": [0, 1]}, None, {"loras": [("a", 0.5)]}, "but each LoRA has a strength of its own"),
        ({"seed": list(range(21))}, {"cfg": list(range(20))}, {}, "The grid has 420 cells, but 400 at most"),
        ({"checkpoint": ["."]}, None, {}, "no checkpoints lie in it"),
        ({"seed": [1]}, None, {"format": "m4a"}, "format is 'm4a', but it must be one of wav, flac, ogg, mp3"),
    ],
)  # fmt: skip
def test_a_grid_that_cannot_be_is_refused_before_anything_is_loaded(
    tmp_path: Path, rows: Any, columns: Any, settings: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(InputError) as raised:
        grid(rows, columns, out=tmp_path / "grid", base="no-such-base", **({"prompt": "rain"} | settings))
    assert sentence in str(raised.value)
    assert not (tmp_path / "grid").exists()


def test_one_value_is_a_list_of_one() -> None:
    axis = axis_of("rows", {"prompt": "rain"})
    assert axis is not None
    assert axis.values == ("rain",)


def test_words_of_a_page_are_no_markup(quick_base: BaseNames, tmp_path: Path) -> None:
    found = made(quick_base, tmp_path / "grid", {"prompt": ['<b>"rain"</b>']}, prompt=None)
    page = found.page.read_text()
    assert "<b>" not in page
    assert "&lt;b&gt;&quot;rain&quot;&lt;/b&gt;" in page
