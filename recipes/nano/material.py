"""Free tools make material for training the codec: FluidSynth plays random MIDI, eSpeak NG speaks random sentences.

Every piece is 10 to 20 s long, and is written as a 48 kHz, stereo, 16-bit wav file.
"""

from __future__ import annotations

import argparse
import shutil
import struct
import subprocess
import tempfile
import wave
from pathlib import Path

import numpy as np
from scipy.io import wavfile
from scipy.signal import resample_poly

SAMPLE_RATE = 48_000
SOUND_FONT = Path("/usr/share/sounds/sf2/FluidR3_GM.sf2")
TICKS_PER_BEAT = 480
DRUM_CHANNEL = 9
SCALES: tuple[tuple[int, ...], ...] = (
    (0, 2, 4, 5, 7, 9, 11),
    (0, 2, 3, 5, 7, 8, 10),
    (0, 2, 4, 7, 9),
    (0, 3, 5, 7, 10),
    (0, 2, 3, 5, 7, 9, 10),
    (0, 1, 4, 5, 7, 8, 11),
)
VOICES = ("en-us", "en-gb", "en-gb-scotland", "en-gb-x-rp", "en-029")
VARIANTS = (
    "",
    "+m1",
    "+m2",
    "+m3",
    "+m4",
    "+m5",
    "+m6",
    "+m7",
    "+f1",
    "+f2",
    "+f3",
    "+f4",
    "+f5",
    "+croak",
    "+whisper",
)
WORD_LIST = """
    about above across after again against air almost alone along already always among animal answer apple around
    arrow autumn awake basket beach because before begin behind below better between beyond bicycle blue board bottle
    branch bread bridge bright brother brown build butter button careful carry castle catch chair change cheese child
    circle city clean clear cloud coffee cold color copper corner country cousin cross crowd dance danger daughter deep
    desert different dinner distant doctor double dream drive during eagle early earth east easy edge eight engine
    enough evening every example family farm father feather field fifteen finger finish fire flower follow forest forget
    forty found fresh friend frozen fruit garden gentle giant glass golden grass green ground happy harbor heavy hidden
    honey horse house hundred island jacket journey judge jump kitchen knife ladder language large later laugh leather
    letter light listen little lonely machine market matter measure middle minute mirror money morning mother mountain
    music narrow nature never night nothing number ocean often orange other paper pencil people picture planet please
    pocket purple question quick quiet rabbit railway rather reason river rough round school season second seven shadow
    sharp shelter shoulder silver simple sister sleep slowly small smooth snow soldier something song south speak spring
    square station still stone storm story straight strange street strong sudden sugar summer surface table teacher
    thank their thirsty thousand thread through thunder today together tomorrow travel treasure twelve under until
    usual valley very village visit voice water weather welcome wheel where which whisper window winter without wonder
    wooden work world yellow yesterday young
"""
WORDS: tuple[str, ...] = tuple(WORD_LIST.split())


def render_instruments(out_dir: Path, minutes: float, seed: int) -> list[Path]:
    """Render ``minutes`` of random General MIDI music into ``out_dir`` and return the wav files.

    Raises RuntimeError when FluidSynth or its General MIDI sound font is not installed.
    """
    _require("fluidsynth", "fluidsynth fluid-soundfont-gm")
    if not SOUND_FONT.is_file():
        raise RuntimeError(
            f"{SOUND_FONT} is missing; install it with: apt-get install -y --no-install-recommends fluid-soundfont-gm"
        )
    out_dir.mkdir(parents=True, exist_ok=True)
    files: list[Path] = []
    rendered = 0.0
    while rendered < minutes * 60:
        index = len(files)
        rng = np.random.default_rng([seed, index])
        seconds = float(rng.uniform(10, 20))
        target = out_dir / f"instruments_{seed}_{index:05d}.wav"
        with tempfile.TemporaryDirectory() as folder:
            midi, raw = Path(folder) / "piece.mid", Path(folder) / "piece.wav"
            midi.write_bytes(random_midi(rng, seconds))
            gain = f"{rng.uniform(0.3, 0.7):.2f}"
            command = ["fluidsynth", "-ni", "-q", "-g", gain, "-r", str(SAMPLE_RATE), "-T", "wav", "-O", "s16"]
            _call([*command, "-F", str(raw), str(SOUND_FONT), str(midi)])
            rate, samples = wavfile.read(raw)
        if rate != SAMPLE_RATE:
            raise RuntimeError(f"fluidsynth wrote {rate} Hz instead of {SAMPLE_RATE} Hz")
        samples = samples[: int(seconds * SAMPLE_RATE)]
        _write_wav(target, samples.astype(np.float32).T / 32768.0)
        files.append(target)
        rendered += len(samples) / SAMPLE_RATE
    return files


def render_speech(out_dir: Path, minutes: float, seed: int) -> list[Path]:
    """Speak ``minutes`` of sentences of random English words into ``out_dir`` and return the wav files.

    Raises RuntimeError when eSpeak NG is not installed.
    """
    _require("espeak-ng", "espeak-ng")
    out_dir.mkdir(parents=True, exist_ok=True)
    files: list[Path] = []
    rendered = 0.0
    while rendered < minutes * 60:
        index = len(files)
        rng = np.random.default_rng([seed, index])
        voice = str(rng.choice(VOICES)) + str(rng.choice(VARIANTS))
        speed = int(rng.integers(110, 230))
        text = random_sentences(rng, words=int(speed / 60 * rng.uniform(10, 16)))
        target = out_dir / f"speech_{seed}_{index:05d}.wav"
        with tempfile.TemporaryDirectory() as folder:
            raw = Path(folder) / "speech.wav"
            _call(["espeak-ng", "-v", voice, "-s", str(speed), "-p", str(rng.integers(10, 90)), "-w", str(raw), text])
            rate, samples = wavfile.read(raw)
        audio = resample_poly(samples.astype(np.float32) / 32768.0, SAMPLE_RATE // 50, rate // 50)[: 20 * SAMPLE_RATE]
        pan = rng.uniform(0.35, 0.65)
        stereo = np.stack([audio * np.cos(pan * np.pi / 2), audio * np.sin(pan * np.pi / 2)])
        stereo *= rng.uniform(0.3, 0.95) / max(1e-6, float(np.abs(stereo).max()))
        _write_wav(target, stereo)
        files.append(target)
        rendered += stereo.shape[1] / SAMPLE_RATE
    return files


def random_sentences(rng: np.random.Generator, words: int) -> str:
    """Return ``words`` random English words, cut into sentences of 4 to 11 words."""
    sentences: list[str] = []
    while words > 0:
        length = int(rng.integers(4, 12))
        sentence = " ".join(str(word) for word in rng.choice(WORDS, size=length))
        sentences.append(sentence.capitalize() + str(rng.choice([".", ".", "?", "!"])))
        words -= length
    return " ".join(sentences)


def random_midi(rng: np.random.Generator, seconds: float) -> bytes:
    """Return a format-0 MIDI file of random parts: solo lines, chords and drums over ``seconds`` of music."""
    beats_per_minute = float(rng.uniform(60, 170))
    beats = seconds * beats_per_minute / 60
    events: list[tuple[int, bytes]] = [
        (0, b"\xff\x51\x03" + int(60_000_000 / beats_per_minute).to_bytes(3, "big")),
    ]
    scale = SCALES[int(rng.integers(len(SCALES)))]
    root = int(rng.integers(36, 60))
    layout = str(rng.choice(["solo", "chords", "duo", "band", "drums"], p=[0.3, 0.15, 0.15, 0.2, 0.2]))
    if layout in ("drums", "band"):
        events += _drum_part(rng, beats)
    if layout in ("solo", "duo", "band"):
        events += _line_part(rng, 0, beats, root + 12 * int(rng.integers(0, 3)), scale)
    if layout == "duo":
        events += _line_part(rng, 1, beats, root, scale)
    if layout in ("chords", "band"):
        events += _chord_part(rng, 2, beats, root + 12, scale)
    return _midi_file(events)


def _line_part(
    rng: np.random.Generator, channel: int, beats: float, root: int, scale: tuple[int, ...]
) -> list[tuple[int, bytes]]:
    """Return a monophonic line that walks up and down the scale, with rests."""
    events = _channel_setup(rng, channel)
    step, beat = int(rng.integers(0, len(scale))), 0.0
    unit = float(rng.choice([0.25, 0.5, 0.5, 1.0, 2.0]))
    while beat < beats:
        length = unit * float(rng.choice([1, 1, 1, 2, 3]))
        if rng.random() > 0.12 or beat == 0.0:
            step = int(np.clip(step + rng.integers(-3, 4), -3, 2 * len(scale)))
            pitch = root + 12 * (step // len(scale)) + scale[step % len(scale)]
            events += _note(channel, beat, length * rng.uniform(0.5, 1.0), pitch, int(rng.integers(50, 120)))
        beat += length
    return events


def _chord_part(
    rng: np.random.Generator, channel: int, beats: float, root: int, scale: tuple[int, ...]
) -> list[tuple[int, bytes]]:
    """Return stacked chords on random scale degrees, at times broken into arpeggios."""
    events = _channel_setup(rng, channel)
    length = float(rng.choice([1.0, 2.0, 4.0]))
    spread = float(rng.choice([0.0, 0.0, 0.05, 0.25]))
    for beat in np.arange(0.0, beats, length):
        degree = int(rng.integers(len(scale)))
        for position, offset in enumerate((0, 2, 4, 6)[: int(rng.integers(2, 5))]):
            step = degree + offset
            pitch = root + 12 * (step // len(scale)) + scale[step % len(scale)]
            start = float(beat) + position * spread
            events += _note(channel, start, length * 0.9, pitch, int(rng.integers(45, 100)))
    return events


def _drum_part(rng: np.random.Generator, beats: float) -> list[tuple[int, bytes]]:
    """Return a repeated one-bar pattern on several percussion keys with varied velocity."""
    keys = np.concatenate([[36, 38, 42], rng.choice(np.arange(35, 82), size=int(rng.integers(0, 4)), replace=False)])
    patterns = {int(key): rng.random(16) < rng.uniform(0.1, 0.5) for key in keys}
    patterns[36][0] = True
    events: list[tuple[int, bytes]] = []
    for step in range(int(beats * 4)):
        for key, pattern in patterns.items():
            if pattern[step % 16]:
                events += _note(DRUM_CHANNEL, step / 4, 0.2, key, int(rng.integers(50, 120)))
    return events


def _channel_setup(rng: np.random.Generator, channel: int) -> list[tuple[int, bytes]]:
    """Return a random General MIDI program, pan and reverb send for one channel."""
    return [
        (0, bytes([0xC0 | channel, int(rng.integers(0, 128))])),
        (0, bytes([0xB0 | channel, 10, int(rng.integers(24, 104))])),
        (0, bytes([0xB0 | channel, 91, int(rng.integers(0, 100))])),
    ]


def _note(channel: int, beat: float, length: float, pitch: int, velocity: int) -> list[tuple[int, bytes]]:
    pitch = int(np.clip(pitch, 20, 108))
    start = int(beat * TICKS_PER_BEAT)
    end = start + max(1, int(length * TICKS_PER_BEAT))
    return [(start, bytes([0x90 | channel, pitch, velocity])), (end, bytes([0x80 | channel, pitch, 0]))]


def _midi_file(events: list[tuple[int, bytes]]) -> bytes:
    """Serialise (tick, message) pairs as a single-track standard MIDI file."""
    body, previous = bytearray(), 0
    # Note-offs sort before note-ons of the same tick, so that a repeated pitch is not cut off at its start.
    for tick, message in sorted(events, key=lambda event: (event[0], (event[1][0] & 0xF0) == 0x90)):
        body += _variable_length(tick - previous) + message
        previous = tick
    body += b"\x00\xff\x2f\x00"
    return (
        b"MThd" + struct.pack(">IHHH", 6, 0, 1, TICKS_PER_BEAT) + b"MTrk" + struct.pack(">I", len(body)) + bytes(body)
    )


def _variable_length(value: int) -> bytes:
    """Return MIDI's variable-length quantity: seven bits a byte, with the high bit set on all but the last."""
    digits = [value & 0x7F]
    while value := value >> 7:
        digits.append(0x80 | (value & 0x7F))
    return bytes(reversed(digits))


def _write_wav(path: Path, audio: np.ndarray) -> None:
    """Write float audio of shape (2, samples) in [-1, 1] as a 16-bit wav file."""
    samples = np.clip(np.round(audio.T * 32767.0), -32768, 32767).astype("<i2")
    with wave.open(str(path), "wb") as handle:
        handle.setnchannels(2)
        handle.setsampwidth(2)
        handle.setframerate(SAMPLE_RATE)
        handle.writeframes(samples.tobytes())


def _require(program: str, packages: str) -> None:
    if shutil.which(program) is None:
        raise RuntimeError(
            f"{program} is missing; install it with: apt-get install -y --no-install-recommends {packages}"
        )


def _call(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]} failed with status {done.returncode}: {done.stderr.strip()}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out_dir", type=Path)
    parser.add_argument("--instrument-minutes", type=float, default=45.0)
    parser.add_argument("--speech-minutes", type=float, default=8.0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    render_instruments(options.out_dir / "instruments", options.instrument_minutes, options.seed)
    render_speech(options.out_dir / "speech", options.speech_minutes, options.seed)


if __name__ == "__main__":
    main()
