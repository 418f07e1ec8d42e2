from __future__ import annotations

import io
import wave
import zipfile
from pathlib import Path

import torch
from support import CPU, BaseNames

from soundlora.debug_dataset import write_debug_dataset
from soundlora.training.trainer import Example


def test_every_clip_is_there_as_the_model_hears_it_with_the_caption_it_reads(
    quick_base: BaseNames, tmp_path: Path
) -> None:
    base = quick_base.open()
    channels = base.config.transformer.in_channels
    examples = [
        Example(name, torch.randn(5, channels), torch.zeros(1)) for name in ("rain.wav", "sub/rain.mp3", "wind.flac")
    ]
    captions = ["TRG rain", "TRG rain, harder", "TRG wïnd"]
    path = tmp_path / "debug_dataset.zip"
    write_debug_dataset(path, base, CPU, examples, captions)
    assert list(tmp_path.iterdir()) == [path]
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        stems = ["0000_rain", "0001_rain", "0002_wind"]
        assert sorted(archive.namelist()) == sorted(f"{stem}.{kind}" for stem in stems for kind in ("txt", "wav"))
        assert [archive.read(f"{stem}.txt").decode() for stem in stems] == captions
        sounds = [archive.read(f"{stem}.wav") for stem in stems]
    assert len(set(sounds)) == 3
    for sound in sounds:
        with wave.open(io.BytesIO(sound)) as file:
            assert file.getparams()[:4] == (2, 2, 48_000, (4 * 5 - 3) * 480)
