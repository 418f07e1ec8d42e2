"""This benchmark measures how fast recordings are cut into clips, and in how much memory.

    .venv/bin/python benchmarks/recordings.py [--minutes 60] [--record]

It makes a recording of 48 kHz stereo: noise that rises and falls, with attacks and pauses, no two minutes of it alike.
It times `soundlora prepare` as a command on one core, from the start of the process to its end, and reads the most
memory that the process held. It does so for a tenth of the length, too. Other formats are measured on a tenth. Speeds
are seconds of sound per second of processor time, so that they are true on a busy machine.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soundfile
from history import Figure
from table import MB, add_record, report

RATE = 48_000
SPEED_GOAL = 200  # × real time
MEMORY_GOAL = 300  # MB
FORMATS = {
    "flac, 24 bits": ("a.flac", "PCM_24", "wav"),
    "wav, 16 bits, to flac": ("b.wav", "PCM_16", "flac"),
    "mp3": ("a.mp3", "MPEG_LAYER_III", "wav"),
    "ogg, Vorbis": ("a.ogg", "VORBIS", "wav"),
}
_COMMAND = """
import resource, sys
from table import peak_resident
from soundlora.cli.app import main
try:
    main()
except SystemExit as ended:
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(ended.code, used.ru_utime + used.ru_stime, peak_resident())
"""


class Cost(NamedTuple):
    """What preparing a recording cost: processor time in seconds, memory in bytes. `clips` are those it wrote."""

    seconds: float
    memory: int
    clips: int


def minute(number: int) -> np.ndarray:
    """Return a minute of stereo sound (n, 2): noise with attacks, and a pause of two seconds."""
    random = np.random.default_rng(number)
    sound = random.standard_normal((60 * RATE, 2), np.float32) * np.float32(0.05)
    places = np.arange(60 * RATE) / RATE
    sound *= (0.6 + 0.4 * np.sin(2 * np.pi * 0.13 * places + number))[:, None].astype(np.float32)
    for start in random.uniform(0, 59, 20):
        attack = slice(round(start * RATE), round(start * RATE) + RATE // 4)
        sound[attack] *= (1 + 8 * np.exp(-np.arange(RATE // 4) / 2000))[:, None].astype(np.float32)
    pause = round(random.uniform(0, 57) * RATE)
    sound[pause : pause + 2 * RATE] = 0
    return np.asarray(np.clip(sound, -0.85, 0.85))


def write(path: Path, minutes: int, subtype: str) -> Path:
    with soundfile.SoundFile(path, "w", RATE, 2, subtype) as file:
        for number in range(minutes):
            # libsndfile's encoder of Vorbis fails with all of a minute at once.
            for second in np.split(minute(number), 60):
                file.write(second)
    return path


def prepare(path: Path, out: Path, format: str) -> Cost:
    command = [sys.executable, "-c", _COMMAND, "prepare", str(path), "--out", str(out), "--format", format]
    printed = subprocess.run(
        command, check=True, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent
    ).stdout.splitlines()
    code, seconds, memory = printed[-1].split()
    assert code == "0", printed
    clips = sum(each.suffix in (".wav", ".flac") for each in out.iterdir())
    shutil.rmtree(out)
    return Cost(float(seconds), int(memory), clips)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=int, default=60)
    add_record(parser)
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    tenth = max(1, arguments.minutes // 10)
    lengths, formats = {}, {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for minutes in (tenth, arguments.minutes):
            path = write(folder / "a.wav", minutes, "PCM_16")
            lengths[minutes] = prepare(path, folder / "out", "wav")
            path.unlink()
        for name, (file, subtype, format) in FORMATS.items():
            formats[name] = prepare(write(folder / file, tenth, subtype), folder / "out", format)
    figures = []
    for minutes, cost in lengths.items():
        goal = SPEED_GOAL if minutes == arguments.minutes else None
        figures.append(Figure(f"{minutes} min of wav, 16 bits", 60 * minutes / cost.seconds, "× real time", goal))
        figures.append(Figure(f"memory, {minutes} min", cost.memory / MB, "MB", MEMORY_GOAL))
    figures += [
        Figure(f"{tenth} min of {name}", 60 * tenth / cost.seconds, "× real time") for name, cost in formats.items()
    ]
    title = f"soundlora prepare: {RATE} Hz stereo, one core"
    details: dict[str, Any] = {
        "lengths": {minutes: cost._asdict() for minutes, cost in lengths.items()},
        "formats": {name: cost._asdict() for name, cost in formats.items()},
    }
    report("recordings", title, figures, details, arguments.record)


if __name__ == "__main__":
    main()
