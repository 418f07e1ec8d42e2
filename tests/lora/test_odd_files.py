"""LoRA files as other programs and other accidents leave them. Each holds the same update of one layer of nano."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from support import FIXTURES, Cli

from soundlora.errors import InputError
from soundlora.lora.adapter import Adapter
from soundlora.lora.file import Lora, read_lora
from soundlora.lora.names import parse_key
from soundlora.weights.base import open_base

LORAS = FIXTURES / "loras"
MODULE = "transformer_blocks.0.audio_attn1.to_q"


def update(lora: Lora) -> torch.Tensor:
    a, b = lora.pairs[MODULE]
    return b.double() @ a.double()


@pytest.fixture(scope="module")
def plain() -> torch.Tensor:
    return update(read_lora(LORAS / "plain.safetensors"))


@pytest.mark.parametrize(
    "name",
    ["transformer_base_model.safetensors", "model_diffusion_model.safetensors", "adapter_named_default_0.safetensors"],
)
def test_no_prefix_and_no_adapters_name_hides_a_pair(name: str, plain: torch.Tensor) -> None:
    found = read_lora(LORAS / name)
    assert list(found.pairs) == [MODULE]
    torch.testing.assert_close(update(found), plain)


@pytest.mark.parametrize(
    "prefix",
    [
        "",
        "diffusion_model.",
        "model.diffusion_model.",
        "transformer.",
        "base_model.model.",
        "transformer.base_model.model.",
        "base_model.model.diffusion_model.",
        "unet.base_model.model.model.diffusion_model.",
        "something.nobody.has.seen.",
    ],
)
@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("lora_A.weight", "lora_B.weight"),
        ("lora_A.default.weight", "lora_B.default.weight"),
        ("lora_A.my-voice_2.weight", "lora_B.my-voice_2.weight"),
        ("lora_down.weight", "lora_up.weight"),
        ("lora.down.weight", "lora.up.weight"),
        ("lora_linear_layer.down.weight", "lora_linear_layer.up.weight"),
        ("lora_A", "lora_B"),
    ],
)
def test_prefixes_and_names_of_matrices_go_together_as_they_like(prefix: str, a: str, b: str) -> None:
    for name, part in ((a, "A"), (b, "B")):
        parsed = parse_key(f"{prefix}{MODULE}.{name}")
        assert (parsed.module, parsed.audio, parsed.part) == (MODULE, True, part)


@pytest.mark.parametrize(
    "key",
    [
        "diffusion_model.transformer_blocks.0.attn1.to_q.lora_A.weight",
        "diffusion_model.transformer_blocks.0.audio_attn1.to_x.lora_A.weight",
        "diffusion_model.transformer_blocks.0.audio_attn1.lora_A.weight",
        "lora_unet_transformer_blocks_0_attn1_to_q.lora_down.weight",
    ],
)
def test_what_is_no_module_of_the_audio_stream_stays_none(key: str) -> None:
    assert not parse_key(key).audio


def test_the_folder_that_peft_saves_is_read_with_its_scale(plain: torch.Tensor) -> None:
    """Its alpha is half of its rank, and its B twice as large."""
    torch.testing.assert_close(update(read_lora(LORAS / "peft_folder")), plain, rtol=1e-3, atol=1e-6)


def test_several_adapters_in_one_file_are_named(tmp_path: Path) -> None:
    tensors = load_file(LORAS / "adapter_named_default_0.safetensors")
    more = {key.replace("default_0", "night"): tensor.clone() for key, tensor in tensors.items()}
    save_file(tensors | more, tmp_path / "two.safetensors")
    with pytest.raises(InputError, match=r"holds several adapters \(default_0, night\); save the one"):
        read_lora(tmp_path / "two.safetensors")


def test_integers_without_scales_are_refused() -> None:
    with pytest.raises(InputError, match="as int8 without scales"):
        read_lora(LORAS / "int8_without_scales.safetensors")


def test_the_files_own_type_is_told(soundlora: Cli, plain: torch.Tensor) -> None:
    found = read_lora(LORAS / "float8.safetensors")
    assert (found.stored, found.dtype) == ("float8_e4m3fn", torch.bfloat16)
    torch.testing.assert_close(update(found), plain, rtol=0.2, atol=0.2 * float(plain.abs().max()))
    assert "float8_e4m3fn" in soundlora("lora", "info", LORAS / "float8.safetensors").out


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("login_page.safetensors", "is a web page, such as one for logging in"),
        ("torch_pickle.safetensors", r"is a file of torch\.save \(a pickle, which can run programs\)"),
    ],
)
def test_what_is_no_lora_is_named_for_what_it_is(name: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        read_lora(LORAS / name)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\n", "only a pointer of Git LFS"),
        (b"\x80\x04\x95", "a pickle"),
        (b"no such thing at all", "is not a safetensors file"),
    ],
)
def test_other_files_are_named_too(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "lora.safetensors"
    path.write_bytes(content)
    with pytest.raises(InputError, match=words):
        read_lora(path)


@pytest.mark.parametrize(("length", "words"), [(100, r"cut off: its header alone takes \d+ bytes"), (900, "cut off")])
def test_a_download_that_stopped_is_said_to_be_cut_off(tmp_path: Path, length: int, words: str) -> None:
    path = tmp_path / "lora.safetensors"
    path.write_bytes((LORAS / "plain.safetensors").read_bytes()[:length])
    with pytest.raises(InputError, match=words):
        read_lora(path)


def test_an_update_far_larger_than_its_weights_gets_a_warning(tmp_path: Path) -> None:
    tensors = load_file(LORAS / "plain.safetensors")
    model = open_base("nano").transformer(torch.device("cpu"))
    path = tmp_path / "large.safetensors"
    for times, warned in ((1.0, False), (1000.0, True)):
        save_file({key: tensor.float() * times for key, tensor in tensors.items()}, path)
        adapter = Adapter.attach(model, read_lora(path).pairs)
        assert bool(adapter.doubts()) == warned
        adapter.detach()


def test_a_lora_that_can_not_be_used_is_found_before_anything_is_loaded(
    soundlora: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(*args: object, **kwargs: object) -> None:
        raise AssertionError("a base was loaded")

    monkeypatch.setattr("soundlora.weights.base.Base.transformer", load)
    monkeypatch.setattr("soundlora.weights.base.Base.codec", load)
    wrong = tmp_path / "wrong.safetensors"
    shutil.copy(LORAS / "plain.safetensors", wrong)
    save_file(
        {key: tensor[:, :5].contiguous() if "lora_A" in key else tensor for key, tensor in load_file(wrong).items()},
        wrong,
    )
    for arguments, words in (
        (["--lora", tmp_path / "mistyped.safetensors"], "There is no LoRA at"),
        (["--lora", LORAS / "login_page.safetensors"], "is a web page"),
        (["--lora", wrong], "192×5, but this base has 192×192"),
        (["--duration", "100"], "--duration is 100.0, but it must be from 0.1 to 60"),
        (["--steps", "0"], "--steps is 0, but it must be from 1 to 1000"),
    ):
        outcome = soundlora("generate", "--prompt", "rain", "--out", tmp_path / "x.wav", *arguments)
        assert outcome.code == 2
        assert words in outcome.err
