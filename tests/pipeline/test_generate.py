from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from file_server import FileServer
from parity.runners import fresh_transformer
from safetensors.torch import load_file, save_file
from support import BaseNames
from torch import Tensor

from soundlora.audio.wav import read_wav
from soundlora.errors import InputError
from soundlora.lora.adapter import Adapter
from soundlora.pipeline.generate import Generator, check_room, generate
from soundlora.progress import Progress
from soundlora.sampling.generate import sample_takes
from soundlora.training.memory_plan import SHARE, of_generation
from soundlora.weights.base import open_base

SHORT: dict[str, Any] = {"duration": 0.4, "seed": 3}


@pytest.fixture(scope="module")
def generator(quick_base: BaseNames) -> Generator:
    return Generator(quick_base.checkpoint, text_encoder=quick_base.encoder)


def lora(path: Path, metadata: dict[str, str], *, seed: int = 1) -> Path:
    adapter = Adapter.create(fresh_transformer(), 8, seed=seed)
    with torch.no_grad():
        for layer in adapter.layers.values():
            layer.lora_B.normal_(std=0.3)
    adapter.save(path, metadata)
    return path


def test_a_sound_is_48_khz_stereo_and_knows_where_it_came_from(generator: Generator, tmp_path: Path) -> None:
    sound = generator("rain", **SHORT)
    assert sound.waveform.shape == (2, (4 * 10 - 3) * 480)
    assert sound.waveform.abs().max() <= 1
    assert (sound.sample_rate, sound.prompt, sound.seed) == (48_000, "rain", 3)
    assert sound.save(str(tmp_path / "rain.wav")) == tmp_path / "rain.wav"
    written, rate = read_wav(tmp_path / "rain.wav")
    assert rate == 48_000
    torch.testing.assert_close(written, sound.waveform, atol=1.01 / 32767, rtol=0)


def test_without_a_duration_the_bases_duration_head_says_how_long(quick_base_25: BaseNames) -> None:
    generator = Generator(quick_base_25.checkpoint)
    sound = generator("rain", seed=3)
    assert sound.predicted
    assert sound.duration == pytest.approx(0.6, abs=0.01)
    assert sound.waveform.shape == (2, (4 * 15 - 3) * 480)
    given = generator("rain", seed=3, duration=sound.duration)
    assert torch.equal(given.waveform, sound.waveform)
    assert not given.predicted


def test_without_a_duration_and_a_head_it_is_five_seconds(generator: Generator) -> None:
    sound = generator("rain", seed=3)
    assert (sound.duration, sound.predicted) == (5.0, False)
    assert sound.waveform.shape == (2, (4 * 125 - 3) * 480)


@pytest.mark.parametrize(("predicted", "seconds"), [(3882.0, 60.0), (0.001, 0.1), (4.321, 4.32)])
def test_a_prediction_is_kept_to_what_may_be_asked_for(
    generator: Generator, monkeypatch: pytest.MonkeyPatch, predicted: float, seconds: float
) -> None:
    monkeypatch.setattr(generator.base, "predicted_seconds", lambda context, device: predicted)
    assert generator.predicted_seconds("rain") == seconds


def test_seed_prompt_and_settings_decide_the_sound(generator: Generator) -> None:
    first = generator("rain", **SHORT).waveform
    assert torch.equal(first, generator("rain", **SHORT).waveform)
    for change in ({"seed": 4}, {"steps": 3}, {"cfg": 1.0}, {"stg": 0.0}, {"negative_prompt": "wind"}):
        assert not torch.equal(first, generator("rain", **(SHORT | change)).waveform), change
    assert not torch.equal(first, generator("wind", **SHORT).waveform)


def test_what_is_not_named_is_the_bases_own(generator: Generator) -> None:
    named = generator("rain", steps=2, cfg=3.0, stg=1.0, negative_prompt="", **SHORT).waveform
    assert torch.equal(generator("rain", **SHORT).waveform, named)


def test_a_generator_encodes_a_prompt_once(generator: Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    generator("thunder", **SHORT)

    def never(*args: object) -> None:
        raise AssertionError("encoded twice")

    monkeypatch.setattr(generator.base, "contexts", never)
    generator("thunder", **SHORT)


def test_each_step_is_told(generator: Generator) -> None:
    news: list[Progress] = []
    generator("rain", steps=4, on_progress=news.append, **SHORT)
    assert [(n.step, n.steps) for n in news if n.stage == "sampling"] == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_a_lora_changes_the_sound_in_proportion_to_its_strength(
    generator: Generator, quick_base: BaseNames, tmp_path: Path
) -> None:
    path = lora(tmp_path / "lora.safetensors", {})
    base = generator("rain", **SHORT).waveform
    changes = {}
    for strength in (0.0, 0.1, 1.0):
        sound = generate("rain", lora=path, strength=strength, **quick_base.arguments, **SHORT).waveform
        changes[strength] = (sound - base).abs().mean().item()
    assert changes[0.0] < 1e-4 < changes[0.1] < changes[1.0]


def test_loras_add_up(quick_base: BaseNames, tmp_path: Path) -> None:
    paths = [lora(tmp_path / f"{seed}.safetensors", {}, seed=seed) for seed in (1, 2)]
    sounds = []
    for order in (paths, paths[::-1], paths[:1]):
        both = Generator(quick_base.checkpoint, [(path, 0.5) for path in order], text_encoder=quick_base.encoder)
        sounds.append(both("rain", **SHORT).waveform)
    torch.testing.assert_close(sounds[0], sounds[1], atol=1e-4, rtol=1e-3)
    assert not torch.allclose(sounds[0], sounds[2], atol=1e-3)


def test_loras_are_exchanged_while_the_base_stays_loaded(quick_base: BaseNames, tmp_path: Path) -> None:
    one = lora(tmp_path / "one.safetensors", {"trigger_phrase": "one"})
    other = lora(tmp_path / "other.safetensors", {"trigger_phrase": "other"}, seed=2)
    generator = Generator(quick_base.checkpoint, [(one, 0.5), (other, 1.0)], text_encoder=quick_base.encoder)
    model = generator.model
    generator("rain", **SHORT)
    for loras in ([(other, 0.7)], [], [(other, 1.0), (one, 0.5)]):
        generator.exchange(loras)
        fresh = Generator(quick_base.checkpoint, loras, text_encoder=quick_base.encoder)
        assert torch.equal(generator("rain", **SHORT).waveform, fresh("rain", **SHORT).waveform)
        assert generator.trigger_phrases == fresh.trigger_phrases
        assert generator.warnings == fresh.warnings
    with pytest.raises(InputError, match="nowhere"):
        generator.exchange([(tmp_path / "nowhere.safetensors", 1.0)])
    assert torch.equal(generator("rain", **SHORT).waveform, fresh("rain", **SHORT).waveform)
    assert generator.model is model


def test_a_generator_forgets_prompts_before_they_fill_the_memory(
    quick_base: BaseNames, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("soundlora.pipeline.generate._MOST_CONTEXTS", 3)
    generator = Generator(quick_base.checkpoint, text_encoder=quick_base.encoder)
    first = generator("rain", **SHORT)
    for prompt in ("wind", "snow", "hail"):
        generator(prompt, **SHORT)
    assert len(generator._contexts) <= 4
    assert torch.equal(generator("rain", **SHORT).waveform, first.waveform)


def test_room_is_asked_of_a_gpu_alone(quick_base: BaseNames, monkeypatch: pytest.MonkeyPatch) -> None:
    where = quick_base.checkpoint, str(quick_base.encoder)
    assert check_room(*where, "cpu", 5.0)
    needed = of_generation(open_base(where[0], Path(where[1])).config, 5.0, cuda=False)
    for free, fits in ((2 * needed, True), (needed // 2, False)):
        monkeypatch.setattr("soundlora.pipeline.generate.is_measured", lambda device: True)
        monkeypatch.setattr("soundlora.pipeline.generate.available", lambda device, free=free: (free, 2 * free))
        assert check_room(*where, "cpu", 5.0) is fits
    assert needed < of_generation(open_base(where[0], Path(where[1])).config, 20.0, cuda=False)


def test_takes_are_made_together_where_a_gpu_has_the_memory(
    quick_base: BaseNames, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = Generator(quick_base.checkpoint, text_encoder=quick_base.encoder)
    batches: list[int] = []
    module = "soundlora.pipeline.generate"

    def counting(*args: Any, seeds: Sequence[int], **named: Any) -> Tensor:
        batches.append(len(seeds))
        return sample_takes(*args, seeds=seeds, **named)

    monkeypatch.setattr(f"{module}.sample_takes", counting)
    alone = [sound.waveform for sound in generator.takes("rain", range(1, 6), duration=SHORT["duration"])]
    assert batches == [1] * 5  # on a CPU
    assert torch.equal(alone[2], generator("rain", seed=3, duration=SHORT["duration"]).waveform)

    monkeypatch.setattr(f"{module}.is_measured", lambda device: True)
    monkeypatch.setattr(f"{module}.of_generation", lambda *args, takes, **named: takes)
    for free, expected in ((8, [5]), (7, [4, 1]), (3, [2, 2, 1]), (1, [1] * 5)):
        monkeypatch.setattr(f"{module}.available", lambda device, free=free: (free / SHARE, 100))
        batches.clear()
        together = list(generator.takes("rain", range(1, 6), duration=SHORT["duration"]))
        assert batches == expected
        assert [sound.seed for sound in together] == [1, 2, 3, 4, 5]
        for one, sound in zip(alone, together, strict=True):
            torch.testing.assert_close(one, sound.waveform, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("seeds", ["1-8", [1.5], ["x"]])
def test_seeds_are_whole_numbers(quick_base: BaseNames, seeds: Any) -> None:
    generator = Generator(quick_base.checkpoint, text_encoder=quick_base.encoder)
    with pytest.raises(InputError, match=r"seeds is .*, but it must be a list of whole numbers"):
        generator.takes("rain", seeds)
    with pytest.raises(InputError, match="seed is -1, but it must be from 0"):
        generator.takes("rain", [3, -1])


def test_a_lora_alone_is_as_strong_as_it_is_told_and_one_and_several_go_by_both_names(
    quick_base: BaseNames, tmp_path: Path
) -> None:
    path = lora(tmp_path / "lora.safetensors", {})
    arguments: dict[str, Any] = {"base": quick_base.checkpoint, "text_encoder": quick_base.encoder}
    half = generate("rain", lora=path, strength=0.5, **arguments, **SHORT).waveform
    for named in ({"loras": [(path, 0.5)]}, {"loras": [str(path)], "strength": 0.5}, {"loras": [[path, 0.5]]}):
        assert torch.equal(generate("rain", **named, **arguments, **SHORT).waveform, half), named
        assert torch.equal(Generator(**named, **arguments)("rain", **SHORT).waveform, half), named
    assert torch.equal(Generator(lora=path, strength=0.5, **arguments)("rain", **SHORT).waveform, half)
    assert not torch.equal(Generator(loras=[path], **arguments)("rain", **SHORT).waveform, half)


def test_a_lora_of_another_base_is_used_with_a_warning(quick_base: BaseNames, tmp_path: Path) -> None:
    own = lora(tmp_path / "own.safetensors", {"base": "quick", "base_hash": quick_base.open().hash})
    other = lora(tmp_path / "other.safetensors", {"base": "mega", "base_hash": "0" * 64})
    unknown = lora(tmp_path / "unknown.safetensors", {})
    loaded = Generator(
        quick_base.checkpoint, [(path, 1.0) for path in (own, other, unknown)], text_encoder=quick_base.encoder
    )
    (warning,) = loaded.warnings
    assert str(other) in warning
    assert "trained on another base (mega)" in warning


def test_a_lora_of_another_generation_is_refused_unless_it_is_forced(quick_base: BaseNames, tmp_path: Path) -> None:
    path = lora(tmp_path / "lora.safetensors", {"generation": "2.5"})
    words = r"was trained on LTX 2\.5, but the base is LTX 2\.3, .*; use it with LTX 2\.5, or hear .* with force=True"
    with pytest.raises(InputError, match=words) as error:
        generate("rain", lora=path, **quick_base.arguments, **SHORT)
    assert error.value.field == "loras.0.path"
    forced = generate("rain", lora=path, force=True, **quick_base.arguments, **SHORT)
    same = tmp_path / "same.safetensors"
    save_file(load_file(path), same, {"generation": "2.3"})
    assert torch.equal(generate("rain", lora=same, **quick_base.arguments, **SHORT).waveform, forced.waveform)


def test_what_the_reader_of_loras_says_is_passed_on(quick_base: BaseNames, tmp_path: Path) -> None:
    path = lora(tmp_path / "lora.safetensors", {})
    tensors = load_file(path) | {"diffusion_model.transformer_blocks.0.attn1.to_q.lora_A.weight": torch.ones(8, 4)}
    save_file(tensors | {"diffusion_model.transformer_blocks.0.attn1.to_q.lora_B.weight": torch.ones(4, 8)}, path)
    (warning,) = Generator(quick_base.checkpoint, [(path, 1.0)], text_encoder=quick_base.encoder).warnings
    assert f"{path} also changes what is no linear layer of the audio stream, which is left out" in warning


def test_a_base_that_is_fetched_is_told_of(file_server: FileServer, quick_base: BaseNames) -> None:
    file_server.files["/base.safetensors"] = Path(quick_base.checkpoint).read_bytes()
    news: list[Progress] = []
    url = f"{file_server.url}/base.safetensors"
    generate("rain", base=url, text_encoder=quick_base.encoder, on_progress=news.append, **SHORT)
    assert news[0].stage == "base"
    assert "fetching" in news[0].message
    assert [item.stage for item in news][-1] == "sampling"


def test_advice_names_a_missing_trigger_phrase_and_a_length_never_heard(quick_base: BaseNames, tmp_path: Path) -> None:
    path = lora(tmp_path / "lora.safetensors", {"trigger_phrase": "SNDX"})
    loaded = Generator(quick_base.checkpoint, [(path, 1.0)], text_encoder=quick_base.encoder)
    assert loaded.advice("a sndx tone", 5.0) == []
    assert loaded.advice("a tone", 20.0) == ["The LoRA's trigger phrase 'SNDX' is not in the prompt."]
    assert loaded.advice("sndx", 30.0) == ["30 s is longer than the 20 s the base was trained on."]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("duration", 0.05),
        ("duration", 60.5),
        ("duration", float("nan")),
        ("steps", 0),
        ("steps", 1001),
        ("cfg", -1.0),
        ("cfg", float("inf")),
        ("stg", 101.0),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(generator: Generator, name: str, value: float) -> None:
    with pytest.raises(InputError, match=f"{name} is {value}, but it must be from"):
        generator("rain", **(SHORT | {name: value}))


def test_a_lora_that_is_not_there_or_does_not_fit_is_refused(quick_base: BaseNames, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="There is no LoRA at"):
        generate("rain", lora=tmp_path / "none.safetensors", **quick_base.arguments)
