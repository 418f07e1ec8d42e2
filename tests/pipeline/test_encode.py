from __future__ import annotations

import itertools
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support import CPU, BaseNames, tone, write_clip

from soundlora.pipeline.cache import Cache
from soundlora.pipeline.encode import encode_clips
from soundlora.pipeline.fitting import Fitting
from soundlora.progress import Progress
from soundlora.weights.base import Codec


def test_clips_become_latents_once_and_skipped_ones_are_in_the_report(
    quick_base: BaseNames, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = Path(shutil.copytree(clips, tmp_path / "data"))
    write_clip(data / "short.wav", tone(0.2), "a click")
    base, store, news = quick_base.open(), Cache(tmp_path / "store"), list[Progress]()
    fitting = Fitting(data, 0.5, "TRG", True, True, ())
    encoded, report = encode_clips(base, store, fitting, CPU, news.append)
    assert [(clip.name, clip.caption) for clip in encoded] == [
        ("high.wav", "TRG a high tone"), ("low.wav", "TRG a low tone"), ("middle.wav", "TRG a middle tone"),
    ]  # fmt: skip
    assert {clip.latents.shape[0] for clip in encoded} == {13}
    assert (len(report.kept), [clip.name for clip in report.skipped]) == (3, ["short.wav"])
    assert news[0].message == f"reading {data}"
    assert news[-1].message == "3 clips kept, 1 skipped"

    def never(*args: object) -> None:
        raise AssertionError("encoded twice")

    monkeypatch.setattr(Codec, "encode", never)
    again, _ = encode_clips(base, store, fitting, CPU, news.append)
    assert all(torch.equal(one.latents, other.latents) for one, other in zip(encoded, again, strict=True))
    with pytest.raises(AssertionError, match="encoded twice"):
        encode_clips(base, store, Fitting(data, 0.5, "TRG", False, True, ()), CPU, news.append)


def test_windows_of_a_long_clip_have_latents_of_their_own(
    quick_base: BaseNames, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").mkdir()
    write_clip(tmp_path / "data" / "long.wav", np.concatenate([tone(0.5), tone(0.5, 880.0), tone(0.7, 220.0)]), "tones")
    base, store, news = quick_base.open(), Cache(tmp_path / "store"), list[Progress]()
    fitting = Fitting(tmp_path / "data", 0.5, "", True, True, ())
    [alone], _ = encode_clips(base, store, fitting, CPU, news.append)
    assert news[-1].note
    assert "0.5 s of 1.7 s are used" in news[-1].message
    assert "windows='all' takes all that fits, up to 3 clips" in news[-1].message

    clips, report = encode_clips(base, store, replace(fitting, windows="all"), CPU, news.append)

    assert [clip.name for clip in clips] == ["long.wav", "long.wav @ 0.5 s", "long.wav @ 1 s"]
    assert len({clip.sha256 for clip in clips}) == 1
    assert torch.equal(clips[0].latents, alone.latents)
    assert not any(torch.equal(one.latents, other.latents) for one, other in itertools.combinations(clips, 2))
    assert len(report.kept) == 3
    assert news[-1].message == "3 clips kept, 0 skipped"

    monkeypatch.setattr(Codec, "encode", None)
    again, _ = encode_clips(base, store, replace(fitting, windows="all"), CPU, news.append)
    assert all(torch.equal(one.latents, other.latents) for one, other in zip(clips, again, strict=True))


def test_captions_follow_the_settings_and_latents_do_not(
    quick_base: BaseNames, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").mkdir()
    write_clip(tmp_path / "data" / "HeavyRain_02.wav", tone(0.6))
    base, store = quick_base.open(), Cache(tmp_path / "store")

    def caption(**settings: Any) -> str:
        fitting = Fitting(tmp_path / "data", 0.5, "TRG", True, True, (), **settings)
        ((clip,), _) = encode_clips(base, store, fitting, CPU, lambda news: None)
        return clip.caption

    assert caption() == "TRG"
    monkeypatch.setattr(Codec, "encode", None)  # the latents are there
    assert caption(captions_from="all") == "TRG heavy rain"
    assert caption(captions_from="all", caption_template="{caption} ({trigger})") == "heavy rain (TRG)"
