from __future__ import annotations

import gzip
import json
import math
import struct
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from support import (
    CPU,
    FIXTURES,
    TINY_CHECKPOINT,
    BaseNames,
    Metadata,
    Tensors,
    block_of,
    edited_config,
    rewrite,
    sparse_checkpoint,
)
from torch import Tensor

from soundlora.errors import InputError
from soundlora.model.tensor_file import TensorFile
from soundlora.weights.checkpoint import Checkpoint

TO_Q = "model.diffusion_model.transformer_blocks.1.audio_attn1.to_q.weight"
VIDEO = "model.diffusion_model.transformer_blocks.1.attn1.to_q.weight"
PROJECTION = "text_embedding_projection.audio_aggregate_embed.weight"

Change = Callable[[Tensors, Metadata], None]


def remove(name: str) -> Change:
    return lambda tensors, metadata: tensors.__delitem__(name)


def put(name: str, tensor: Tensor) -> Change:
    return lambda tensors, metadata: tensors.__setitem__(name, tensor)


def say(key: str, value: str) -> Change:
    return lambda tensors, metadata: metadata.__setitem__(key, value)


def one_layer_less(tensors: Tensors, metadata: Metadata) -> None:
    with edited_config(metadata) as config:
        config["transformer"]["num_layers"] -= 1
    del metadata["soundlora"]  # which names the block that is left over


def stored_as(dtype: torch.dtype) -> Change:
    return lambda tensors, metadata: tensors.__setitem__(TO_Q, tensors[TO_Q].to(dtype))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param(remove(TO_Q), ["lacks 1 of the", TO_Q, "incomplete"], id="missing tensor"),
        pytest.param(remove("vocoder.mel_stft.mel_basis"), ["lacks 1 of the", "mel_basis"], id="missing buffer"),
        pytest.param(remove(PROJECTION), [PROJECTION, "no LTX 2.3 checkpoint"], id="missing text projection"),
        pytest.param(one_layer_less, ["30 audio tensors", "does not describe", "transformer_blocks.1"], id="leftover"),
        pytest.param(put("vocoder.extra", torch.zeros(1)), ["1 audio tensors", "vocoder.extra"], id="unexpected"),
        pytest.param(put(TO_Q, torch.zeros(3, 4)), [TO_Q, "[3, 4]", "asks for [32, 32]"], id="wrong shape"),
        pytest.param(stored_as(torch.float8_e4m3fn), [TO_Q, "F8_E4M3", "bf16 checkpoint"], id="fp8"),
        pytest.param(stored_as(torch.int8), [TO_Q, "I8", "BF16, F16, F32"], id="int8"),
        pytest.param(put(TO_Q + "_scale", torch.ones(1)), ["quantised repack", "to_q.weight_scale"], id="scaled"),
        pytest.param(say("title", "LTX-2.3 22B Distilled"), ["distilled"], id="distilled by metadata"),
        pytest.param(say("model_version", "2.0.0"), ["LTX 2.0"], id="2.0 by version"),
        pytest.param(
            put("model.diffusion_model.audio_caption_projection.linear_1.weight", torch.zeros(1)),
            ["LTX 2.0"],
            id="2.0 by its caption projection",
        ),
        pytest.param(say("model_version", "2.6.0"), ["later LTX generation than 2.5"], id="later by version"),
        pytest.param(say("model_version", "2.10.1"), ["later LTX generation than 2.5"], id="2.10 is later than 2.5"),
        pytest.param(
            say("model_version", "2.5.0"),
            ["is LTX 2.5, but doesn't declare its text encoder", "gemma_source_checkpoint", "ltx-2.5-22b-dev"],
            id="2.5 without its text encoder's version",
        ),
        pytest.param(
            put("model.diffusion_model.duration_head.weight", torch.zeros(1)),
            ["is LTX 2.5, but doesn't declare its text encoder"],
            id="2.5 by its duration head",
        ),
        pytest.param(lambda tensors, metadata: metadata.clear(), ["no 'config' metadata", "repack"], id="no config"),
        pytest.param(say("config", "not json"), ["'config' metadata", "not a JSON object"], id="config is no JSON"),
        pytest.param(say("config", "[]"), ["'config' metadata", "not a JSON object"], id="config is a list"),
        pytest.param(say("config", "{}"), ["config has no 'transformer'"], id="config is empty"),
        pytest.param(say("soundlora", "{"), ["'soundlora' metadata", "not a JSON object"], id="own block is no JSON"),
    ],
)
def test_an_unusable_checkpoint_is_refused_in_a_sentence_that_names_the_cause(
    quick_base: BaseNames, tmp_path: Path, change: Change, words: list[str]
) -> None:
    path = rewrite(tmp_path / "base.safetensors", change, Path(quick_base.checkpoint))
    with pytest.raises(InputError) as error:
        Checkpoint(path)
    for word in words:
        assert word in str(error.value)
    assert str(path) in str(error.value) or "config" in words[0]
    assert str(error.value).endswith(".")


def test_a_distilled_checkpoint_is_known_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "ltx-2.3-22b-Distilled-1.1.safetensors"
    path.write_bytes(TINY_CHECKPOINT.read_bytes())
    with pytest.raises(InputError, match="is a distilled checkpoint"):
        Checkpoint(path)


def not_json() -> bytes:
    return struct.pack("<Q", 16) + b"x" * 64


def header_only(header: object) -> bytes:
    raw = json.dumps(header).encode()
    return struct.pack("<Q", len(raw)) + raw


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param(b"", "not a safetensors file", id="empty"),
        pytest.param(b"PK\x03", "not a safetensors file", id="three bytes"),
        pytest.param(b"These are my notes about the model.\n" * 9, "not a safetensors file", id="text"),
        pytest.param(not_json(), "not a safetensors file", id="binary"),
        pytest.param(header_only({"__metadata__": {"a": 1}}), "not a safetensors file", id="metadata no strings"),
        pytest.param(header_only([1, 2]), "not a safetensors file", id="header is a list"),
        pytest.param(header_only({"a": {"dtype": "F32"}}), "not a safetensors file", id="entry without a shape"),
        pytest.param(TINY_CHECKPOINT.read_bytes()[:-1], "the download was cut off", id="a byte short"),
        pytest.param(TINY_CHECKPOINT.read_bytes()[:1_500_000], "the download was cut off", id="half"),
        pytest.param(TINY_CHECKPOINT.read_bytes()[:5000], "not a safetensors file", id="cut in the header"),
    ],
)
def test_a_file_that_is_no_whole_safetensors_file_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "base.safetensors"
    path.write_bytes(content)
    with pytest.raises(InputError, match=words):
        Checkpoint(path)


def test_a_tensor_of_another_length_than_its_shape_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "base.safetensors"
    content = TINY_CHECKPOINT.read_bytes()
    length = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + length])
    header[TO_Q]["data_offsets"][1] -= 2
    path.write_bytes(header_only(header) + content[8 + length :])
    with pytest.raises(InputError, match=r"takes 2,046 bytes by the header, but its shape asks for 2,048"):
        Checkpoint(path)


def test_a_path_without_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="There is no file at"):
        Checkpoint(tmp_path / "none.safetensors")


def test_what_a_video_tensor_holds_is_of_no_concern(tmp_path: Path) -> None:
    def change(tensors: Tensors, metadata: Metadata) -> None:
        tensors[VIDEO] = tensors[VIDEO].to(torch.float8_e4m3fn)
        del tensors["model.diffusion_model.patchify_proj.weight"]

    Checkpoint(rewrite(tmp_path / "base.safetensors", change))


def test_fp32_and_fp16_weights_are_read_too(tmp_path: Path) -> None:
    def change(tensors: Tensors, metadata: Metadata) -> None:
        for number, name in enumerate(sorted(tensors)):
            tensors[name] = tensors[name].to(torch.float32 if number % 2 else torch.float16)

    Checkpoint(rewrite(tmp_path / "base.safetensors", change)).load_connector(CPU, torch.float32)


def test_weights_arrive_as_stored_in_the_wanted_type_and_frozen() -> None:
    stored = load_file(TINY_CHECKPOINT)[TO_Q]
    for dtype in (torch.float32, torch.bfloat16):
        model = Checkpoint(TINY_CHECKPOINT).load_transformer(CPU, dtype)
        weight = block_of(model, 1).audio_attn1.to_q.weight
        assert weight.dtype == dtype
        assert torch.equal(weight, stored.to(dtype))
        assert not any(p.requires_grad for p in model.parameters())
        assert not model.training


def test_half_a_vae_reads_half_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = Checkpoint(TINY_CHECKPOINT)
    names = record_reads(monkeypatch)
    checkpoint.load_vae(CPU, encoder=True, decoder=False)
    assert any(name.startswith("audio_vae.encoder.") for name in names)
    assert not any(name.startswith("audio_vae.decoder.") for name in names)


def test_the_fingerprint_follows_the_audio_weights_and_the_config_alone(quick_base: BaseNames, tmp_path: Path) -> None:
    original = Checkpoint(Path(quick_base.checkpoint))
    content, info = bytearray(original.path.read_bytes()), original.tensors

    def with_byte_flipped(name: str) -> str:
        changed = content.copy()
        changed[info[name].start] ^= 1
        path = tmp_path / "changed.safetensors"
        path.write_bytes(changed)
        return Checkpoint(path).fingerprint

    assert with_byte_flipped(TO_Q) != original.fingerprint
    assert with_byte_flipped(VIDEO) == original.fingerprint

    def with_change(change: Change) -> str:
        return Checkpoint(rewrite(tmp_path / "changed.safetensors", change, original.path)).fingerprint

    def other_scheduler(tensors: Tensors, metadata: Metadata) -> None:
        with edited_config(metadata) as config:
            config["scheduler"] = {"sampler": "another"}

    assert with_change(other_scheduler) != original.fingerprint
    assert with_change(say("soundlora", '{"context_length": 256}')) != original.fingerprint
    assert with_change(stored_as(torch.float32)) != original.fingerprint
    assert with_change(say("license", "none")) == original.fingerprint


def test_the_audio_half_alone_has_the_fingerprint_of_the_whole_file(quick_base: BaseNames, tmp_path: Path) -> None:
    whole = Checkpoint(Path(quick_base.checkpoint))

    def drop_video(tensors: Tensors, metadata: Metadata) -> None:
        for name in tensors.keys() - whole.layout.audio.keys():
            del tensors[name]

    half = Checkpoint(rewrite(tmp_path / "half.safetensors", drop_video, whole.path))
    assert len(half.tensors) < len(whole.tensors)
    assert half.fingerprint == whole.fingerprint


def test_soundloras_own_block_sets_context_length_and_sampling(tmp_path: Path) -> None:
    block = {"context_length": 256, "sampling": {"steps": 9, "stg_blocks": None}}
    config = Checkpoint(rewrite(tmp_path / "base.safetensors", say("soundlora", json.dumps(block)))).config
    assert config.text.context_length == 256
    assert (config.sampling.steps, config.sampling.cfg, config.sampling.stg_blocks) == (9, 7.0, None)


# ----------------------------------------------------------------------------------------------------------------------
# the full size

# Part of the file: tensors and bytes in bf16.
FULL_SIZE = {
    "dit_audio_only": (1457, 6_572_816_640),
    "audio_connector": (129, 807_240_192),
    "text_proj_audio": (2, 770_707_456),
    "audio_vae_encoder": (44, 42_666_016),
    "audio_vae_decoder": (56, 63_830_276),
    "audio_vae_stats": (2, 512),
    "vocoder_stage1": (667, 230_155_296),
    "vocoder_bwe": (557, 26_929_200),
    "vocoder_mel_stft": (3, 1_085_568),
}
FILE = (5947, 46_139_010_774)


@pytest.fixture(scope="module")
def layout() -> dict[str, Any]:
    """The official file's config, and the shape of each of its tensors by part."""
    layout: dict[str, Any] = json.loads(gzip.decompress((FIXTURES / "full_size_layout.json.gz").read_bytes()))
    return layout


@pytest.fixture(scope="module")
def full_size(layout: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """A file of 46 GB that holds nothing but zeros, none of them on the disk."""
    path = tmp_path_factory.mktemp("full") / "ltx-2.3-22b-dev.safetensors"
    # The parts are shuffled into one another, as in the real file.
    shapes = dict(sorted((name, shape) for part in layout["parts"].values() for name, shape in part.items()))
    size = sparse_checkpoint(path, shapes, layout["config"])
    assert FILE[1] < size < FILE[1] + 2_000_000
    assert path.stat().st_blocks * 512 < 50_000_000
    return Checkpoint(path)


def record_reads(monkeypatch: pytest.MonkeyPatch, device: torch.device | None = None) -> list[str]:
    """Names of the tensors that are read from now on; with `device`, empty ones there stand in for them."""
    names: list[str] = []
    read = TensorFile.read

    def recording(self: TensorFile, wanted: Iterable[str]) -> Iterator[tuple[str, Tensor]]:
        for name in wanted:
            names.append(name)
            if device is None:
                yield from read(self, [name])
            else:
                yield name, torch.empty(self.tensors[name].shape, dtype=torch.bfloat16, device=device)

    monkeypatch.setattr(TensorFile, "read", recording)
    return names


def test_of_the_full_size_file_exactly_the_audio_tensors_are_read(
    full_size: Checkpoint, layout: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    meta = torch.device("meta")
    names = record_reads(monkeypatch, meta)
    full_size.load_transformer(meta, torch.bfloat16)
    full_size.load_connector(meta, torch.bfloat16)
    full_size.load_projection(meta, torch.bfloat16)
    full_size.load_vae(meta, encoder=True, decoder=True)
    full_size.load_vocoder(meta)
    assert len(names) == len(set(names)) == 1457 + 129 + 2 + 102 + 1227
    found = {part: [name for name in names if name in layout["parts"][part]] for part in layout["parts"]}
    measured = {
        part: (len(read), sum(full_size.tensors[name].end - full_size.tensors[name].start for name in read))
        for part, read in found.items()
        if read
    }
    assert measured == FULL_SIZE


def test_the_full_size_file_has_the_official_counts(full_size: Checkpoint) -> None:
    assert len(full_size.tensors) == FILE[0]
    assert sum(2 * math.prod(info.shape) for info in full_size.tensors.values()) == FILE[1]
    assert full_size.encoder_layers == 49
    assert sum(size for _, size in FULL_SIZE.values()) / FILE[1] == pytest.approx(0.1846, abs=1e-4)


def test_a_part_of_the_full_size_file_loads_without_the_rest(full_size: Checkpoint) -> None:
    vae = full_size.load_vae(CPU, encoder=True, decoder=False)
    assert sum(p.numel() for p in vae.encoder.parameters()) == 21_333_008
