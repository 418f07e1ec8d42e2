"""The official checkpoint, one file or one a component, of which only the audio tensors are ever read.

The list of wanted tensors is not a filter on names. It is built from the config, by asking each module for its state
on the meta device. Every name and shape must be there, and no tensor of the audio half may be left over.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from soundlora.errors import InputError
from soundlora.model.audio_vae import AudioVAE
from soundlora.model.config import ModelConfig, parse_config
from soundlora.model.connector import AudioConnector, FeatureProjection
from soundlora.model.duration_head import DurationHead, sizes_in
from soundlora.model.encoder_files import PACKED_CONFIG
from soundlora.model.gemma_config import parse_gemma_config
from soundlora.model.tensor_file import READABLE, TensorFile, TensorHeader, TensorInfo
from soundlora.model.transformer import AudioTransformer
from soundlora.model.vocoder import Vocoder
from soundlora.system.devices import has_channels_last
from soundlora.weights.generations import LTX_23, SUPPORTED, Generation, generation_of, parse_version
from soundlora.wording import using

_DIT = "model.diffusion_model."
_CONNECTOR = _DIT + "audio_embeddings_connector."
_PROJECTION = "text_embedding_projection."
_VAE = "audio_vae."
_VOCODER = "vocoder."
PROJECTION_WEIGHT = _PROJECTION + "audio_aggregate_embed.weight"
DURATION = "duration_head.mlp_out.weight"  # by which the duration head is known
_PROMPT_ADALN = _DIT + "audio_prompt_adaln_single."
_FF_BIAS = re.compile(r"\.audio_ff\..*\.bias$")
_DECLARED = "gemma_source_checkpoint"

# Every name of the audio stream's own tensors inside the transformer contains one of these. Names of cross-modal
# tensors, such as `audio_to_video_attn` or `av_ca_audio_scale_shift_adaln_single`, contain none.
_STREAM = (
    "audio_attn1",
    "audio_attn2",
    "audio_ff",
    "audio_patchify_proj",
    "audio_proj_out",
    "audio_adaln_single",
    "audio_prompt",
    "audio_scale_shift_table",
)
SAMPLE = 4096  # bytes of every tensor that go into the fingerprint

CHECKPOINT_ADVICE = "give the path of an LTX .safetensors checkpoint"

Module = TypeVar("Module", bound=nn.Module)


class Layout:
    """The content of the headers of a checkpoint's files.

    config: the blocks of all files together. audio: the shape of every audio tensor by name. generation: the row of the
    table. gemma_version: the text encoder that the checkpoint declares, or None.
    """

    def __init__(self, headers: Mapping[str, TensorHeader]) -> None:
        """headers: by path or URL of the file; what two files have is taken from the first of them.

        Raises InputError when they are no LTX base that is supported, or lack audio tensors.
        """
        self.source = " and ".join(headers)
        self.tensors: dict[str, TensorInfo] = {}
        self.metadata: dict[str, str] = {}
        for source, header in headers.items():
            _refuse_repacks(source, header)
            self.tensors = header.tensors | self.tensors
            self.metadata = header.metadata | self.metadata
        config = self._merged_config(headers)
        self.generation = _generation(headers)
        self.gemma_version = self._gemma_version()
        if PROJECTION_WEIGHT not in self.tensors:
            raise InputError(
                f"{self.source} has no {PROJECTION_WEIGHT}, so it is no {self.generation.title} checkpoint; "
                f"{_use(self.generation)}."
            )
        extras = _json("soundlora", self.metadata.get("soundlora", "{}"), self.source)
        self.config = fitted(parse_config(config, extras, self.generation.sampling), self.tensors, self.metadata)
        self._check_complete()

    def _merged_config(self, headers: Mapping[str, TensorHeader]) -> dict[str, Any]:
        config: dict[str, Any] = {}
        for source, header in headers.items():
            if "config" in header.metadata:
                config = _json("config", header.metadata["config"], source) | config
        if "config" not in self.metadata:
            raise InputError(
                f"{self.source} carries no 'config' metadata, so it is a repack or no LTX checkpoint; "
                f"use the unchanged {LTX_23.checkpoint}."
            )
        if len(headers) > 1:
            self.metadata["config"] = json.dumps(config)
        return config

    def _gemma_version(self) -> str | None:
        text = self.metadata.get(_DECLARED)
        version = None if text is None else _json(_DECLARED, text, self.source).get("gemma_version")
        if version is None and self.generation.declares_encoder:
            raise InputError(
                f"{self.source} is {self.generation.title}, but doesn't declare its text encoder ({_DECLARED}); "
                f"{_use(self.generation)}."
            )
        return None if version is None else str(version)

    @cached_property
    def encoder_layers(self) -> int:
        """Number of a token's hidden states that the text projection takes: the encoder's layers + 1."""
        columns = self.tensors[PROJECTION_WEIGHT].shape[-1]
        layers, rest = divmod(columns, self.config.text.encoder_dim)
        if rest:
            raise InputError(
                f"{PROJECTION_WEIGHT} in {self.source} has {columns} columns, which is no multiple of "
                f"caption_channels = {self.config.text.encoder_dim}; the file is damaged."
            )
        return layers

    @cached_property
    def audio(self) -> dict[str, tuple[int, ...]]:
        """Shape by name of every tensor that the config asks for."""
        c = self.config
        with torch.device("meta"):
            parts: list[tuple[str, nn.Module]] = [
                (_DIT, AudioTransformer(c.transformer)),
                (_CONNECTOR, AudioConnector(c.text)),
                (_PROJECTION, FeatureProjection(c.text, self.encoder_layers)),
                (_VAE, AudioVAE(c.audio)),
                (_VOCODER, Vocoder(c.vocoder, c.audio.mel_bins)),
            ]
        return {
            prefix + name: tuple(tensor.shape) for prefix, part in parts for name, tensor in part.state_dict().items()
        }

    def _check_complete(self) -> None:
        expected = self.audio
        missing = sorted(expected.keys() - self.tensors.keys())
        if missing:
            raise InputError(
                f"{self.source} lacks {len(missing)} of the {len(expected)} audio tensors ({_few(missing)}); "
                "the file is incomplete, download it again."
            )
        unexpected = sorted(name for name in self.tensors if _is_audio(name) and name not in expected)
        if unexpected:
            raise InputError(
                f"{self.source} holds {len(unexpected)} audio tensors that its config does not describe "
                f"({_few(unexpected)}); {_use(self.generation)}."
            )
        for name, shape in expected.items():
            info = self.tensors[name]
            if info.shape != shape:
                raise InputError(
                    f"{name} in {self.source} has the shape {list(info.shape)}, but the config asks for {list(shape)}; "
                    f"{_use(self.generation)}."
                )
            if info.dtype not in READABLE:
                raise InputError(
                    f"{name} in {self.source} is stored as {info.dtype}; quantised repacks can't be trained on, use "
                    f"the bf16 checkpoint (readable types: {', '.join(READABLE)})."
                )
            size = math.prod(shape) * READABLE[info.dtype].itemsize
            if info.start < 0 or info.end - info.start != size:
                raise InputError(
                    f"{name} in {self.source} takes {info.end - info.start:,} bytes by the header, but its shape asks "
                    f"for {size:,}; the file is damaged, download it again."
                )


class Checkpoint:
    """The files of an LTX base. They are checked when they are opened; tensors are read when a part is loaded."""

    def __init__(self, *paths: Path) -> None:
        """Read the headers only. Raises InputError when the files are no LTX base checkpoint or are incomplete."""
        self.path, self.paths = paths[0], paths
        files = [TensorFile(path, CHECKPOINT_ADVICE) for path in paths]
        self.layout = Layout({str(file.path): file.header for file in files})
        self.tensors, self.metadata = self.layout.tensors, self.layout.metadata
        self.config, self.encoder_layers = self.layout.config, self.layout.encoder_layers
        self.generation = self.layout.generation
        self.file_of = {name: file for file in reversed(files) for name in file.tensors}

    def read(self, names: Iterable[str]) -> Iterator[tuple[str, Tensor]]:
        """Yield the named tensors as they are stored, on the CPU, one at a time."""
        for name in names:
            yield from self.file_of[name].read([name])

    @cached_property
    def fingerprint(self) -> str:
        """Hex SHA-256 over the config and every audio tensor's name, type, shape and first 4 KiB.

        A hash of all bytes would read 8.5 GB for nothing but a name; retraining or repacking changes these samples.
        The header itself doesn't count, so that the audio half alone and the whole file have the same fingerprint.
        """
        said = {key: _json(key, self.metadata.get(key, "{}"), str(self.path)) for key in ("config", "soundlora")}
        if len(self.generation.files) > 1:  # such a base may lie in one file all the same, which says more
            said["config"] = {block: said["config"].get(block) for block in ("transformer", "audio_vae", "vocoder")}
        digest = hashlib.sha256(json.dumps(said, sort_keys=True).encode())
        for name in sorted(self.layout.audio):
            info = self.tensors[name]
            digest.update(f"{name} {info.dtype} {list(info.shape)}\n".encode())
            digest.update(self.file_of[name].content(name, SAMPLE))
        return digest.hexdigest()

    def load_transformer(self, device: torch.device, dtype: torch.dtype) -> AudioTransformer:
        """Load the audio stream, frozen, in `dtype`."""
        return self._load(lambda: AudioTransformer(self.config.transformer), _DIT, device, dtype)

    def load_connector(self, device: torch.device, dtype: torch.dtype) -> AudioConnector:
        """Load the audio connector, frozen, in `dtype`."""
        return self._load(lambda: AudioConnector(self.config.text), _CONNECTOR, device, dtype)

    def load_projection(self, device: torch.device, dtype: torch.dtype) -> FeatureProjection:
        """Load the projection of the text encoder's hidden states, frozen, in `dtype`."""
        return self._load(lambda: FeatureProjection(self.config.text, self.encoder_layers), _PROJECTION, device, dtype)

    def load_vae(self, device: torch.device, *, encoder: bool, decoder: bool) -> AudioVAE:
        """Load the wanted halves of the VAE in fp32, in which the reference prepares its latents."""
        vae = self._load(
            lambda: AudioVAE(self.config.audio, encoder=encoder, decoder=decoder), _VAE, device, torch.float32
        )
        # Convolutions over a few channels-last frames are several times faster on CPU, and not slower on CUDA.
        layout = torch.channels_last if has_channels_last(device) else torch.preserve_format
        return vae.to(memory_format=layout)  # type: ignore[call-overload, no-any-return]

    def load_vocoder(self, device: torch.device) -> Vocoder:
        """Load the vocoder in fp32: bf16 costs 40 to 90 % in spectral error by the reference's own account."""
        return self._load(
            lambda: Vocoder(self.config.vocoder, self.config.audio.mel_bins), _VOCODER, device, torch.float32
        )

    def _load(self, build: Callable[[], Module], prefix: str, device: torch.device, dtype: torch.dtype) -> Module:
        return load_module(build, self.read, prefix, device, dtype)


def load_module(
    build: Callable[[], Module],
    read: Callable[[Iterable[str]], Iterable[tuple[str, Tensor]]],
    prefix: str,
    device: torch.device,
    dtype: torch.dtype,
) -> Module:
    """Build a module, frozen, with the weights that `read` yields for its names after `prefix`."""
    with torch.device("meta"):
        module = build()
    # Tensors are moved one at a time, so that no second copy of the weights is held. The device may lack the type that
    # they are stored in.
    stored = read(prefix + name for name in module.state_dict())
    state = {name.removeprefix(prefix): tensor.to(dtype).to(device) for name, tensor in stored}
    module.load_state_dict(state, assign=True)
    return module.requires_grad_(False).eval()


def fitted(config: ModelConfig, names: Iterable[str], metadata: Mapping[str, str]) -> ModelConfig:
    """Return the config as the files with these tensors and metadata ask for.

    What a config switches off is left out of its file. Where the file holds it all the same, the reference computes
    with it. The width of a text encoder that is packed into one of the files is the one that its own config says.
    """
    c, text, present = config.transformer, config.text, list(names)
    ff_bias = c.ff_bias or any(name.startswith(_DIT) and _FF_BIAS.search(name) for name in present)
    prompt_adaln = c.prompt_adaln or any(name.startswith(_PROMPT_ADALN) for name in present)
    if PACKED_CONFIG in metadata:
        encoder = parse_gemma_config(_json(PACKED_CONFIG, metadata[PACKED_CONFIG], "the text encoder"))
        text = replace(text, encoder_dim=encoder.width)
    return replace(config, transformer=replace(c, ff_bias=ff_bias, prompt_adaln=prompt_adaln), text=text)


def load_duration_head(path: Path, device: torch.device) -> DurationHead:
    """Load the duration head in a file, frozen, in fp32. Raises InputError when the file doesn't hold all of it."""
    file = TensorFile(path, CHECKPOINT_ADVICE)
    try:
        (prefix,) = {name.removesuffix("mlp_out.weight") for name in file.tensors if name.endswith(DURATION)}
        sizes = sizes_in(file.tensors, prefix)
        heads = int(json.loads(file.metadata["config"])["duration_head"]["num_pooler_heads"])
        return load_module(lambda: DurationHead(**sizes, heads=heads), file.read, prefix, device, torch.float32)
    except (KeyError, ValueError, TypeError, RuntimeError) as error:
        raise InputError(
            f"The duration head in {path} can't be read ({error}); give a length with {using('duration')}."
        ) from None


def _is_audio(name: str) -> bool:
    if name.startswith((_CONNECTOR, _PROJECTION + "audio_", _VAE, _VOCODER)):
        return True
    return name.startswith(_DIT) and any(part in name for part in _STREAM)


def _few(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")


def _json(key: str, text: str, source: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        value = None
    if not isinstance(value, dict):
        raise InputError(f"The {key!r} metadata of {source} is not a JSON object; download the checkpoint again.")
    return value


def _generation(headers: Mapping[str, TensorHeader]) -> Generation:
    """Return the generation of all files. Raises InputError for one that is not supported, or for two at once."""
    found: dict[str, Generation] = {}
    for source, header in headers.items():
        version = parse_version(header.metadata.get("model_version", ""))
        if version is None and found:
            continue  # such as a text encoder's file, which says nothing of itself
        generation = generation_of(version, header.tensors)
        if generation is None:
            raise InputError(f"{source} is of a later LTX generation than {SUPPORTED[-1].name}; {_use(SUPPORTED[-1])}.")
        if not generation.supported:
            raise InputError(f"{source} is an {generation.title} checkpoint; {_use(LTX_23)}.")
        found[source] = generation
    (first, one), *others = found.items()
    for source, other in others:
        if other is not one:
            raise InputError(f"{first} is {one.title}, but {source} is {other.title}; give files of one generation.")
    return one


def _refuse_repacks(source: str, header: TensorHeader) -> None:
    described = [Path(source).name, *(value for key, value in header.metadata.items() if key != "config")]
    if any("distilled" in text.lower() for text in described):
        right = generation_of(parse_version(header.metadata.get("model_version", "")), header.tensors)
        raise InputError(
            f"{source} is a distilled checkpoint, on which LoRAs don't train well; "
            f"{_use(right if right is not None and right.supported else LTX_23)}."
        )
    scaled = sorted(
        name for name in header.tensors if name.endswith((".weight_scale", ".scale_weight", ".input_scale"))
    )
    if scaled:
        raise InputError(f"{source} is a quantised repack ({_few(scaled)}); {_use(LTX_23)}.")


def _use(generation: Generation) -> str:
    return f"use the unchanged {generation.title} base checkpoint, {generation.checkpoint}"
