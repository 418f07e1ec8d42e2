"""The debug archive: every clip as it is trained on and as the model hears it, and the caption that the model reads."""

from __future__ import annotations

import json
import re
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from html import escape
from pathlib import Path
from urllib.parse import quote

import numpy as np
import torch
from torch import Tensor

from soundlora.audio.spectrogram import side_by_side
from soundlora.audio.wav import write_wav
from soundlora.dataset import Clip, ClipReport, DatasetReport
from soundlora.errors import InputError
from soundlora.system.operating_system import replace
from soundlora.system.whole_files import writing
from soundlora.weights.base import Codec

# Windows forbids some of these in names; the others would have to be escaped in a page's addresses.
_AWKWARD = re.compile(r'[<>:"/\\|?*#%&\s\x00-\x1f]+')
_LONGEST_STEM = 80

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem }
:root { color-scheme: light dark }
section { border-top: 1px solid #8886; padding: 1rem 0 }
h2 { font-size: 1.1rem; margin: 0 }
img { width: 100%; image-rendering: pixelated; border-radius: 4px }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: 0 6px }
audio { width: 100% }
small, li { opacity: .8 }
"""


def write_debug_dataset(
    path: Path,
    codec: Codec,
    report: DatasetReport,
    latents: Mapping[str, Tensor],
    prepare_clips: Callable[[Callable[[Clip], None]], object],
) -> None:
    """Write a zip to listen to, with an index.html that opens from the disk once it is unpacked.

    codec: it has its decoder.
    latents: (T, C) of every kept clip by its name, as they are trained on.
    prepare_clips: it hands every fitted clip to the function that it is given, as `dataset.prepare` did for `report`.

    Raises InputError when it hands over other clips than `latents` has, MachineError when the zip can't be written.
    """
    entries: list[str] = []
    # The archive is written beside its place, so that it can be moved there at once.
    with (
        writing(path),
        tempfile.TemporaryDirectory(dir=path.parent, prefix=".debug-") as folder,
        zipfile.ZipFile(Path(folder, path.name), "w") as archive,
    ):
        wav = Path(folder, "clip.wav")

        def add(clip: Clip) -> None:
            if clip.name not in latents:
                raise InputError(f"{clip.name} was not there when the run began; the data has changed meanwhile.")
            stem = f"{len(entries):04d}_{_safe(Path(clip.name).stem)}"
            heard = codec.decode(latents[clip.name])
            write_wav(wav, torch.from_numpy(clip.samples), clip.sample_rate)
            archive.writestr(_member(f"original/{stem}.wav"), wav.read_bytes())
            archive.writestr(_member(f"original/{stem}.txt"), clip.caption)
            write_wav(wav, heard, codec.sample_rate)
            archive.writestr(_member(f"heard/{stem}.wav"), wav.read_bytes())
            picture = side_by_side([(clip.samples, clip.sample_rate), (np.asarray(heard), codec.sample_rate)])
            archive.writestr(_member(f"pictures/{stem}.png"), picture)
            entries.append(_entry(stem, clip.report))

        prepare_clips(add)
        if len(entries) != len(latents):
            raise InputError("Some clips are not there any more; the data has changed since the run began.")
        archive.writestr(_member("report.json"), json.dumps(report.to_json(), indent=2, ensure_ascii=False))
        archive.writestr(_member("index.html"), _page(report, entries))
        archive.close()
        replace(Path(folder, path.name), path)


def _member(name: str) -> zipfile.ZipInfo:
    """Return an entry for a file. Its date is a fixed one, as a zip has none before 1980 and a clock may be wrong."""
    entry = zipfile.ZipInfo(name)
    entry.external_attr = 0o644 << 16
    return entry


def _safe(stem: str) -> str:
    return _AWKWARD.sub("_", stem)[:_LONGEST_STEM].strip("._ ") or "clip"


def _page(report: DatasetReport, entries: list[str]) -> str:
    notes = [*report.warnings, *(f"{clip.name} was skipped: {clip.reason}." for clip in report.skipped)]
    notes += [f"{name} belongs to no clip." for name in report.orphan_captions]
    return f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{escape(report.source)}</title>
<style>{_STYLE}</style>
<h1>{len(report.kept)} clips of {report.duration:g} s</h1>
<p>Left: the clip as it is trained on. Right: what the model hears of it, after its audio VAE and vocoder. What is
missing on the right cannot be learned.</p>
<ul>{"".join(f"<li>{escape(note)}</li>" for note in notes)}</ul>
{"".join(entries)}</html>
"""


def _entry(stem: str, clip: ClipReport) -> str:
    facts = [f"{clip.sample_rate} Hz, {clip.layout}, {clip.codec}"]
    if clip.peak_dbfs is not None:
        facts.append(f"peak {clip.peak_dbfs:.1f} dBFS")
    if clip.loudness_lufs is not None:
        facts.append(f"loudness {clip.loudness_lufs:.1f} LUFS")
    warnings = "".join(f"<li>{escape(warning)}</li>" for warning in clip.warnings)
    address = quote(stem)
    return f"""<section>
<h2>{escape(clip.name)}</h2>
<p>{escape(clip.caption) or "<em>no caption</em>"}<br><small>{escape("; ".join(facts))}</small></p>
<ul>{warnings}</ul>
<img src="pictures/{address}.png" loading="lazy" alt="Spectrograms of the clip and of what the model hears">
<div class="pair">
<audio controls preload="none" src="original/{address}.wav"></audio>
<audio controls preload="none" src="heard/{address}.wav"></audio>
</div>
</section>
"""
