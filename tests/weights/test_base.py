from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from support import CPU, RATE, TINY_CHECKPOINT, TINY_ENCODER, BaseNames, Metadata, Tensors, rewrite, tone

from soundlora.errors import InputError
from soundlora.model.text_encoder import TextEncoder
from soundlora.weights import base as base_module
from soundlora.weights.base import open_base
from soundlora.weights.checkpoint import Checkpoint
from soundlora.weights.generations import LTX_25


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A base as people keep one: the checkpoint and a text_encoder folder beside it."""
    home = tmp_path / "base"
    home.mkdir()
    shutil.copy(TINY_CHECKPOINT, home / "tiny.safetensors")
    shutil.copytree(TINY_ENCODER, home / "text_encoder")
    return home


def test_a_base_is_a_folder_or_the_checkpoint_in_it(folder: Path) -> None:
    by_folder, by_file = open_base(str(folder)), open_base(str(folder / "tiny.safetensors"))
    assert by_folder.hash == by_file.hash
    assert (by_folder.name, by_file.name) == (str(folder), str(folder / "tiny.safetensors"))


def test_the_text_encoder_may_lie_elsewhere(folder: Path) -> None:
    shutil.rmtree(folder / "text_encoder")
    with pytest.raises(InputError, match="text_encoder="):
        open_base(str(folder))
    assert open_base(str(folder), TINY_ENCODER).text_encoder_path == TINY_ENCODER


def test_a_folder_with_no_or_two_checkpoints_is_refused(folder: Path) -> None:
    shutil.copy(folder / "tiny.safetensors", folder / "other.safetensors")
    with pytest.raises(InputError, match=r"holds 2 \.safetensors files"):
        open_base(str(folder))
    with pytest.raises(InputError, match=r"holds no \.safetensors file"):
        open_base(str(folder / "text_encoder" / ".." / ".."))


def test_an_unknown_name_is_refused_with_what_to_give() -> None:
    with pytest.raises(InputError, match=r"no base called 'mega'.*base='nano'.*Lightricks/LTX-2\.3"):
        open_base("mega")


def test_a_path_of_a_checkpoint_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="There is no file at"):
        open_base(str(tmp_path / "gone.safetensors"))


def test_another_text_encoder_makes_another_base(folder: Path, tiny_base: BaseNames) -> None:
    assert open_base(str(folder)).hash == tiny_base.open().hash
    tokenizer = folder / "text_encoder" / "tokenizer.json"
    tokenizer.write_text(tokenizer.read_text() + "\n")
    assert open_base(str(folder)).hash != tiny_base.open().hash


def test_contexts_come_one_a_caption_in_order_and_do_not_touch_each_other(quick_base: BaseNames) -> None:
    base = quick_base.open()
    contexts = base.contexts(["rain", "wind in the trees", "rain"], CPU)
    assert {tuple(context.shape) for context in contexts} == {(128, base.config.text.width)}
    assert torch.equal(contexts[0], contexts[2])
    assert not torch.allclose(contexts[0], contexts[1])
    assert torch.equal(base.contexts(["wind in the trees"], CPU)[0], contexts[1])


def test_contexts_are_those_of_all_hidden_states_at_once(quick_base: BaseNames) -> None:
    """They are summed layer by layer, so that a large encoder's states need not be kept."""
    base, told = quick_base.open(), []
    (context,) = base.contexts(["wind in the trees"], CPU, lambda *step: told.append(step))
    states = base.checkpoint.encoder_layers
    assert told == [(number + 1, states) for number in range(states)]
    encoder = TextEncoder(base.text_encoder_path, CPU, torch.float32, 128)
    features = base.checkpoint.load_projection(CPU, torch.float32)(encoder.hidden_states("wind in the trees"))
    expected = base.checkpoint.load_connector(CPU, torch.float32)(features)
    torch.testing.assert_close(context, expected, atol=1e-5, rtol=1e-5)


def test_an_encoder_of_another_depth_is_refused(tiny_base: BaseNames, tmp_path: Path) -> None:
    directory = Path(shutil.copytree(tiny_base.encoder, tmp_path / "encoder"))
    config = json.loads((directory / "config.json").read_text())
    text = config.get("text_config", config)
    text["num_hidden_layers"] -= 1
    text["layer_types"] = text["layer_types"][:-1]
    (directory / "config.json").write_text(json.dumps(config))
    base = open_base(tiny_base.checkpoint, directory)
    with pytest.raises(InputError, match=r"has 3 layers, but the base was made for one of 4"):
        base.contexts(["rain"], CPU)


def of_version(path: Path, version: str | None, target: Path) -> Path:
    """A copy of a pack of Gemma 4 that says another version of itself."""

    def change(tensors: Tensors, metadata: Metadata) -> None:
        config = json.loads(metadata["gemma_config"]) | {"gemma_version": version}
        metadata["gemma_config"] = json.dumps({key: value for key, value in config.items() if value is not None})

    return rewrite(target, change, path)


@pytest.mark.parametrize(
    ("version", "words"),
    [
        ("gemma4-12b", r"is gemma4-12b, but .* was made with gemma4-tiny-ltx-v1; LTX 2\.5 needs gemma4-12b-with-proj"),
        (None, r"is of no stated version, but .* was made with gemma4-tiny-ltx-v1"),
    ],
)
def test_another_version_of_the_text_encoder_is_refused_with_both_named(
    quick_base_25: BaseNames, tmp_path: Path, version: str | None, words: str
) -> None:
    other = of_version(quick_base_25.encoder, version, tmp_path / "encoder.safetensors")
    with pytest.raises(InputError, match=words):
        open_base(quick_base_25.checkpoint, other)


def test_a_gemma_of_the_other_generation_is_refused(quick_base_25: BaseNames, tiny_base: BaseNames) -> None:
    with pytest.raises(InputError, match=r"is Gemma 3, but .* was made with Gemma 4; LTX 2\.5 needs"):
        open_base(quick_base_25.checkpoint, tiny_base.encoder)
    with pytest.raises(InputError, match=r"is Gemma 4, but .* was made with Gemma 3; LTX 2\.3 needs google/gemma-3"):
        open_base(tiny_base.checkpoint, quick_base_25.encoder)


def test_a_base_without_its_text_encoder_says_which_file_it_needs(quick_base_25: BaseNames, tmp_path: Path) -> None:
    home = Path(shutil.copytree(quick_base_25.checkpoint, tmp_path / "base"))
    encoder = home / quick_base_25.encoder.relative_to(quick_base_25.checkpoint)
    projection = tmp_path / "projection.safetensors"
    save_file({name: tensor for name, tensor in load_file(encoder).items() if "aggregate" in name}, projection)
    encoder.unlink()
    transformer, vae = (home / file.path for file in (LTX_25.files[0], LTX_25.files[2]))
    with pytest.raises(
        InputError, match=r"no config\.json of a text encoder in .*; LTX 2\.5 needs gemma4-12b-with-proj"
    ):
        open_base(f"{transformer},{vae},{projection}")


def test_a_duration_head_says_how_long_a_prompt_should_sound(quick_base_25: BaseNames, tiny_base: BaseNames) -> None:
    base = quick_base_25.open()
    (context,) = base.contexts(["rain"], CPU)
    assert base.predicted_seconds(context, CPU) == pytest.approx(0.6, abs=0.01)
    assert tiny_base.open().predicted_seconds(context, CPU) is None


def test_sound_becomes_latents_and_latents_sound(quick_base: BaseNames) -> None:
    base = quick_base.open()
    codec = base.codec(CPU, encoder=True, decoder=True)
    latents = codec.encode(torch.from_numpy(tone(0.5))[None], RATE)
    assert latents.shape == (13, base.config.transformer.in_channels)
    sound = codec.decode(latents)
    assert sound.shape == (2, (4 * 13 - 3) * 480)
    assert codec.sample_rate == 48_000


def test_the_rate_of_a_recording_hardly_changes_its_latents(quick_base: BaseNames) -> None:
    codec = quick_base.open().codec(CPU, encoder=True)
    low, high = (codec.encode(torch.from_numpy(tone(0.5, rate=rate))[None], rate) for rate in (16_000, 48_000))
    assert low.shape == high.shape
    assert (low - high)[2:-2].abs().mean() < 0.1 * low.abs().mean()


def test_latents_and_contexts_can_be_trained_on(quick_base: BaseNames) -> None:
    """Tensors made in inference mode can't take part in a backward pass."""
    base = quick_base.open()
    latents = base.codec(CPU, encoder=True).encode(torch.from_numpy(tone(0.5))[None], RATE)
    (context,) = base.contexts(["rain"], CPU)
    assert not latents.is_inference()
    assert not context.is_inference()


def test_where_the_device_cannot_convolve_sound_the_cpu_makes_it(
    quick_base: BaseNames, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[torch.device] = []
    monkeypatch.setattr(Checkpoint, "load_vocoder", lambda self, device: loaded.append(device))
    monkeypatch.setattr(base_module, "convolves_long", lambda device: False)
    monkeypatch.setattr(Checkpoint, "load_vae", lambda self, device, **_: None)
    quick_base.open().codec(torch.device("mps"), decoder=True)
    assert loaded == [CPU]


def test_a_type_that_the_device_lacks_is_no_quantisation_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base_module, "has_type", lambda device, dtype: dtype == torch.int8)
    with pytest.raises(
        InputError, match=r"'fp8' takes a type of numbers that Apple's GPU \(mps\) lacks; use quantize='int8'\."
    ):
        base_module.check_holds(torch.device("mps"), "fp8")
    base_module.check_holds(torch.device("mps"), "int8")


def test_an_int8_base_needs_no_bf16_of_the_device(quick_base: BaseNames) -> None:
    weights: dict[str, Any] = dict(quick_base.open().transformer(CPU, "int8").named_parameters())
    weight = weights["transformer_blocks.0.audio_attn1.to_q.weight"]
    assert (weight.qdata.dtype, weight.scale.dtype) == (torch.int8, torch.float32)
    plain = [parameter.dtype for parameter in weights.values() if not hasattr(parameter, "qdata")]
    assert set(plain) == {torch.float32}
