"""Captioners: functions that are named, and a model of transformers."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from support import MakeTone, WriteAudio

from soundlora.dataset import captioners
from soundlora.dataset.captioners import captioner_of
from soundlora.errors import InputError


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that one works in, for modules of captioners."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return tmp_path


def test_a_function_of_a_module_beside_is_found_and_given_the_model(module: Path) -> None:
    (module / "my_captions_1.py").write_text(
        "def describe(path, model='none'):\n    return f'{path.stem} by {model}'\n"
    )
    assert captioner_of("my_captions_1:describe")(Path("x/rain.wav")) == "rain by none"
    assert captioner_of("my_captions_1:describe", "m")(Path("x/rain.wav")) == "rain by m"


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("my_captions", "", r"captioner is 'my_captions', but it must be MODULE:FUNCTION"),
        ("my_captions:", "", r"must be MODULE:FUNCTION"),
        (":f", "", r"must be MODULE:FUNCTION"),
        ("my_captions_none:f", None, r"my_captions_none:f can't be imported: No module named 'my_captions_none'\."),
        ("my_captions_2:f", "1 / 0", r"my_captions_2:f can't be imported: division by zero\."),
        ("my_captions_3:f", "f = 3", r"module my_captions_3 has no function f\."),
        ("my_captions_4:g", "f = 3", r"module my_captions_4 has no function g\."),
    ],
)
def test_what_is_no_captioner_is_refused(name: str, content: str | None, words: str, module: Path) -> None:
    if content is not None:
        (module / f"{name.partition(':')[0] or 'x'}.py").write_text(content)
    with pytest.raises(InputError, match=words) as error:
        captioner_of(name)
    assert error.value.field == "captioner"


@pytest.mark.parametrize(("rate", "wanted"), [(48_000, 16_000), (44_100, 16_000), (8_000, 16_000), (16_000, 16_000)])
def test_sound_comes_to_the_models_rate(rate: int, wanted: int, tone: MakeTone) -> None:
    samples = captioners._resampled(tone(1.0, rate, frequency=1000.0)[0], rate, wanted)
    assert samples.shape[0] == pytest.approx(wanted, abs=32)
    spectrum = np.abs(np.fft.rfft(samples))
    assert spectrum.argmax() * wanted / len(samples) == pytest.approx(1000, abs=5)


@pytest.fixture(scope="module")
def tiny_whisper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Whisper of random weights, a few layers wide, whose words are the letters a to z."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import (
        PreTrainedTokenizerFast,
        WhisperConfig,
        WhisperFeatureExtractor,
        WhisperForConditionalGeneration,
    )

    folder = tmp_path_factory.mktemp("whisper")
    words = ["<pad>", "<s>", "</s>", *(chr(97 + number) for number in range(26))]
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, "<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>"
    ).save_pretrained(folder)
    WhisperFeatureExtractor(feature_size=16).save_pretrained(folder)
    config = WhisperConfig(
        vocab_size=len(words), num_mel_bins=16, d_model=16, encoder_layers=1, decoder_layers=1,
        encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16,
        max_target_positions=16, pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1,
        suppress_tokens=[], begin_suppress_tokens=[0, 1, 2],
    )  # fmt: skip
    torch.manual_seed(1)
    model = WhisperForConditionalGeneration(config)
    model.generation_config.update(
        max_new_tokens=4, suppress_tokens=[0, 1, 2], begin_suppress_tokens=[0, 1, 2], pad_token_id=0, eos_token_id=2,
    )  # fmt: skip
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def tiny_wav2vec(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Wav2Vec2 of random weights that says a letter for every frame."""
    import torch
    from transformers import Wav2Vec2Config, Wav2Vec2CTCTokenizer, Wav2Vec2FeatureExtractor, Wav2Vec2ForCTC

    folder = tmp_path_factory.mktemp("wav2vec")
    words = ["<pad>", "<unk>", "|", *(chr(97 + number) for number in range(26))]
    (folder / "vocab.json").write_text(json.dumps({word: number for number, word in enumerate(words)}))
    tokenizer = Wav2Vec2CTCTokenizer(str(folder / "vocab.json"), bos_token=None, eos_token=None)
    tokenizer.save_pretrained(folder)
    Wav2Vec2FeatureExtractor().save_pretrained(folder)
    config = Wav2Vec2Config(
        vocab_size=len(words), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        conv_dim=(8, 8), conv_stride=(80, 8), conv_kernel=(80, 8), num_feat_extract_layers=2,
        num_conv_pos_embeddings=4, num_conv_pos_embedding_groups=2, pad_token_id=0,
    )  # fmt: skip
    torch.manual_seed(1)
    net = Wav2Vec2ForCTC(config)
    with torch.no_grad():
        net.lm_head.bias[:3] = -10.0  # so that it says letters
    net.save_pretrained(folder)
    return folder


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("model", ["tiny_whisper", "tiny_wav2vec"])
def test_a_model_of_transformers_that_lies_on_the_disk_listens(
    model: str, request: pytest.FixtureRequest, tmp_path: Path, tone: MakeTone, write_audio: WriteAudio
) -> None:
    path = write_audio(tmp_path / "a.wav", tone(0.6, 44_100, channels=2), 44_100)
    captioner = captioner_of("soundlora.dataset.captioners:transformers", str(request.getfixturevalue(model)))
    said = captioner(path)
    assert said.replace(" ", "").isalpha(), said
    assert captioner(path) == said


@pytest.mark.filterwarnings("default")
def test_without_a_model_there_is_nothing_to_listen_with(tmp_path: Path) -> None:
    for model, words in (("", "No model is no folder"), ("owner/name", "owner/name is no folder")):
        with pytest.raises(InputError, match=words):
            captioners.transformers(tmp_path / "a.wav", model)
    with pytest.raises(InputError, match="holds no model that turns sound into text"):
        captioners.transformers(tmp_path / "a.wav", str(tmp_path))


def test_without_the_library_one_is_told_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(InputError, match="needs the library transformers; pip install transformers"):
        captioners.transformers(tmp_path / "a.wav", str(tmp_path))


def test_transformers_is_imported_where_it_is_asked_for_alone() -> None:
    import subprocess

    code = "import soundlora.dataset.captioners, sys; assert not {'transformers', 'torch'} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], check=True)
