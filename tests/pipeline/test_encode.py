from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from support import CPU, BaseNames, tone, write_clip

from soundlora.pipeline.cache import Cache
from soundlora.pipeline.encode import Fitting, encode_clips
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
