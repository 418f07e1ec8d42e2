from __future__ import annotations

import io
import json
import wave
import zipfile
from functools import partial
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from support import CPU, BaseNames, tone, write_clip

from soundlora.dataset import inspect_dataset, prepare
from soundlora.errors import InputError
from soundlora.pipeline.debug_dataset import write_debug_dataset

SECONDS = 0.5


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Clips whose names and captions a careless page would choke on, and one that is skipped."""
    folder = tmp_path / "data"
    folder.mkdir()
    # In JSON, of which the caption is taken as it stands: in plain text its tags would be taken away.
    caption = json.dumps({"caption": 'TRG <script>alert("x")</script>'})
    write_clip(folder / "a <b> & 100% #1?.wav", tone(0.6), caption)
    write_clip(folder / "wïnd.wav", tone(0.9, 880.0, rate=44_100), "wïnd", rate=44_100)
    write_clip(folder / "short.wav", tone(0.2))
    return folder


class Page(HTMLParser):
    """What a browser would load, and what it would show."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.sources: list[str] = []
        self.tags: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.sources += [value for name, value in attrs if name in ("src", "href") and value]

    def handle_data(self, data: str) -> None:
        self.text += data


def read_wav(content: bytes) -> tuple[np.ndarray, int]:
    with wave.open(io.BytesIO(content)) as file:
        pcm = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, file.getnchannels())
        return pcm.T / 32_767, file.getframerate()


def test_every_clip_can_be_compared_with_what_the_model_hears_of_it(
    quick_base: BaseNames, data: Path, tmp_path: Path
) -> None:
    base = quick_base.open()
    report = inspect_dataset(data, duration=SECONDS)
    latents = {clip.name: torch.randn(13, base.config.transformer.in_channels) for clip in report.kept}
    codec = base.codec(CPU, decoder=True)
    path = tmp_path / "debug_dataset.zip"
    write_debug_dataset(path, codec, report, latents, lambda add: prepare(data, duration=SECONDS, on_clip=add))
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["data", "debug_dataset.zip"]

    fitted = {}
    prepare(data, duration=SECONDS, on_clip=lambda clip: fitted.update({clip.name: clip}))
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        stems = ["0000_a_b_100_1", "0001_wïnd"]
        files = [f"{folder}/{stem}" for stem in stems for folder in ("original", "heard", "pictures")]
        assert {name.rpartition(".")[0] for name in archive.namelist()} == {*files, "report", "index"}
        for stem, clip in zip(stems, fitted.values(), strict=True):
            sound, rate = read_wav(archive.read(f"original/{stem}.wav"))
            assert rate == clip.sample_rate
            assert np.abs(sound - clip.samples).max() < 1e-4
            assert archive.read(f"original/{stem}.txt").decode() == clip.caption
            heard, rate = read_wav(archive.read(f"heard/{stem}.wav"))
            assert rate == 48_000
            assert np.abs(heard - codec.decode(latents[clip.name]).numpy()).max() < 1e-4
            assert archive.read(f"pictures/{stem}.png").startswith(b"\x89PNG")
        assert json.loads(archive.read("report.json")) == report.to_json()
        page = Page(archive.read("index.html").decode())
        # Nothing leads out of the folder it is unpacked to, and everything is there.
        assert {partial(str.replace, source)("%C3%AF", "ï") for source in page.sources} <= set(archive.namelist())
    assert (page.tags.count("audio"), page.tags.count("img"), page.tags.count("script")) == (4, 2, 0)
    for words in ('TRG <script>alert("x")</script>', "a <b> & 100% #1?.wav", "short.wav was skipped: it is 0.20 s"):
        assert words in page.text


def test_data_that_changed_meanwhile_is_not_passed_off_as_what_was_trained_on(
    quick_base: BaseNames, data: Path, tmp_path: Path
) -> None:
    base = quick_base.open()
    report = inspect_dataset(data, duration=SECONDS)
    codec = base.codec(CPU, decoder=True)
    latents = {clip.name: torch.randn(13, base.config.transformer.in_channels) for clip in report.kept}
    path = tmp_path / "debug_dataset.zip"

    def write(latents: dict[str, torch.Tensor]) -> None:
        write_debug_dataset(path, codec, report, latents, lambda add: prepare(data, duration=SECONDS, on_clip=add))

    with pytest.raises(InputError, match="was not there when the run began"):
        write({})
    with pytest.raises(InputError, match="not there any more"):
        write(latents | {"gone.wav": latents["wïnd.wav"]})
    assert [entry.name for entry in tmp_path.iterdir()] == ["data"]
