"""Captioned clips are rendered on all cores, each from its own number."""

from __future__ import annotations

import json
from pathlib import Path

import captioned
import numpy as np
import pytest
from captioned import Set, render_all, render_one


def test_rendering_that_was_stopped_goes_on_with_the_same_clips(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(captioned, "WORK", tmp_path)
    clips = Set("few", 0.5, 0, 3)
    wanted = [render_one(clips, number) for number in range(3)]
    render_all(clips)
    items = json.loads(clips.items_path.read_text())
    clips.items_path.write_text(json.dumps(items[:1]))
    mels = np.load(clips.mel_path, mmap_mode="r+")
    mels[1:] = 0
    mels.flush()
    render_all(clips)
    assert [item["kind"] for item in json.loads(clips.items_path.read_text())] == [item["kind"] for _, item in wanted]
    for mel, (expected, _) in zip(np.load(clips.mel_path), wanted, strict=True):
        assert np.array_equal(mel, expected)
    assert not np.array_equal(wanted[1][0], wanted[2][0])
