from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from parity.runners import fresh_transformer
from safetensors.torch import load_file, save_file
from torch import Tensor

from soundlora.errors import InputError
from soundlora.lora.adapter import Adapter, load_lora
from soundlora.lora.file import read_lora, write_lora
from soundlora.lora.names import WRITTEN_NAMINGS, WrittenNaming, written_keys
from soundlora.lora.pair import Pair
from soundlora.lora.targets import target_names

MODULE = "transformer_blocks.0.audio_attn1.to_q"
RANK = 4


def random_pairs(rank: int = RANK, seed: int = 0) -> dict[str, Pair]:
    """For every target of the tiny model, in values that bf16 holds."""
    model = fresh_transformer()
    generator = torch.Generator().manual_seed(seed)
    pairs = {}
    for name in target_names(model):
        outputs, inputs = model.get_parameter(f"{name}.weight").shape
        a, b = (0.1 * torch.randn(shape, generator=generator) for shape in ((rank, inputs), (outputs, rank)))
        pairs[name] = (a.bfloat16().float(), b.bfloat16().float())
    return pairs


def update(pair: Pair) -> Tensor:
    return pair[1].float() @ pair[0].float()


def assert_same_updates(found: dict[str, Pair], expected: dict[str, Pair], factor: float = 1) -> None:
    assert found.keys() == expected.keys()
    for name, pair in expected.items():
        torch.testing.assert_close(update(found[name]), factor * update(pair), atol=1e-6, rtol=1e-5)


def foreign(
    path: Path, a: str, b: str, *, extra: dict[str, Tensor] | None = None, metadata: dict[str, str] | None = None
) -> Path:
    """A file with the random pairs under names made of {module}, or {flat}, its name without dots."""
    tensors = dict(extra or {})
    for name, pair in random_pairs().items():
        for template, tensor in zip((a, b), pair, strict=True):
            tensors[template.format(module=name, flat=name.replace(".", "_"))] = tensor
    save_file(tensors, path, metadata)
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "lora.safetensors"


@pytest.mark.parametrize("naming", WRITTEN_NAMINGS)
def test_every_naming_is_read_back(naming: WrittenNaming, path: Path) -> None:
    pairs = random_pairs()
    write_lora(path, pairs, {"trigger_phrase": "TRG"}, naming=naming)
    lora = read_lora(path)
    assert (lora.naming, lora.ranks, lora.dtype, lora.warnings) == (naming, [RANK], torch.bfloat16, [])
    assert lora.metadata == {"trigger_phrase": "TRG"}
    assert lora.pairs.keys() == pairs.keys()
    for name, (a, b) in pairs.items():
        assert torch.equal(lora.pairs[name][0].float(), a)
        assert torch.equal(lora.pairs[name][1].float(), b)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("diffusion_model.{module}.lora_A.default.weight", "diffusion_model.{module}.lora_B.default.weight"),
        ("diffusion_model.{module}_lora.down.weight", "diffusion_model.{module}_lora.up.weight"),
        ("transformer.{module}.lora.down.weight", "transformer.{module}.lora.up.weight"),
        ("lora_unet_{flat}.lora_down.weight", "lora_unet_{flat}.lora_up.weight"),
        ("{module}.lora_A.weight", "{module}.lora_B.weight"),
    ],
)
def test_files_of_others_without_a_scale_are_taken_as_they_are(a: str, b: str, path: Path) -> None:
    assert_same_updates(read_lora(foreign(path, a, b)).pairs, random_pairs())


@pytest.mark.parametrize("alpha", [torch.tensor(2.0), torch.tensor(2), torch.tensor([2.0], dtype=torch.bfloat16)])
@pytest.mark.parametrize(
    ("module", "a", "b"),
    [("lora_unet_{flat}", "lora_down.weight", "lora_up.weight"), ("diffusion_model.{module}", "lora_A", "lora_B")],
)
def test_alpha_by_rank_is_folded_in(module: str, a: str, b: str, alpha: Tensor, path: Path) -> None:
    extra = {
        f"{module}.alpha".format(module=name, flat=name.replace(".", "_")): alpha.clone() for name in random_pairs()
    }
    lora = read_lora(foreign(path, f"{module}.{a}", f"{module}.{b}", extra=extra))
    assert_same_updates(lora.pairs, random_pairs(), 2 / RANK)


def test_an_alpha_counts_for_its_own_module_alone(path: Path) -> None:
    extra = {f"diffusion_model.{MODULE}.alpha": torch.tensor(2.0)}
    names = "diffusion_model.{module}.lora_A.weight", "diffusion_model.{module}.lora_B.weight"
    lora, expected = read_lora(foreign(path, *names, extra=extra)), random_pairs()
    expected[MODULE] = (expected[MODULE][0], expected[MODULE][1] * 2 / RANK)
    assert_same_updates(lora.pairs, expected)


@pytest.mark.parametrize(
    ("config", "factor"),
    [
        ({"r": RANK, "lora_alpha": 2}, 2 / RANK),
        ({"r": RANK, "lora_alpha": RANK}, 1),
        ({"r": RANK, "lora_alpha": 2, "use_rslora": True}, 2 / RANK**0.5),
        ({"r": RANK, "lora_alpha": 2, "alpha_pattern": {r"transformer_blocks\.\d+\.audio_.*": 12}}, 12 / RANK),
        ({"r": RANK, "lora_alpha": 2, "alpha_pattern": {"to_q|to_k|to_v|to_out.0|net.0.proj|net.2": 12}}, 12 / RANK),
        ({"r": RANK, "lora_alpha": 2, "alpha_pattern": {"attn1.*": 12}}, 2 / RANK),  # begins at a dot or not at all
    ],
)
def test_the_scales_of_peft_and_diffusers_are_folded_in(config: dict[str, object], factor: float, path: Path) -> None:
    packed = {f"transformer.{key}": value for key, value in config.items()}
    names = "transformer.{module}.lora_A.weight", "transformer.{module}.lora_B.weight"
    foreign(path, *names, metadata={"lora_adapter_metadata": json.dumps(packed)})
    assert_same_updates(read_lora(path).pairs, random_pairs(), factor)

    peft = path.with_name("adapter_model.safetensors")
    foreign(peft, "base_model.model.{module}.lora_A.weight", "base_model.model.{module}.lora_B.weight")
    unscaled = read_lora(peft)
    assert_same_updates(unscaled.pairs, random_pairs())
    assert "no adapter_config.json beside it" in unscaled.warnings[0]
    peft.with_name("adapter_config.json").write_text(json.dumps(config))
    scaled = read_lora(peft)
    assert_same_updates(scaled.pairs, random_pairs(), factor)
    assert scaled.warnings == []


def test_a_scale_that_was_folded_in_is_not_written_again(path: Path) -> None:
    packed = {"lora_adapter_metadata": json.dumps({"transformer.lora_alpha": 2}), "ss_network_alpha": "2", "note": "n"}
    foreign(path, "transformer.{module}.lora_A.weight", "transformer.{module}.lora_B.weight", metadata=packed)
    lora = read_lora(path)
    assert lora.metadata == packed
    for naming in WRITTEN_NAMINGS:
        write_lora(path, lora.pairs, lora.metadata, naming=naming, dtype=torch.float32)
        again = read_lora(path)
        assert again.metadata == {"note": "n"}
        assert_same_updates(again.pairs, random_pairs(), 2 / RANK)


def test_kohya_s_files_say_that_alpha_is_the_rank(path: Path) -> None:
    write_lora(path, random_pairs(), {}, naming="kohya")
    tensors = load_file(path)
    alphas = [tensor for key, tensor in tensors.items() if key.endswith(".alpha")]
    assert len(alphas) == len(tensors) / 3 == len(random_pairs())
    assert {alpha.item() for alpha in alphas} == {RANK}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_the_type_of_the_file_is_told(dtype: torch.dtype, path: Path) -> None:
    write_lora(path, random_pairs(), {}, dtype=dtype)
    assert read_lora(path).dtype == dtype


def test_a_file_in_eight_bits_is_read(path: Path) -> None:
    a, b = torch.eye(2, 32).to(torch.float8_e4m3fn), torch.ones(32, 2).to(torch.float8_e4m3fn)
    keys = written_keys(MODULE, "official")
    save_file({str(keys[0]): a, str(keys[1]): b}, path)
    lora = read_lora(path)
    assert lora.dtype == torch.bfloat16
    assert torch.equal(update(lora.pairs[MODULE]), torch.ones(32, 2) @ torch.eye(2, 32))


def test_video_modules_are_named_and_left_out(path: Path) -> None:
    video = {
        f"diffusion_model.transformer_blocks.{i}.{module}.lora_{part}.weight": torch.zeros(2, 2)
        for i in range(2)
        for module in ("attn1.to_q", "video_to_audio_attn.to_v")
        for part in "AB"
    }
    names = "diffusion_model.{module}.lora_A.weight", "diffusion_model.{module}.lora_B.weight"
    lora = read_lora(foreign(path, *names, extra=video | {"diffusion_model.x.dora_scale": torch.zeros(1)}))
    assert_same_updates(lora.pairs, random_pairs())
    assert lora.warnings == [
        f"{path} also changes what is no linear layer of the audio stream, which is left out: "
        "transformer_blocks.0.attn1.to_q, transformer_blocks.0.video_to_audio_attn.to_v, "
        "transformer_blocks.1.attn1.to_q and 2 more."
    ]
    save_file(video, path)
    with pytest.raises(
        InputError, match=r"changes nothing in the audio stream, but transformer_blocks\.0\.attn1\.to_q"
    ):
        read_lora(path)


@pytest.mark.parametrize("naming", WRITTEN_NAMINGS)
def test_a_lora_of_any_naming_sounds_the_same(naming: WrittenNaming, path: Path) -> None:
    model = fresh_transformer()
    write_lora(path, random_pairs(), {}, naming=naming)
    adapter, _ = load_lora(model, path, 0.5)
    layer = adapter.layers[MODULE]
    x = torch.randn(3, 32)
    with torch.no_grad():
        expected = layer.base(x) + 0.5 * x @ update(random_pairs()[MODULE]).T
        torch.testing.assert_close(layer(x), expected, atol=1e-5, rtol=1e-4)
    assert set(adapter.layers) == set(target_names(model))


def test_what_is_around_the_blocks_is_read_under_diffusers_names_too(path: Path) -> None:
    outer = {
        "audio_proj_in": "audio_patchify_proj",
        "audio_time_embed.emb.timestep_embedder.linear_1": "audio_adaln_single.emb.timestep_embedder.linear_1",
        "audio_prompt_adaln.linear": "audio_prompt_adaln_single.linear",
        "audio_proj_out": "audio_proj_out",
    }
    model, tensors = fresh_transformer(), {}
    for theirs, ours in outer.items():
        outputs, inputs = model.get_parameter(f"{ours}.weight").shape
        tensors[f"transformer.{theirs}.lora_A.weight"] = torch.ones(1, inputs)
        tensors[f"transformer.{theirs}.lora_B.weight"] = torch.ones(outputs, 1)
    save_file(tensors, path)
    lora = read_lora(path)
    assert set(lora.pairs) == set(outer.values())
    assert set(Adapter.attach(model, lora.pairs).layers) == set(outer.values())


def test_what_is_no_lora_is_refused(path: Path) -> None:
    with pytest.raises(InputError, match="There is no LoRA at"):
        read_lora(path)
    path.write_bytes(b"a text file")
    with pytest.raises(InputError, match="is not a safetensors file"):
        read_lora(path)
    save_file({"weight": torch.zeros(1)}, path)
    with pytest.raises(InputError, match="holds no lora_A and lora_B"):
        read_lora(path)


A, B = f"diffusion_model.{MODULE}.lora_A.weight", f"diffusion_model.{MODULE}.lora_B.weight"
GOOD = {A: torch.ones(2, 32), B: torch.ones(32, 2)}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({B: None}, f"has {A} without its lora_B"),
        ({A: None}, f"has {B} without its lora_A"),
        ({f"diffusion_model.{MODULE.replace('to_q', 'to_k')}.alpha": torch.ones(())}, "alpha without its lora_A"),
        ({A: torch.ones(3, 32)}, "no pair of matrices"),
        ({A: torch.ones(32)}, "no pair of matrices"),
        ({A: torch.ones(2, 32, 1, 1)}, "no pair of matrices"),
        ({A: torch.ones(0, 32), B: torch.ones(32, 0)}, "no pair of matrices"),
        ({A: torch.full((2, 32), torch.nan)}, "infinite or none at all"),
        ({B: torch.full((32, 2), torch.inf)}, "infinite or none at all"),
        ({f"diffusion_model.{MODULE}.alpha": torch.ones(2)}, "alpha in .* is not one number"),
        ({f"diffusion_model.{MODULE}.alpha": torch.tensor(torch.inf)}, "alpha in .* is not one number"),
        (
            {f"diffusion_model.{MODULE}.dora_scale": torch.ones(32)},
            "is a DoRA, and what it changes depends on its base; .* --base BASE",
        ),
        ({f"diffusion_model.{MODULE}.oft_blocks": torch.ones(32)}, "oft_blocks, so it is no plain LoRA"),
        ({f"lora_unet_{MODULE.replace('.', '_')}.lokr_w1": torch.ones(2, 2)}, "has matrices of several kinds at"),
        ({f"transformer.{MODULE}.lora_A.weight": torch.ones(2, 32)}, "which are the same; remove one"),
    ],
)
def test_a_damaged_or_other_kind_of_file_is_refused(change: dict[str, Tensor | None], words: str, path: Path) -> None:
    save_file({key: tensor for key, tensor in (GOOD | change).items() if tensor is not None}, path)
    with pytest.raises(InputError, match=words):
        read_lora(path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "is no JSON object"),
        ("[]", "is no JSON object"),
        (json.dumps({"transformer.lora_alpha": "much"}), "can't be read"),
        (json.dumps({"transformer.alpha_pattern": {"(": 1}}), "can't be read"),
        (json.dumps({"transformer.alpha_pattern": []}), "can't be read"),
    ],
)
def test_scales_that_make_no_sense_are_refused(text: str, words: str, path: Path) -> None:
    keys = "transformer.{module}.lora_A.weight", "transformer.{module}.lora_B.weight"
    foreign(path, *keys, metadata={"lora_adapter_metadata": text})
    with pytest.raises(InputError, match=words):
        read_lora(path)
