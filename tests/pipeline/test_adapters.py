"""Runs that train a LoKr: their files, resuming, continuing, and what they may begin with."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from support import BaseNames

from soundlora.errors import InputError, Interrupted
from soundlora.lora.adapter import Adapter
from soundlora.lora.file import read_lora
from soundlora.lora.forms import FILE_FORMS, FileForm
from soundlora.lora.products import KEPT
from soundlora.pipeline.generate import Generator
from soundlora.pipeline.lengthen import lengthen
from soundlora.pipeline.stopping import kept_of
from soundlora.pipeline.train import TrainingResult
from soundlora.progress import Progress

Train = Callable[..., TrainingResult]


def stop_at(step: int) -> Callable[[Progress], None]:
    def on_progress(progress: Progress) -> None:
        if progress.stage == "training" and progress.step == step:
            raise KeyboardInterrupt

    return on_progress


LOKR: tuple[FileForm, ...] = ("lokr",)


def attached(base: BaseNames, path: Path | None) -> Adapter:
    assert path is not None
    model = base.open().transformer(torch.device("cpu"))
    return Adapter.attach(model, read_lora(path, as_they_are=FILE_FORMS).updates)


def test_a_run_is_resumed_to_the_bit_and_writes_both_files(quick_train: Train) -> None:
    options: dict[str, Any] = {
        "adapter": "lokr", "name": "kit", "validation_prompts": ["rain"], "preview_every": 2, "hold_out": 1,
    }  # fmt: skip
    notes: list[str] = []
    whole = quick_train("whole", on_progress=lambda news: notes.append(news.message), **options)
    with pytest.raises(Interrupted, match="Stopped at step 3"):
        quick_train("stopped", on_progress=stop_at(3), **options)
    kept, step = kept_of(whole.folder.parent / "stopped")
    assert (kept.name, step) == ("kit-3-lokr.safetensors", 3)
    assert read_lora(kept, as_they_are=LOKR).matrices
    resumed = quick_train("stopped", resume=True, **options)
    own = "kit-6-lokr.safetensors"
    for name in ("lora.safetensors", own, "metrics.jsonl", "held_out.jsonl", "preview.wav", f"checkpoints/{own}"):
        assert (resumed.folder / name).read_bytes() == (whole.folder / name).read_bytes(), name
    assert (whole.lora.name, whole.own) == ("kit-6.safetensors", whole.folder / own)
    told = json.loads(whole.config.read_text())
    assert (told["adapter"], told["own_file"]) == ("lokr", own)
    assert told["plain"]["kept"] >= KEPT
    (words,) = [note for note in notes if note.startswith("As a plain LoRA of ")]
    assert "the LoKr keeps 99." in words or "the LoKr keeps all of each layer's energy" in words
    assert words == told["plain"]["words"] == json.loads((whole.folder / "report.json").read_text())["notes"][-1]
    card = whole.card.read_text()
    assert words in card
    assert "| adapter | LoKr |" in card


def test_the_files_have_the_keys_of_other_programs_and_say_where_they_come_from(quick_train: Train) -> None:
    result = quick_train(adapter="lokr", rank=2, name="kit", alpha=4.0)
    assert result.own is not None
    tensors = load_file(result.own)
    parts = {key.rpartition("audio_attn1.to_q.")[2] for key in tensors if ".0.audio_attn1.to_q." in key}
    assert parts == {"lokr_w1", "lokr_w2_a", "lokr_w2_b", "alpha"}
    with safe_open(result.own, framework="pt") as file:
        assert (file.metadata()["adapter"], file.metadata()["rank"]) == ("lokr", "2")
    plain = read_lora(result.lora)
    assert (plain.naming, plain.matrices, plain.warnings) == ("official", {}, [])
    assert plain.metadata["made_from"] == "lokr"
    assert float(plain.metadata["energy_kept"]) >= KEPT
    assert plain.metadata["rank"] == str(plain.ranks[-1])
    assert "adapter" not in plain.metadata


def test_the_plain_lora_is_what_was_trained_but_for_what_is_said(quick_train: Train, quick_base: BaseNames) -> None:
    result = quick_train(adapter="lokr", rank=2)
    own, plain = attached(quick_base, result.own), read_lora(result.lora)
    assert own.form == "lokr"
    assert own.layers.keys() == plain.pairs.keys()
    for name, layer in own.layers.items():
        eye = torch.eye(layer.frozen.in_features)
        with torch.no_grad():
            update = (layer(eye) - layer.base(eye)).T  # (outputs, inputs)
        a, b = (half.float() for half in plain.pairs[name])
        lost = float((b @ a - update).square().sum() / update.square().sum())
        assert lost <= 1 - KEPT + 2e-3, (name, lost)  # the file's own numbers are bf16


def test_a_longer_run_is_that_of_so_many_steps_at_once(
    quick_train: Train, tmp_path: Path, settings: dict[str, Any]
) -> None:
    options: dict[str, Any] = {"adapter": "lokr", "schedule": "constant", "name": "kit"}
    short = quick_train("short", steps=3, **options)
    longer = lengthen(
        short.folder, 6, tmp_path / "longer", cache=settings["cache"], text_encoder=settings["text_encoder"]
    )
    whole = quick_train("whole", **options)
    for name in ("lora.safetensors", "kit-6-lokr.safetensors"):
        assert (longer.folder / name).read_bytes() == (whole.folder / name).read_bytes(), name


def test_a_generator_takes_the_adapter_s_own_form(quick_train: Train, quick_base: BaseNames) -> None:
    result = quick_train(adapter="lokr", learning_rate=0.1)
    assert result.own is not None
    generator = Generator(loras=[result.own], **quick_base.arguments)
    sounds = {}
    settings: dict[str, Any] = {"duration": 0.5, "steps": 2, "cfg": 1.0, "stg": 0.0}
    for name, loras in (("own", [result.own]), ("off", [(result.own, 0.0)]), ("base", []), ("plain", [result.lora])):
        generator.exchange(loras)
        sounds[name] = generator("rain", **settings).waveform
    assert torch.equal(sounds["off"], sounds["base"])
    own, plain = (float((sounds[name] - sounds["base"]).norm()) for name in ("own", "plain"))
    assert own > 0
    assert float((sounds["own"] - sounds["plain"]).norm()) < 0.5 * own, "the same sound, nearly"
    assert plain > 0


def test_a_dora_is_generated_with_and_not_trained(quick_train: Train, quick_base: BaseNames, tmp_path: Path) -> None:
    result = quick_train(learning_rate=0.1)
    tensors, model = load_file(result.lora), quick_base.open().transformer(torch.device("cpu"))
    for key in [key for key in tensors if key.endswith("lora_A.weight")]:
        module = key.removeprefix("diffusion_model.").removesuffix(".lora_A.weight")
        tensors[f"diffusion_model.{module}.dora_scale"] = 1.5 * model.get_parameter(f"{module}.weight").norm(dim=1)
    dora = tmp_path / "dora.safetensors"
    save_file(tensors, dora)
    generator = Generator(loras=[dora], **quick_base.arguments)
    settings: dict[str, Any] = {"duration": 0.5, "steps": 2, "cfg": 1.0, "stg": 0.0}
    sounds = {}
    for name, loras in (("dora", [dora]), ("off", [(dora, 0.0)]), ("base", []), ("lora", [result.lora])):
        generator.exchange(loras)
        sounds[name] = generator("rain", **settings).waveform
    assert torch.equal(sounds["off"], sounds["base"])
    assert float((sounds["dora"] - sounds["lora"]).norm()) > 0.1 * float(sounds["base"].norm())
    with pytest.raises(InputError, match=r"is a DoRA, and what it changes depends on its base; .* --base BASE"):
        quick_train("begun", init_lora=dora)
    with pytest.raises(InputError, match="adapter") as refused:
        quick_train("dora", adapter="dora")
    assert refused.value.field == "adapter"


def test_a_lokr_begins_with_a_lokr_of_its_shapes_alone(quick_train: Train) -> None:
    lokr = quick_train("lokr", adapter="lokr", rank=2, hold_out=1)
    again = quick_train("again", adapter="lokr", rank=2, init_lora=lokr.own, hold_out=1, steps=1)
    first = [json.loads(line) for line in (again.folder / "held_out.jsonl").read_text().splitlines()][1]["loss"]
    last = [json.loads(line) for line in (lokr.folder / "held_out.jsonl").read_text().splitlines()][-1]["loss"]
    assert first == pytest.approx(last, rel=2e-3)
    with pytest.raises(InputError, match="is no LoKr, and nothing else can become one; leave out init_lora"):
        quick_train("plain", adapter="lokr", init_lora=lokr.lora)
    with pytest.raises(InputError, match="has no LoKr of these shapes"):
        quick_train("other", adapter="lokr", rank=1, init_lora=lokr.own)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"rslora": True}, "rslora=True is for updates whose rank is rank, which a LoKr's is not"),
        ({"b_rate": 16.0}, "b_rate is 16, but a LoKr has no B"),
    ],
)
def test_settings_that_a_lokr_has_no_use_for_are_refused(quick_train: Train, given: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said) as refused:
        quick_train(adapter="lokr", **given)
    assert refused.value.field == next(iter(given))


@pytest.mark.parametrize(
    "options",
    [
        {"optimizer": "adafactor"},
        {"optimizer": "adamw8bit", "average": False},
        {"quantize": "bf16", "batch_size": 2},
        {"checkpoint_activations": True, "preserve": 0.5, "trigger_phrase": "TRG"},
    ],
)
def test_other_settings_work_with_it(quick_train: Train, quick_base: BaseNames, options: dict[str, Any]) -> None:
    result = quick_train(adapter="lokr", **options)
    assert all(layer.energy() > 0 for layer in attached(quick_base, result.own).layers.values())
