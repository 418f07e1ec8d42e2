"""This script makes the clips that `soundlora base check` listens to: eight everyday sounds with plain captions.

    .venv/bin/python scripts/make_check_clips.py [--out src/soundlora/clips]

The synthesiser of nano's recipe renders them, with seeds that nano's training did not draw. They are short and in Opus,
so that the package stays small.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import av
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "recipes" / "nano"))
from sounds import render  # noqa: E402  # it lies in the recipe

SECONDS, RATE, BITS = 4.0, 48_000, 48_000
SOUNDS = (
    ("rain", {"intensity": "heavy", "distance": "near"}, "heavy rain"),
    ("footsteps", {"speed": "slow", "surface": "hard floor", "space": "dry"}, "slow footsteps on a hard floor"),
    ("church bell", {"pitch": "low", "speed": "slow", "distance": "near"}, "slow church bell"),
    ("dog barking", {"pitch": "low", "speed": "slow", "space": "dry"}, "a big dog barking"),
    ("birds chirping", {"speed": "fast", "pitch": "high"}, "birds chirping"),
    ("clock ticking", {"speed": "fast", "space": "dry"}, "fast clock ticking"),
    ("siren", {"speed": "slow", "pitch": "low", "distance": "near"}, "slow siren"),
    ("piano", {"pitch": "low", "speed": "slow", "space": "dry"}, "slow low piano"),
)


def write(path: Path, samples: np.ndarray) -> None:
    """Write stereo sound (2, n) at `RATE` as Opus."""
    with av.open(str(path), "w", format="ogg") as file:
        stream = file.add_stream("libopus", rate=RATE, layout="stereo", options={"vbr": "on"})
        stream.bit_rate = BITS
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples.T.reshape(1, -1)), "flt", "stereo")
        frame.sample_rate = RATE
        for packet in (*stream.encode(frame), *stream.encode(None)):
            file.mux(packet)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "src" / "soundlora" / "clips")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    captions = {}
    for number, (family, attributes, caption) in enumerate(SOUNDS):
        sound = render(family, np.random.default_rng((77, number)), SECONDS, RATE, attributes)
        name = f"{family.replace(' ', '_')}.opus"
        write(out / name, sound.audio)
        captions[name] = caption
    (out / "captions.json").write_text(json.dumps(captions, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
