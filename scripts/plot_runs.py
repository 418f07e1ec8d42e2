"""This script draws what a run learnt: log-mel spectrograms of the base, the LoRA and a training clip, side by side.

    .venv/bin/python scripts/plot_runs.py demo-run [--out docs/images/base_vs_lora.png]

Base and LoRA are the run's previews before the first step and after the last, from the same prompt and seed. The
clip is the one whose caption is that prompt, or else the run's first. The script needs the extra `plots`.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
import torch
from numpy.typing import NDArray

from soundlora.audio.wav import read_wav
from soundlora.dataset import Clip, prepare
from soundlora.errors import InputError

# The script only writes files, so it needs no screen.
matplotlib.use("agg")
from matplotlib import pyplot as plt

Spectrogram = NDArray[np.float32]

BANDS, TOP = 128, 16_000.0  # mel bands from 0 Hz to TOP
WINDOW_SECONDS, HOP_SECONDS = 0.032, 0.008
RANGE_DB = 70.0


@dataclass(frozen=True)
class Panel:
    title: str
    mel: Spectrogram  # (bands, frames), dB below the panel's own peak
    seconds: float


def mel(hz: float | NDArray[np.float64]) -> NDArray[np.float64]:
    return 2595 * np.log10(1 + np.asarray(hz) / 700)


def filters(size: int, rate: int) -> Spectrogram:
    """Return triangles (BANDS, size // 2 + 1) that are evenly spaced in mel."""
    edges = 700 * (10 ** (np.linspace(0, float(mel(TOP)), BANDS + 2) / 2595) - 1)
    f = np.fft.rfftfreq(size, 1 / rate)[None]
    low, middle, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    return np.clip(np.minimum((f - low) / (middle - low), (high - f) / (high - middle)), 0, None).astype(np.float32)


def panel(title: str, waveform: torch.Tensor, rate: int) -> Panel:
    """Return the panel of a waveform (channels, samples) at `rate` Hz."""
    mono = waveform.float().mean(dim=0)
    # The transform is longer than the window, so that each of the low bands holds a bin.
    size = 1 << math.ceil(math.log2(4 * WINDOW_SECONDS * rate))
    length = round(WINDOW_SECONDS * rate)
    spectrum = torch.stft(
        mono,
        size,
        hop_length=round(HOP_SECONDS * rate),
        win_length=length,
        window=torch.hann_window(length),
        return_complex=True,
    ).abs()
    power = filters(size, rate) @ spectrum.square().numpy()
    db = 10 * np.log10(np.maximum(power, 1e-12))
    return Panel(title, (db - db.max()).astype(np.float32), len(mono) / rate)


def training_clip(run: Path, data: Path | None, prompt: str) -> tuple[str, torch.Tensor, int]:
    """Return name, samples and rate of the clip that the prompt describes."""
    request = json.loads((run / "request.json").read_text(encoding="utf-8"))
    clips = json.loads((run / "report.json").read_text(encoding="utf-8"))["clips"]
    kept = [clip for clip in clips if clip["status"] == "kept"]
    wanted = next((clip for clip in kept if clip["caption"] == prompt), kept[0])["name"]
    found: list[Clip] = []

    def keep(clip: Clip) -> None:
        if clip.name == wanted:
            found.append(clip)

    prepare(
        data or Path(request["training_data_url"]),
        duration=request["audio_duration_seconds"],
        on_clip=keep,
        trigger_phrase=request["trigger_phrase"],
        normalize=request["audio_normalize"],
        preserve_pitch=request["audio_preserve_pitch"],
    )
    if not found:
        raise InputError(f"The clip {wanted} that {run} was trained on is no longer in the data; give it with --data.")
    return wanted, torch.from_numpy(found[0].samples), found[0].sample_rate


def draw(panels: list[Panel], caption: str, out: Path) -> None:
    figure, axes = plt.subplots(1, len(panels), figsize=(12, 3.6), sharey=True, layout="constrained")
    ticks = [250, 500, 1000, 2000, 4000, 8000, 16_000]
    for axis, each in zip(axes, panels, strict=True):
        image = axis.imshow(
            each.mel,
            origin="lower",
            aspect="auto",
            cmap="magma",
            vmin=-RANGE_DB,
            vmax=0,
            extent=(0, each.seconds, 0, BANDS),
        )
        axis.set_title(each.title)
        axis.set_xlabel("seconds")
        axis.set_yticks(
            [float(mel(tick) / mel(TOP)) * BANDS for tick in ticks],
            [f"{tick // 1000} kHz" if tick >= 1000 else f"{tick} Hz" for tick in ticks],
        )
    figure.colorbar(image, ax=axes, label="dB below the peak", pad=0.01)
    figure.supxlabel(caption, fontsize="medium")
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=100)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="the folder of a finished run with previews")
    parser.add_argument("--out", type=Path, help="the PNG to write [default: spectrograms.png in the run]")
    parser.add_argument("--data", type=Path, help="the training data, when it is not where the run found it")
    parser.add_argument("--prompt", type=int, default=0, help="which validation prompt, counted from 0")
    arguments = parser.parse_args()
    run: Path = arguments.run
    previews = sorted((run / "previews").glob(f"step_*_prompt_{arguments.prompt}.wav"))
    if len(previews) < 2:
        raise InputError(f"{run} holds no previews of prompt {arguments.prompt} from before and after training.")
    request = json.loads((run / "request.json").read_text(encoding="utf-8"))
    prompt = request["validation"][arguments.prompt]["prompt"]
    name, samples, rate = training_clip(run, arguments.data, prompt)
    panels = [
        panel("base", *read_wav(previews[0])),
        panel("with the LoRA", *read_wav(previews[-1])),
        panel("a training clip", samples, rate),
    ]
    steps = int(previews[-1].name.split("_")[1])
    caption = f"“{prompt}”, seed {request['seed']}: before training, after {steps:,} steps, and {name}"
    out = arguments.out or run / "spectrograms.png"
    draw(panels, caption, out)
    print(out)


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        print(f"plot_runs: {error}", file=sys.stderr)
        sys.exit(2)
