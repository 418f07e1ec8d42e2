"""Sets of sounds are compared with clips."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from soundlora import InputError, figures
from soundlora.audio.wav import write_wav
from soundlora.pipeline.figures import Figure

RATE = 48_000


def write(folder: Path, make: str, count: int = 4, seed: int = 0) -> Path:
    """Write sounds of one kind, a second each, and their captions."""
    folder.mkdir(parents=True)
    for number in range(count):
        rng = np.random.default_rng((seed, number))
        time = np.arange(RATE) / RATE
        if make == "tones":
            one = 0.3 * np.sin(2 * np.pi * 440 * 2 ** rng.uniform(-0.1, 0.1) * time)
            sound = np.stack((one, one))
        elif make == "low tones":
            one = 0.3 * np.sin(2 * np.pi * 220 * 2 ** rng.uniform(-0.1, 0.1) * time)
            sound = np.stack((one, one))
        else:
            sound = 0.05 * rng.standard_normal((2, RATE))
        write_wav(folder / f"{number}.wav", torch.from_numpy(sound.astype(np.float32)), RATE)
        (folder / f"{number}.txt").write_text(make)
    return folder


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Figure]:
    root = tmp_path_factory.mktemp("sets")
    clips = write(root / "clips", "tones")
    sets = {
        "like": write(root / "like", "tones", seed=1),
        "lower": write(root / "lower", "low tones"),
        "noise": write(root / "noise", "noise"),
    }
    return {figure.name: figure for figure in figures(clips, sets)}


def test_each_set_is_described(table: dict[str, Figure]) -> None:
    pitched, width = table["with a pitch"], table["left and right"]
    assert pitched.clips is not None
    assert pitched.clips.value == 100
    for name, share, correlation in (("like", 100, 1), ("lower", 100, 1), ("noise", 0, 0)):
        found, wide = pitched.sets[name], width.sets[name]
        assert found is not None
        assert wide is not None
        assert found.value == pytest.approx(share, abs=3)
        assert wide.value == pytest.approx(correlation, abs=0.02)
    level = table["loudness"].clips
    assert level is not None
    assert level.value == pytest.approx(20 * np.log10(0.3) - 0.7, abs=0.5)  # a sine on both sides, by its amplitude
    onsets = table["onsets"].clips
    assert onsets is not None
    assert onsets.value == 0


def test_an_octave_is_twelve_semitones(table: dict[str, Figure]) -> None:
    lower, like = (table["pitch"].sets[name] for name in ("lower", "like"))
    assert lower is not None
    assert like is not None
    assert lower.value == pytest.approx(12, abs=1)
    assert like.value < 1
    assert table["pitch"].sets["noise"] is None


@pytest.mark.parametrize("name", ["spectrum", "latents, kernel distance", "latents, Fréchet distance"])
def test_the_set_of_the_same_kind_is_nearest(table: dict[str, Figure], name: str) -> None:
    found = {label: each.value for label, each in table[name].sets.items() if each is not None}
    assert min(found, key=lambda label: found[label]) == "like"
    assert max(found, key=lambda label: found[label]) == "noise"


def test_too_few_sounds_a_file_and_what_is_no_sound_are_told(tmp_path: Path) -> None:
    clips, one = write(tmp_path / "clips", "tones", 2), write(tmp_path / "one", "tones", 1)
    with pytest.raises(InputError, match=r"one has 1 sound files, but a set takes at least 2\."):
        figures(clips, {"one": one})
    with pytest.raises(InputError, match=r"0\.wav is a file; give the folder"):
        figures(clips / "0.wav", {"one": one})
    with pytest.raises(InputError, match=r"nowhere does not exist\."):
        figures(tmp_path / "nowhere", {"one": one})
    with pytest.raises(InputError, match=r"^sounds is .*, but it must be values by their names, as in "):
        figures(clips, [one])  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"^base is 3"):
        figures(clips, {"one": one}, base=3)  # type: ignore[arg-type]
    (one / "broken.wav").write_bytes(b"RIFF")
    with pytest.raises(InputError, match=r"broken\.wav can't be read: "):
        figures(clips, {"one": one})
    short = write(tmp_path / "short", "tones", 2)
    write_wav(short / "0.wav", torch.zeros(2, 10), RATE)
    with pytest.raises(InputError, match=r"0\.wav can't be compared: 4 samples are too few"):
        figures(clips, {"short": short})


def clap(folder: Path) -> Path:
    """Write a tiny CLAP model with random weights."""
    transformers = pytest.importorskip("transformers")
    tokenizers = pytest.importorskip("tokenizers")
    torch.manual_seed(0)
    config = transformers.ClapConfig(
        text_config={"vocab_size": 8, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
                     "intermediate_size": 16, "max_position_embeddings": 40, "projection_dim": 16, "pad_token_id": 1},
        audio_config={"patch_embeds_hidden_size": 16, "depths": [1, 1], "num_attention_heads": [2, 2],
                      "hidden_size": 32, "num_hidden_layers": 2, "projection_dim": 16, "spec_size": 64,
                      "num_mel_bins": 16, "window_size": 4, "patch_size": 4, "patch_stride": [4, 4],
                      "enable_fusion": False},
        projection_dim=16,
    )  # fmt: skip
    transformers.ClapModel(config).eval().save_pretrained(folder)
    words = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "tones": 4, "low": 5, "noise": 6, "<mask>": 7}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="<unk>",
        mask_token="<mask>", model_max_length=32,
    )  # fmt: skip
    extractor = transformers.ClapFeatureExtractor(
        feature_size=16, sampling_rate=RATE, max_length_s=1, truncation="rand_trunc", padding="repeatpad"
    )
    transformers.ClapProcessor(extractor, fast).save_pretrained(folder)
    return folder


def test_a_clap_model_on_disk_hears_and_reads(tmp_path: Path) -> None:
    clips, noise = write(tmp_path / "clips", "tones"), write(tmp_path / "noise", "noise")
    (noise / "0.txt").unlink()
    found = {figure.name: figure for figure in figures(clips, {"noise": noise}, judge=clap(tmp_path / "clap"))}
    score, distance = found["CLAP score"].sets["noise"], found["CLAP, kernel distance"].sets["noise"]
    assert score is not None
    assert distance is not None
    assert -100 <= score.value <= 100
    floor = found["CLAP, kernel distance"].clips
    assert floor is not None
    assert distance.value > floor.value
    assert found["CLAP, Fréchet distance (FAD)"].sets["noise"] is not None


def test_a_judge_that_is_none_is_told(tmp_path: Path) -> None:
    clips = write(tmp_path / "clips", "tones", 2)
    with pytest.raises(InputError, match=r"is no folder; a CLAP model's is needed"):
        figures(clips, {"same": clips}, judge=tmp_path / "nowhere")
    with pytest.raises(InputError, match="can't be loaded as a CLAP model: "):
        figures(clips, {"same": clips}, judge=clips)


@pytest.mark.parametrize(
    ("sounds", "sentence", "field"),
    [
        ({"gone": "nowhere"}, "nowhere does not exist.", "sounds"),
        ({}, "sounds names no folder; give one or several.", "sounds"),
    ],
)
def test_a_wrong_folder_is_told_before_a_base_is_opened_and_clips_are_heard(
    tmp_path: Path, sounds: dict[str, str], sentence: str, field: str
) -> None:
    clips = write(tmp_path / "clips", "tones", 2)
    with pytest.raises(InputError) as refused:
        figures(clips, sounds, base="no-such-base")
    assert (str(refused.value), refused.value.field) == (sentence, field)
