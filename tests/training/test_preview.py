from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from support import CPU, BaseNames, block_of

from soundlora.audio.wav import read_wav, write_wav
from soundlora.lora.adapter import Adapter
from soundlora.sampling.generate import SamplingSettings
from soundlora.training.preview import PreviewSettings, combine, write_previews
from soundlora.training.run_folder import RunFolder
from soundlora.weights.base import Base

RATE = 48_000


@pytest.fixture(scope="module")
def base(quick_base: BaseNames) -> Base:
    return quick_base.open()


@pytest.fixture(scope="module")
def settings(base: Base) -> PreviewSettings:
    rain, wind, negative = base.contexts(["rain", "wind", ""], CPU)
    return PreviewSettings(("rain", "wind"), (rain, wind), negative, 0.3, 7, SamplingSettings())


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path / "run")
    folder.create({}, {})
    return folder


def test_every_prompt_gets_a_48_khz_stereo_file(folder: RunFolder, base: Base, settings: PreviewSettings) -> None:
    paths = write_previews(folder, 3, base, Adapter.create(base.transformer(CPU), 8), settings)
    assert paths == [folder.preview_path(3, 0), folder.preview_path(3, 1)]
    sounds = []
    for path in paths:
        waveform, rate = read_wav(path)
        assert rate == RATE
        assert waveform.shape == (2, (4 * 8 - 3) * 480)
        sounds.append(waveform)
    assert not torch.equal(*sounds)


def test_the_seed_is_the_same_every_time_so_that_only_the_adapter_is_heard(
    folder: RunFolder, base: Base, settings: PreviewSettings
) -> None:
    model = base.transformer(CPU)
    weights = block_of(model, 0).audio_attn1.to_q.weight.clone()
    none = Adapter(model, {})
    paths = {step: write_previews(folder, step, base, none, settings)[0] for step in (0, 1)}
    adapter = Adapter.create(model, 8)
    paths[2] = write_previews(folder, 2, base, adapter, settings)[0]
    with torch.no_grad():
        for layer in adapter.layers.values():
            layer.lora_B.normal_(std=0.3)
    paths[3] = write_previews(folder, 3, base, adapter, settings)[0]
    assert paths[0].read_bytes() == paths[1].read_bytes()
    sounds = {step: read_wav(path)[0] for step, path in paths.items()}
    torch.testing.assert_close(sounds[2], sounds[0], atol=2 / 32767, rtol=0)
    assert not torch.allclose(sounds[3], sounds[0], atol=1e-2)
    adapter.detach()
    assert torch.equal(block_of(model, 0).audio_attn1.to_q.weight, weights)


def test_a_sliders_preview_has_both_ends_one_after_the_other(
    folder: RunFolder, base: Base, settings: PreviewSettings
) -> None:
    adapter = Adapter.create(base.transformer(CPU), 8)
    with torch.no_grad():
        for layer in adapter.layers.values():
            layer.lora_B.normal_(std=0.3)
    ends: dict[tuple[float, ...], torch.Tensor] = {}
    for step, strengths in enumerate(((-1.0,), (1.0,), (-1.0, 1.0))):
        path = write_previews(folder, step, base, adapter, replace(settings, strengths=strengths))[0]
        ends[strengths] = read_wav(path)[0]
    low, high, both = ends.values()
    gap = torch.zeros(2, both.shape[1] - low.shape[1] - high.shape[1])
    assert gap.shape[1] == 24_000
    assert torch.equal(both, torch.cat([low, gap, high], dim=1))
    assert not torch.allclose(low, high, atol=1e-2)
    assert {layer.scale for layer in adapter.layers.values()} == {1.0}


def test_the_combined_preview_has_half_a_second_of_silence_between(tmp_path: Path) -> None:
    paths = []
    for number, samples in enumerate((1000, 2000, 500)):
        paths.append(tmp_path / f"{number}.wav")
        write_wav(paths[-1], torch.full((2, samples), 0.5), RATE)
    combine(paths, tmp_path / "preview.wav")
    waveform, rate = read_wav(tmp_path / "preview.wav")
    assert rate == RATE
    assert waveform.shape == (2, 3500 + 2 * 24_000)
    silent = (waveform == 0).all(dim=0)
    assert silent.sum() == 2 * 24_000
    assert silent[1000:25_000].all()
    assert silent[27_000:51_000].all()


def test_one_preview_alone_is_combined_to_itself(tmp_path: Path) -> None:
    write_wav(tmp_path / "0.wav", torch.rand(2, 100), RATE)
    combine([tmp_path / "0.wav"], tmp_path / "preview.wav")
    assert torch.equal(read_wav(tmp_path / "preview.wav")[0], read_wav(tmp_path / "0.wav")[0])
