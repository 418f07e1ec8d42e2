"""Draw where `soundlora prepare` cuts a recording: its waveform and spectrogram, with the pieces on them.

    .venv/bin/python scripts/plot_cuts.py PREPARED.json RECORDING PICTURE.png [--seconds 60]

It needs matplotlib, which `scripts/setup plots` installs.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Rectangle

from soundlora.audio.spectrogram import FLOOR_DB, HIGHEST_HZ, LOWEST_HZ, levels
from soundlora.dataset.cut_plan import PlannedRecording, read_plan
from soundlora.dataset.decode import decode

_COLOURS = {"": "#2f9e6e", "silence": "#8b8f98", "rest": "#c9a227", "duplicate": "#7d5ba6"}
_OTHER = "#c0392b"


def draw(recording: PlannedRecording, samples: np.ndarray, rate: int, seconds: float, target: Path) -> None:
    """Draw the first `seconds` of samples (channels, n)."""
    figure, (wave, picture) = plt.subplots(2, 1, figsize=(9, 3.6), sharex=True, height_ratios=[1, 1.4])
    mono = samples.mean(axis=0)
    step = max(1, len(mono) // 3000)
    pieces = mono[: len(mono) // step * step].reshape(-1, step)
    places = np.arange(len(pieces)) * step / rate
    wave.fill_between(places, pieces.min(axis=1), pieces.max(axis=1), color="#333333", linewidth=0)
    image = levels(samples, rate, seconds)
    picture.imshow(image, aspect="auto", extent=(0, seconds, 0, 1), cmap="inferno")
    octaves = np.array([100, 1_000, 10_000])
    picture.set_yticks(np.log(octaves / LOWEST_HZ) / np.log(HIGHEST_HZ / LOWEST_HZ), ["100 Hz", "1 kHz", "10 kHz"])
    seen: dict[str, str] = {}
    for piece in recording.pieces:
        start, end = piece.start / recording.sample_rate, piece.end / recording.sample_rate
        if start >= seconds:
            break
        colour = _COLOURS.get(piece.left_out, _OTHER)
        wave.axvspan(start, min(end, seconds), color=colour, alpha=0.35, linewidth=0)
        seen.setdefault(piece.left_out or "clip", colour)
        if not piece.left_out:
            for axes, line in ((wave, "#11593c"), (picture, "white")):
                axes.axvline(start, color=line, linewidth=0.8)
                axes.axvline(min(end, seconds), color=line, linewidth=0.8)
    handles = [Rectangle((0, 0), 1, 1, color=colour, alpha=0.5) for colour in seen.values()]
    wave.legend(handles, list(seen), loc="lower right", ncols=len(seen), fontsize=7, framealpha=0.9)
    wave.set_ylabel("level")
    wave.set_yticks([])
    wave.set_xlim(0, seconds)
    picture.set_xlabel(f"seconds; the floor is {FLOOR_DB:g} dB")
    figure.tight_layout(pad=0.4)
    figure.savefig(target, dpi=90)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("plan", type=Path)
    parser.add_argument("recording", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--seconds", type=float, default=60.0)
    arguments = parser.parse_args()
    plan = read_plan(arguments.plan)
    name = arguments.recording.name
    recording = next(each for each in plan.recordings if Path(each.source).name == name)
    audio = decode(arguments.recording, arguments.seconds)
    seconds = min(arguments.seconds, recording.seconds)
    draw(recording, audio.samples, audio.sample_rate, seconds, arguments.picture)


if __name__ == "__main__":
    main()
