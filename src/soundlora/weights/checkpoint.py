"""The official single-file checkpoint, of which only the audio tensors are ever read.

The list of wanted tensors is not a filter on names. It is built from the config, by asking each module for its state
on the meta device. Every name and shape must be there, and no tensor of the audio half may be left over.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from soundlora.errors import InputError
from soundlora.model.audio_vae import AudioVAE
from soundlora.model.config import ModelConfig, parse_config
from soundlora.model.connector import AudioConnector, FeatureProjection
from soundlora.model.tensor_file import READABLE, TensorFile, TensorHeader, TensorInfo
from soundlora.model.transformer import AudioTransformer
from soundlora.model.vocoder import Vocoder
from soundlora.system.devices import has_channels_last

_DIT = "model.diffusion_model."
_CONNECTOR = _DIT + "audio_embeddings_connector."
_PROJECTION = "text_embedding_projection."
_VAE = "audio_vae."
_VOCODER = "vocoder."
_PROJECTION_WEIGHT = _PROJECTION + "audio_aggregate_embed.weight"

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

CHECKPOINT_ADVICE = "give the path of an LTX 2.3 .safetensors checkpoint"

Module = TypeVar("Module", bound=nn.Module)


class Layout:
    """The content of a checkpoint's header: `config`, and `audio`, the shape of every audio tensor by name."""

    def __init__(self, source: str, header: TensorHeader) -> None:
        """source: path or URL of the file. Raises InputError when it is no LTX 2.3 base or lacks audio tensors."""
        self.source = source
        self.tensors, self.metadata = header.tensors, header.metadata
        metadata = self.metadata
        if "config" not in metadata:
            raise InputError(
                f"{source} carries no 'config' metadata, so it is a repack or no LTX checkpoint; "
                "use the unchanged ltx-2.3-22b-dev.safetensors."
            )
        _refuse_other_generations(source, metadata, self.tensors)
        extras = _json("soundlora", metadata.get("soundlora", "{}"), source)
        self.config: ModelConfig = parse_config(_json("config", metadata["config"], source), extras)
        self._check_complete()

    @cached_property
    def encoder_layers(self) -> int:
        """Number of a token's hidden states that the text projection takes: the encoder's layers + 1."""
        columns = self.tensors[_PROJECTION_WEIGHT].shape[-1]
        layers, rest = divmod(columns, self.config.text.encoder_dim)
        if rest:
            raise InputError(
                f"{_PROJECTION_WEIGHT} in {self.source} has {columns} columns, which is no multiple of "
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
                f"({_few(unexpected)}); use an unchanged LTX 2.3 checkpoint."
            )
        for name, shape in expected.items():
            info = self.tensors[name]
            if info.shape != shape:
                raise InputError(
                    f"{name} in {self.source} has the shape {list(info.shape)}, but the config asks for {list(shape)}; "
                    "use an unchanged LTX 2.3 checkpoint."
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
    """An LTX 2.3 base file. It is checked when it is opened; tensors are read when a part is loaded."""

    def __init__(self, path: Path) -> None:
        """Read the header only. Raises InputError when the file is no LTX 2.3 base checkpoint or is incomplete."""
        self.path = path
        self.file = TensorFile(path, CHECKPOINT_ADVICE)
        self.layout = Layout(str(path), self.file.header)
        self.tensors, self.metadata = self.file.tensors, self.file.metadata
        self.config, self.encoder_layers = self.layout.config, self.layout.encoder_layers

    @cached_property
    def fingerprint(self) -> str:
        """Hex SHA-256 over the config and every audio tensor's name, type, shape and first 4 KiB.

        A hash of all bytes would read 8.5 GB for nothing but a name; retraining or repacking changes these samples.
        The header itself doesn't count, so that the audio half alone and the whole file have the same fingerprint.
        """
        said = {key: _json(key, self.metadata.get(key, "{}"), str(self.path)) for key in ("config", "soundlora")}
        digest = hashlib.sha256(json.dumps(said, sort_keys=True).encode())
        with self.path.open("rb") as file:
            for name in sorted(self.layout.audio):
                info = self.tensors[name]
                digest.update(f"{name} {info.dtype} {list(info.shape)}\n".encode())
                file.seek(info.start)
                digest.update(file.read(min(SAMPLE, info.end - info.start)))
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
        with torch.device("meta"):
            module = build()
        stored = self.file.read(prefix + name for name in module.state_dict())
        # Tensors are moved one at a time, so that no second copy of the weights is held. The device may lack the type
        # that they are stored in.
        state = {name.removeprefix(prefix): tensor.to(dtype).to(device) for name, tensor in stored}
        module.load_state_dict(state, assign=True)
        return module.requires_grad_(False).eval()


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


def _refuse_other_generations(source: str, metadata: dict[str, str], tensors: dict[str, TensorInfo]) -> None:
    use = "use the LTX 2.3 base checkpoint, ltx-2.3-22b-dev.safetensors"
    described = [Path(source).name, *(value for key, value in metadata.items() if key != "config")]
    if any("distilled" in text.lower() for text in described):
        raise InputError(f"{source} is a distilled checkpoint, on which LoRAs don't train well; {use}.")
    version = _version(metadata.get("model_version", ""))
    newer = any(part in name for name in tensors for part in ("duration_head", "keyframes_"))
    if newer or (version is not None and version >= (2, 4)):
        raise InputError(f"{source} is of a later LTX generation than 2.3; {use}.")
    older = any(name.startswith(_DIT + "audio_caption_projection.") for name in tensors)
    if older or (version is not None and version < (2, 3)):
        raise InputError(f"{source} is an LTX 2.0 checkpoint; {use}.")
    scaled = sorted(name for name in tensors if name.endswith((".weight_scale", ".scale_weight", ".input_scale")))
    if scaled:
        raise InputError(f"{source} is a quantised repack ({_few(scaled)}); {use}.")
    if _PROJECTION_WEIGHT not in tensors:
        raise InputError(f"{source} has no {_PROJECTION_WEIGHT}, so it is no LTX 2.3 checkpoint; {use}.")


def _version(text: str) -> tuple[int, int] | None:
    """Return (2, 3) for '2.3.0', and None for text that is no version."""
    parts = text.strip().strip('"').split(".")
    if len(parts) < 2 or not (parts[0].isdigit() and parts[1].isdigit()):
        return None
    return int(parts[0]), int(parts[1])
