"""This benchmark measures how fast data sets are read, and in how much memory.

    .venv/bin/python benchmarks/dataset.py [--base nano] [--repeats 3] [--record]

It times decoding, fitting with all measurements, and the mel front end for each format, in seconds of sound per second
of one core. It times encoding by the audio VAE, and `soundlora inspect` as a command on 50 clips of 10 s. It measures
memory at 10 and 1,000 clips. Speeds of one core are counted in processor time, so that they are true on a busy machine.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from history import Figure
from table import MB, add_record, report

RATE, SECONDS = 44_100, 20.0
BUCKET = 18.0
INSPECTED, INSPECTED_SECONDS, INSPECT_GOAL = 50, 10.0, 1
MEMORY_GOAL = 300  # MB
FORMATS = {
    "wav, 16 bits": ("a.wav", "pcm_s16le"),
    "wav, float": ("a.wav", "pcm_f32le"),
    "flac": ("a.flac", "flac"),
    "mp3": ("a.mp3", "libmp3lame"),
    "ogg, Vorbis": ("a.ogg", "vorbis"),
    "ogg, Opus": ("a.ogg", "libopus"),
    "aac, ADTS": ("a.aac", "aac"),
    "m4a, AAC": ("a.m4a", "aac"),
    "m4a, ALAC": ("a.m4a", "alac"),
}


def sound(seconds: float, rate: int, seed: int = 0) -> np.ndarray:
    """Return stereo sound (2, n) that is work for codecs: a few tones, and noise that rises and falls."""
    time_axis = np.arange(round(seconds * rate)) / rate
    random = np.random.default_rng(seed)
    tones = sum(np.sin(2 * np.pi * hertz * time_axis) for hertz in random.uniform(100, 5_000, 5))
    noise = random.normal(0, 1, (2, time_axis.size)) * (0.5 + 0.5 * np.sin(2 * np.pi * 2 * time_axis))
    mixed: np.ndarray = (0.08 * tones + 0.08 * noise).astype(np.float32)
    return mixed


def write(path: Path, samples: np.ndarray, rate: int, codec: str) -> Path:
    import av

    if codec == "libopus":
        rate = 48_000  # The codec knows no nearer rate. The sound gets a little higher and shorter.
    with av.open(str(path), "w") as file:
        stream = file.add_stream(codec, rate=rate, layout="stereo", options={"strict": "experimental"})
        assert isinstance(stream, av.AudioStream)
        packed = np.ascontiguousarray(samples.T).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(packed, format="flt", layout="stereo")
        frame.sample_rate, frame.pts = rate, 0
        converter = av.AudioResampler(stream.format, "stereo", rate, frame_size=stream.frame_size or None)
        for converted in [*converter.resample(frame), *converter.resample(None)]:
            file.mux(stream.encode(converted))
        file.mux(stream.encode(None))
    return path


def per_core(work: Callable[[], object], seconds: float, repeats: int) -> float:
    """Return the median of seconds of sound per second of processor time. The first run only warms up."""
    work()
    times = []
    for _ in range(repeats):
        began = time.process_time()
        work()
        times.append(time.process_time() - began)
    return seconds / statistics.median(times)


def measure_formats(folder: Path, repeats: int) -> dict[str, dict[str, float]]:
    import torch

    from soundlora.dataset import decode, fit
    from soundlora.model.mel import log_mel, resample, to_stereo
    from soundlora.weights.base import open_base

    torch.set_num_threads(1)
    audio = open_base("nano").config.audio
    samples = sound(SECONDS, RATE)
    figures = {}
    for name, (file, codec) in FORMATS.items():
        path = write(folder / file, samples, RATE, codec)
        decoded = decode(path, BUCKET)
        fitted = fit(decoded, BUCKET)

        def mel(samples: np.ndarray = fitted.samples, rate: int = fitted.sample_rate) -> object:
            stereo = resample(to_stereo(torch.from_numpy(samples)), rate, audio.sample_rate)
            return log_mel(stereo[None], audio)

        def everything(path: Path = path, mel: Callable[..., object] = mel) -> None:
            mel(fit(decode(path, BUCKET), BUCKET).samples)

        figures[name] = {
            "decode": per_core(partial(decode, path, BUCKET), BUCKET, repeats),
            "fit": per_core(partial(fit, decoded, BUCKET), BUCKET, repeats),
            "mel": per_core(mel, BUCKET, repeats),
            "all": per_core(everything, BUCKET, repeats),
        }
    return figures


def measure_encoding(base: str, repeats: int) -> float:
    """Return how many times faster than real time mel and audio VAE are, for a clip of 5 s on one CPU core."""
    import torch

    from soundlora.weights.base import open_base

    torch.set_num_threads(1)
    codec = open_base(base).codec(torch.device("cpu"), encoder=True)
    clip = torch.from_numpy(sound(5.0, RATE))
    return per_core(lambda: codec.encode(clip, RATE), 5.0, repeats)


def measure_inspect(folder: Path, repeats: int) -> dict[str, dict[str, float]]:
    """Return wall clock and processor time of the command in seconds, imports included."""
    figures = {}
    # The first run does not count. It leaves compiled modules behind, as the first one after an installation does.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPYCACHEPREFIX"] = str(folder / "compiled")
    for codec, suffix in (("pcm_s16le", "wav"), ("libmp3lame", "mp3")):
        clips = folder / suffix
        clips.mkdir()
        for number in range(INSPECTED):
            write(clips / f"{number:02}.{suffix}", sound(INSPECTED_SECONDS, RATE, number), RATE, codec)
            (clips / f"{number:02}.txt").write_text(f"sound number {number}")
        bundle = folder / f"{suffix}.zip"
        with zipfile.ZipFile(bundle, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in sorted(clips.iterdir()):
                archive.write(path, path.name)
        for what, data in ((f"folder of {suffix}", clips), (f"zip of {suffix}", bundle)):
            command = [sys.executable, "-c", "from soundlora.cli.app import main; main()", "inspect", str(data)]
            walls, processor = [], []
            for _ in range(repeats + 1):
                before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
                subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
                walls.append(time.perf_counter() - began)
                after = resource.getrusage(resource.RUSAGE_CHILDREN)
                processor.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
            figures[what] = {"wall": statistics.median(walls[1:]), "processor": statistics.median(processor[1:])}
    return figures


def measure_memory(folder: Path) -> dict[int, int]:
    """Return, by the number of clips of 10 s, the most bytes that a process holds while it inspects them."""
    path = write(folder / "one.wav", sound(INSPECTED_SECONDS, RATE), RATE, "pcm_s16le")
    # A process inherits ru_maxrss from the larger one that started it, so another figure is read.
    code = "import sys; from table import peak_resident; from soundlora.dataset import inspect_dataset;"
    code += "assert len(inspect_dataset(sys.argv[1]).kept) == int(sys.argv[2]);"
    code += "print(peak_resident())"
    figures = {}
    for count in (10, 1_000):
        clips = folder / str(count)
        clips.mkdir()
        for number in range(count):
            os.link(path, clips / f"{number}.wav")
        command = [sys.executable, "-c", code, str(clips), str(count)]
        figures[count] = int(
            subprocess.run(command, check=True, capture_output=True, text=True, cwd=Path(__file__).parent).stdout
        )
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default="nano")
    parser.add_argument("--repeats", type=int, default=3)
    add_record(parser)
    arguments = parser.parse_args()
    # Processes that are started here inherit this.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        formats = measure_formats(folder, arguments.repeats)
        encoding = measure_encoding(arguments.base, arguments.repeats)
        inspected = measure_inspect(folder, arguments.repeats)
        memory = measure_memory(folder)
    speeds = [
        Figure(f"{name} | {column}", each[part], "× real time")
        for name, each in formats.items()
        for column, part in (("all of it", "all"), ("decoding", "decode"), ("fitting", "fit"), ("mel", "mel"))
    ]
    speeds.append(Figure(f"{arguments.base}'s audio VAE, mel included | all of it", encoding, "× real time"))
    title = f"Data sets: clips of {BUCKET:g} s, stereo, {RATE} Hz, one core"
    details: dict[str, Any] = {"base": arguments.base, "per_core": formats, "encoding": encoding}
    report("dataset", title, speeds, details, arguments.record)
    figures = []
    for what, times in inspected.items():
        figures.append(Figure(f"a {what}", times["wall"], "s", INSPECT_GOAL))
        figures.append(Figure(f"a {what}, processor time", times["processor"], "s"))
    figures += [Figure(f"memory, {count:,} clips", held / MB, "MB", MEMORY_GOAL) for count, held in memory.items()]
    title = f"soundlora inspect: {INSPECTED} clips of {INSPECTED_SECONDS:g} s"
    report("inspect", title, figures, {"seconds": inspected, "memory_bytes": memory}, arguments.record)


if __name__ == "__main__":
    main()
