from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from support import CPU, TINY_ENCODER
from torch import Tensor

from soundlora.errors import InputError
from soundlora.model.gemma import Gemma
from soundlora.model.gemma_config import parse_gemma_config
from soundlora.model.tensor_file import TensorFile

if TYPE_CHECKING:
    from transformers import Gemma3TextModel, Gemma4UnifiedTextModel

SMALL: dict[str, Any] = {
    "vocab_size": 60,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "query_pre_attn_scalar": 24,
    "sliding_window": 6,
    "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
}
IDS = [[2, 5, 9, 33, 7, 7, 21, 40, 3, 11, 59], [2], [2, 17, 5]]


def write(directory: Path, **changes: Any) -> Gemma3TextModel:
    """A random text model saved as transformers saves it."""
    from transformers import Gemma3TextConfig, Gemma3TextModel  # it takes seconds, which other tests need not wait

    torch.manual_seed(0)
    model: Gemma3TextModel = Gemma3TextModel(Gemma3TextConfig(**SMALL | changes)).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    model.save_pretrained(directory)
    return model


def states_of(model: Any, ids: list[int]) -> Tensor:
    with torch.inference_mode():
        hidden = model(input_ids=torch.tensor([ids]), output_hidden_states=True, use_cache=False).hidden_states
    return torch.stack(hidden, dim=-1)[0]


def assert_same(gemma: Gemma, model: Any, tolerance: float = 2e-5) -> None:
    streamed = list(gemma.stream(IDS))
    for number, ids in enumerate(IDS):
        ours = torch.stack([states[number] for states in streamed], dim=-1)
        torch.testing.assert_close(ours, states_of(model, ids), atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"sliding_window": 4096},
        {"num_key_value_heads": 1},
        {"rms_norm_eps": 1e-2},
        {
            "rope_parameters": {
                "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e4},
                "sliding_attention": {"rope_type": "default", "rope_theta": 100.0},
            }
        },
    ],
    ids=["window shorter than the text", "window longer", "one key head", "eps", "stretched positions"],
)
def test_every_state_is_that_of_transformers(tmp_path: Path, changes: dict[str, Any]) -> None:
    model = write(tmp_path, **changes)
    assert_same(Gemma(tmp_path, CPU, torch.float32), model)


SMALL_4: dict[str, Any] = {
    "vocab_size": 60,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "global_head_dim": 16,
    "sliding_window": 6,
    "layer_types": ["sliding_attention", "full_attention", "sliding_attention", "full_attention"],
}


def write_4(directory: Path, **changes: Any) -> Gemma4UnifiedTextModel:
    """A random Gemma 4 as transformers saves it, no layer's scalar left at 1."""
    from transformers import Gemma4UnifiedTextConfig, Gemma4UnifiedTextModel

    torch.manual_seed(0)
    model: Gemma4UnifiedTextModel = Gemma4UnifiedTextModel(Gemma4UnifiedTextConfig(**SMALL_4 | changes)).eval()
    for name, tensor in model.state_dict().items():
        torch.nn.init.normal_(tensor, mean=1.0 if "norm" in name or "scalar" in name else 0.0, std=0.2)
    model.save_pretrained(directory)
    return model


def rope_4(**full: Any) -> dict[str, Any]:
    proportional = {"rope_type": "proportional", "partial_rotary_factor": 0.5, "rope_theta": 50.0}
    local = {"rope_type": "default", "rope_theta": 100.0}
    return {"rope_parameters": {"full_attention": proportional | full, "sliding_attention": local}}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"sliding_window": 4096},
        {"attention_k_eq_v": True, "num_global_key_value_heads": 1},
        {"attention_k_eq_v": True},
        {"rms_norm_eps": 1e-2},
        rope_4(),
        rope_4(partial_rotary_factor=1.0, factor=4.0),
        rope_4(partial_rotary_factor=0.3),
    ],
    ids=[
        "window shorter than the text",
        "window longer",
        "keys are values, one head of them",
        "keys are values",
        "eps",
        "half of the pairs turn",
        "all turn, stretched",
        "a share that is rounded down",
    ],
)
def test_every_state_of_gemma_4_is_that_of_transformers(tmp_path: Path, changes: dict[str, Any]) -> None:
    model = write_4(tmp_path, **changes)
    assert_same(Gemma(tmp_path, CPU, torch.float32), model)


def test_bf16_states_of_gemma_4_are_those_of_transformers_in_bf16(tmp_path: Path) -> None:
    model = write_4(tmp_path).to(torch.bfloat16)
    ours = torch.stack([states[0] for states in Gemma(tmp_path, CPU, torch.bfloat16).stream(IDS[:1])], dim=-1)
    theirs = states_of(model, IDS[0])
    assert (ours.float() - theirs.float()).norm() < 0.05 * theirs.float().norm()
    assert torch.equal(ours[..., 0], theirs[..., 0])


def test_bf16_states_are_those_of_transformers_in_bf16(tmp_path: Path) -> None:
    model = write(tmp_path).to(torch.bfloat16)
    ours = torch.stack([states[0] for states in Gemma(tmp_path, CPU, torch.bfloat16).stream(IDS[:1])], dim=-1)
    theirs = states_of(model, IDS[0])
    assert ours.dtype == torch.bfloat16
    # Rounding alone separates them: a twentieth of the states' own size, where another text is one and a half away.
    assert (ours.float() - theirs.float()).norm() < 0.05 * theirs.float().norm()
    assert torch.equal(ours[..., 0], theirs[..., 0])


def test_a_multimodal_model_in_shards_gives_its_text_model_alone(tmp_path: Path) -> None:
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration

    torch.manual_seed(0)
    vision = {
        "hidden_size": 8,
        "intermediate_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 28,
        "patch_size": 14,
    }
    model = Gemma3ForConditionalGeneration(Gemma3Config(text_config=SMALL, vision_config=vision)).eval()
    model.save_pretrained(tmp_path, max_shard_size="20KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    assert_same(Gemma(tmp_path, CPU, torch.float32), model.model.language_model)
    lost = sorted(tmp_path.glob("*.safetensors"))[0]
    lost.unlink()
    with pytest.raises(InputError, match=f"no file at .*{lost.name}; download the text encoder again"):
        Gemma(tmp_path, CPU, torch.float32)


def test_a_layer_is_read_when_it_is_needed_and_no_row_of_unused_tokens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path)
    read: list[str] = []
    counts: list[int] = []
    original, rows = TensorFile.read, TensorFile.read_rows

    def noted(self: TensorFile, names: Sequence[str]) -> Iterator[tuple[str, Tensor]]:
        read.extend(names)
        return original(self, names)

    def counted(self: TensorFile, name: str, wanted: Sequence[int]) -> Tensor:
        counts.append(len(wanted))
        return rows(self, name, wanted)

    monkeypatch.setattr(TensorFile, "read", noted)
    monkeypatch.setattr(TensorFile, "read_rows", counted)
    stream = Gemma(tmp_path, CPU, torch.float32).stream([[2, 5, 5], [2]])
    next(stream)
    assert (read, counts) == ([], [2])
    next(stream)
    assert read
    assert all(name.startswith("layers.0.") for name in read)


def test_the_published_config_leaves_out_what_is_usual() -> None:
    from transformers import Gemma3TextConfig

    """The text part of Gemma-3-12B's config.json, as published."""
    published: dict[str, Any] = {
        "hidden_size": 3840,
        "intermediate_size": 15360,
        "model_type": "gemma3_text",
        "num_attention_heads": 16,
        "num_hidden_layers": 48,
        "num_key_value_heads": 8,
        "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
        "sliding_window": 1024,
    }
    config = parse_gemma_config({"model_type": "gemma3", "text_config": published})
    theirs = Gemma3TextConfig(**published)
    assert config.layers == 48
    assert [n for n, local in enumerate(config.is_local) if not local] == [5, 11, 17, 23, 29, 35, 41, 47]
    assert theirs.layer_types is not None
    assert config.is_local == tuple(kind == "sliding_attention" for kind in theirs.layer_types)
    assert (config.head_dim, config.eps) == (theirs.head_dim, theirs.rms_norm_eps)
    assert config.scale == theirs.query_pre_attn_scalar**-0.5
    ropes = theirs.rope_parameters
    assert ropes is not None
    thetas = (ropes["full_attention"]["rope_theta"], ropes["sliding_attention"]["rope_theta"])
    assert tuple(kind.theta for kind in config.attention) == thetas
    assert tuple(kind.stretch for kind in config.attention) == (8.0, 1.0)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"attention_bias": True}, "attention_bias = True, but Gemma 3 has False"),
        ({"attn_logit_softcapping": 50.0}, r"attn_logit_softcapping = 50\.0"),
        ({"quantization_config": {"quant_method": "bitsandbytes"}}, "is quantised"),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}, "asks for 'yarn' RoPE"),
    ],
)
def test_what_no_gemma_3_has_is_refused(change: dict[str, Any], complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        parse_gemma_config(SMALL | change)


def test_a_missing_weight_is_refused_not_made_up(tmp_path: Path) -> None:
    write(tmp_path)
    path = tmp_path / "model.safetensors"
    weights = load_file(path)
    lost = next(name for name in weights if "mlp.down_proj" in name)
    save_file({name: tensor for name, tensor in weights.items() if name != lost}, path)
    with pytest.raises(InputError, match=r"lacks 1 tensors .*mlp\.down_proj"):
        Gemma(tmp_path, CPU, torch.float32)


def test_a_weight_of_another_shape_is_refused(tmp_path: Path) -> None:
    write(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"intermediate_size": 64}))
    with pytest.raises(InputError, match=r"mlp\.gate_proj\.weight .* is F32 \[48, 32\], but \[64, 32\]"):
        Gemma(tmp_path, CPU, torch.float32)


def test_a_directory_without_weights_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text((TINY_ENCODER / "config.json").read_text())
    with pytest.raises(InputError, match=r"no file at .*model\.safetensors"):
        Gemma(tmp_path, CPU, torch.float32)
