from __future__ import annotations

from pathlib import Path

import pytest
import soundfile
import torch
from parity.runners import fresh_transformer
from support import BaseNames, Cli, assert_refused

from soundlora.cli.generate import paths_of, seeds_of
from soundlora.errors import InputError
from soundlora.lora.adapter import Adapter
from soundlora.pipeline.generate import Generator

QUICK = ["--prompt", "rain", "--duration", "0.4", "--steps", "1", "--cfg", "1", "--stg", "0"]


def lora(path: Path, seed: int) -> Path:
    adapter = Adapter.create(fresh_transformer(), 8, seed=seed)
    with torch.no_grad():
        for layer in adapter.layers.values():
            layer.lora_B.normal_(std=0.3)
    adapter.save(path, {})
    return path


@pytest.mark.parametrize(
    ("seed", "count", "seeds"),
    [("5", None, [5]), ("5", 1, [5]), ("5", 3, [5, 6, 7]), ("1-3", None, [1, 2, 3]), ("4-4", None, [4])],
)
def test_takes_have_seeds_one_after_the_other(seed: str, count: int | None, seeds: list[int]) -> None:
    assert seeds_of(seed, count) == seeds


@pytest.mark.parametrize(
    ("seed", "count", "sentence"),
    [
        ("many", None, "--seed is 'many', but it must be a whole number, or a range such as 1-8."),
        ("-1", None, "--seed is '-1'"),
        ("8-1", None, "seeds must rise"),
        (str(2**63), None, "be 9223372036854775807 at most"),
        (str(2**63 - 1), 2, "be 9223372036854775807 at most"),
        ("1-8", 8, "--seed 1-8 says already how many takes are made; leave out --count"),
        ("1", 0, "--count is 0, but it must be 1 or more"),
        ("0-9000000000000000000", None, "but 1000 at most are made at a time"),
    ],
)
def test_takes_that_cannot_be_made_are_refused(seed: str, count: int | None, sentence: str) -> None:
    with pytest.raises(InputError) as raised:
        seeds_of(seed, count)
    assert sentence in str(raised.value)


def test_each_take_has_a_file_of_its_own(tmp_path: Path) -> None:
    out = tmp_path / "rain.flac"
    assert paths_of(out, 1, several=False) == [out]
    assert [path.name for path in paths_of(out, 2, several=True)] == ["rain-1.flac", "rain-2.flac"]


def test_several_loras_add_up_each_at_its_strength(soundlora: Cli, quick_base: BaseNames, tmp_path: Path) -> None:
    one, two = (lora(tmp_path / f"{seed}.safetensors", seed) for seed in (1, 2))
    out = tmp_path / "rain.flac"
    flags = ["--lora", f"{one}:0.7", "--lora", two, "--strength", "0.4", "--seed", "3"]
    outcome = soundlora("generate", *QUICK, *flags, "--out", out, *quick_base.flags)
    assert outcome.code == 0, outcome.err
    generator = Generator(quick_base.checkpoint, [(one, 0.7), (two, 0.4)], text_encoder=quick_base.encoder)
    expected = generator("rain", duration=0.4, steps=1, cfg=1.0, stg=0.0, seed=3).waveform
    samples, rate = soundfile.read(out, dtype="float32")
    assert rate == 48_000
    torch.testing.assert_close(torch.from_numpy(samples.T), expected.clamp(-1, 1), atol=2.0**-22, rtol=0)


@pytest.mark.parametrize("flags", [["--seed", "7", "--count", "2"], ["--seed", "7-8"]])
def test_takes_are_what_their_seeds_give_alone(
    soundlora: Cli, quick_base: BaseNames, tmp_path: Path, flags: list[str]
) -> None:
    out = tmp_path / "rain.wav"
    outcome = soundlora("generate", *QUICK, *flags, "--out", out, *quick_base.flags)
    assert outcome.code == 0, outcome.err
    said = [line for line in outcome.out.splitlines() if "stereo" in line]
    assert said == [f"{tmp_path / f'rain-{n}.wav'}: 0.37 s, 48000 Hz stereo, seed {6 + n}" for n in (1, 2)]
    assert outcome.out.splitlines()[-1].startswith("2 takes in ")
    assert not out.exists()
    alone = soundlora("generate", *QUICK, "--seed", "8", "--out", out, *quick_base.flags)
    assert alone.code == 0, alone.err
    assert out.read_bytes() == (tmp_path / "rain-2.wav").read_bytes() != (tmp_path / "rain-1.wav").read_bytes()


def test_a_file_that_is_there_is_only_replaced_when_that_was_asked_for(
    soundlora: Cli, quick_base: BaseNames, tmp_path: Path
) -> None:
    out = tmp_path / "rain.wav"
    out.write_bytes(b"mine")
    outcome = soundlora("generate", *QUICK, "--base", "no-such-base", "--out", out)
    assert_refused(outcome, f"{out} exists already; replace what is there with --overwrite")
    (tmp_path / "rain-2.wav").touch()
    (tmp_path / "rain-3.wav").touch()
    outcome = soundlora("generate", *QUICK, "--base", "no-such-base", "--out", out, "--count", "3")
    assert_refused(outcome, f"{tmp_path / 'rain-2.wav'} and 1 more exist already")
    assert out.read_bytes() == b"mine"
    assert soundlora("generate", *QUICK, "--out", out, "--overwrite", *quick_base.flags).code == 0
    assert soundfile.info(out).samplerate == 48_000


def test_an_ending_that_is_no_format_is_refused_before_anything_is_loaded(soundlora: Cli, tmp_path: Path) -> None:
    outcome = soundlora("generate", *QUICK, "--base", "no-such-base", "--out", tmp_path / "rain.m4a")
    assert_refused(outcome, "rain.m4a doesn't end in the name of a format; end it in .wav, .flac, .ogg or .mp3")


def test_kept_samples_of_a_source_stay_right_in_every_format(
    soundlora: Cli, quick_base: BaseNames, tmp_path: Path
) -> None:
    """The source has 24 bits at a rate that MP3 lacks, and is mended at one place."""
    rate, source = 96_000, tmp_path / "source.flac"
    time = torch.arange(rate) / rate
    soundfile.write(source, (0.5 * torch.sin(440 * 6.2832 * time)).numpy(), rate, "PCM_24")
    kept, _ = soundfile.read(source, dtype="float32")
    flags = ["--prompt", "rain", "--steps", "1", "--cfg", "1", "--stg", "0", "--mend", source, "--spans", "0.7-0.8"]
    for ending, written, tolerance in ((".flac", rate, 2.0**-23), (".wav", rate, 2.0**-14), (".mp3", 48_000, 0.05)):
        out = tmp_path / f"mended{ending}"
        outcome = soundlora("generate", *flags, "--out", out, *quick_base.flags)
        assert outcome.code == 0, outcome.err
        samples, found = soundfile.read(out, dtype="float32")
        assert found == written
        expected = torch.from_numpy(kept[: rate // 2 : rate // written].copy())
        delays = range(0, 2400) if ending == ".mp3" else (0,)  # its encoder and decoder put some silence before it
        sound = torch.from_numpy(samples)
        error = min((sound[d + 2000 : d + 12_000] - expected[2000:12_000]).abs().max().item() for d in delays)
        assert error <= tolerance, ending
