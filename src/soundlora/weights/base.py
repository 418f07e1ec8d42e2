"""The frozen model that a LoRA is trained on: a checkpoint and its text encoder, loaded part by part.

Memory holds only what the moment needs: text parts are loaded to compute contexts and dropped again, the encoder to
compute latents, the decoder and vocoder to make sound.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from soundlora.errors import InputError
from soundlora.model import text_encoder
from soundlora.model.config import ModelConfig
from soundlora.model.gemma import GemmaConfig, parse_gemma_config
from soundlora.model.mel import log_mel, resample, to_stereo
from soundlora.model.quantize import QUANTIZATIONS, check_quantization, is_quantized, quantize
from soundlora.model.text_encoder import TextEncoder
from soundlora.model.transformer import AudioTransformer
from soundlora.net.addresses import is_url, public_name
from soundlora.system.cache_root import expanded
from soundlora.system.devices import compute_dtype, convolves_long, has_type, name_of
from soundlora.weights.checkpoint import Checkpoint
from soundlora.weights.fetched import OnBytes, fetched, is_hub_name
from soundlora.wording import using

NANO = Path(__file__).parents[1] / "nano" / "base"
_ENCODER_FOLDER = "text_encoder"


class Base:
    """An opened base. `name` is the user's name for it; `hash` tells bases with other weights apart."""

    def __init__(self, name: str, checkpoint: Path, encoder: Path) -> None:
        """Raises InputError when the checkpoint or the text encoder's folder can't be used."""
        self.name = name
        self.checkpoint = Checkpoint(checkpoint)
        text_encoder.check_directory(encoder)
        self.text_encoder_path = encoder

    @property
    def config(self) -> ModelConfig:
        return self.checkpoint.config

    @cached_property
    def hash(self) -> str:
        """Hex SHA-256 of the fingerprints of checkpoint and text encoder."""
        both = self.checkpoint.fingerprint + text_encoder.fingerprint(self.text_encoder_path)
        return hashlib.sha256(both.encode()).hexdigest()

    @cached_property
    def encoder_config(self) -> GemmaConfig:
        """The text encoder's sizes."""
        return parse_gemma_config(json.loads((self.text_encoder_path / "config.json").read_text()))

    def transformer(
        self, device: torch.device, quantization: str | None = None, *, at: torch.device | None = None
    ) -> AudioTransformer:
        """Load the transformer for a device. quantization: None, or one of `QUANTIZATIONS` for the blocks' matrices.

        at: where its weights are left, None being the device itself. Raises as `quantize` does.
        """
        dtype, place = compute_dtype(device), at or device
        if quantization is None:
            return self.checkpoint.load_transformer(place, dtype)
        check_holds(device, quantization)
        # The weights are read as stored, since there may be no room for a wide copy of them all. They are narrowed in
        # the host's memory: the device never holds more than it will, and the weights are the same on every machine.
        model = quantize(self.checkpoint.load_transformer(torch.device("cpu"), torch.bfloat16), quantization)
        for name, parameter in model.named_parameters():
            if not is_quantized(name):
                parameter.data = parameter.data.to(dtype)
        return model.to(place)

    @torch.no_grad()  # not inference_mode, as training reads the result
    def contexts(
        self, captions: Sequence[str], device: torch.device, on_layer: Callable[[int, int], None] | None = None
    ) -> list[Tensor]:
        """Return the context of every caption, (context length, width), on the CPU.

        on_layer(done, of how many) follows the text encoder, which takes all captions through one layer at a time.
        Raises InputError when the text encoder has other layers than the base was made for.
        """
        dtype = compute_dtype(device)
        encoder = TextEncoder(self.text_encoder_path, device, dtype, self.config.text.context_length)
        if encoder.states != self.checkpoint.encoder_layers:
            raise InputError(
                f"The text encoder in {self.text_encoder_path} has {encoder.states - 1} layers, but the base was made "
                f"for one of {self.checkpoint.encoder_layers - 1}; give its folder with {using('text_encoder')}."
            )
        projection = self.checkpoint.load_projection(device, dtype)
        sums: list[Tensor | float] = [0.0] * len(captions)
        for layer, states in enumerate(encoder.stream(captions)):
            weight = projection.layer_weight(layer)
            sums = [total + projection.layer(h, weight) for total, h in zip(sums, states, strict=True)]
            if on_layer is not None:
                on_layer(layer + 1, encoder.states)
        features = [(total + projection.audio_aggregate_embed.bias.float()).to(dtype) for total in sums]
        del projection
        connector = self.checkpoint.load_connector(device, dtype)
        return [connector(f).cpu().clone() for f in features]

    def codec(self, device: torch.device, *, encoder: bool = False, decoder: bool = False) -> Codec:
        """Load the VAE's encoder, or its decoder and the vocoder, or both."""
        return Codec(self, device, encoder=encoder, decoder=decoder)


class Codec:
    """The way from sound to latents and back."""

    def __init__(self, base: Base, device: torch.device, *, encoder: bool, decoder: bool) -> None:
        self.config, self.device = base.config, device
        self.vae = base.checkpoint.load_vae(device, encoder=encoder, decoder=decoder)
        self._vocoder_device = device if convolves_long(device) else torch.device("cpu")
        self.vocoder = base.checkpoint.load_vocoder(self._vocoder_device) if decoder else None

    @property
    def sample_rate(self) -> int:
        """Rate in Hz of the sound that `decode` returns."""
        return self.config.vocoder.output_rate

    @torch.no_grad()  # not inference_mode, as training reads the result
    def encode(self, waveform: Tensor, sample_rate: int) -> Tensor:
        """Return the normalised latents (T, C), fp32, on the CPU, of sound (channels, samples) in [−1, 1].

        sample_rate: in Hz. Raises as `resample` does for the rate, and as `log_mel` does for too few samples.
        """
        audio = self.config.audio
        # The spectrum is complex, which not every device computes with; the work is little beside the encoder's.
        stereo = resample(to_stereo(waveform.cpu()), sample_rate, audio.sample_rate)
        return self.vae.encode(log_mel(stereo[None], audio).to(self.device))[0].cpu().clone()

    @torch.inference_mode()
    def decode(self, latents: Tensor) -> Tensor:
        """Return the stereo sound (2, (4T − 3)·480) in [−1, 1] at `sample_rate`, on the CPU, of latents (T, C)."""
        assert self.vocoder is not None
        mel = self.vae.decode(latents[None].to(self.device, torch.float32))
        waveform: Tensor = self.vocoder(mel.to(self._vocoder_device))[0].cpu().clone()
        return waveform


def check_holds(device: torch.device, quantization: str) -> None:
    """Raise InputError for a quantisation whose numbers the device does not have, and as `check_quantization` does."""
    check_quantization(quantization)
    if not has_type(device, QUANTIZATIONS[quantization]):
        raise InputError(
            f"{using('quantize', quantization)} takes a type of numbers that {name_of(device)} ({device}) lacks; use "
            f"{using('quantize', 'int8')}.",
            field="quantize",
        )


def open_base(name: str, encoder: Path | None = None, on_bytes: OnBytes | None = None) -> Base:
    """Open a base and its text encoder.

    name: `nano`, the path of a checkpoint, that of a folder with a checkpoint and a `text_encoder` folder, owner/name
    on the Hugging Face hub, or the URL of a checkpoint. encoder: a folder or owner/name. Anything that isn't in the
    cache is fetched, and on_bytes(bytes that are there, of how many) follows that.

    Raises InputError when there is no such base or it can't be used, MachineError or Interrupted when a fetch of it
    ended early.
    """
    checkpoint = checkpoint_path(name, on_bytes)
    # nano's contexts come from its own encoder.
    folder = NANO / _ENCODER_FOLDER if name == "nano" else _encoder_folder(encoder, checkpoint, on_bytes)
    return Base(public_name(name), checkpoint, folder)


def checkpoint_path(name: str, on_bytes: OnBytes | None = None) -> Path:
    """Return the checkpoint of a base, which is fetched if need be. Raises as `open_base` does."""
    path = expanded(name)
    if name == "nano":
        return NANO / "nano.safetensors"
    if is_url(name) or (is_hub_name(name) and not path.exists()):
        from soundlora.weights.fetch import fetch_base  # only this needs an HTTP client

        return fetch_base(name, on_bytes)
    if path.is_dir():
        files = sorted(path.glob("*.safetensors"))
        if len(files) != 1:
            found = "holds no .safetensors file" if not files else f"holds {len(files)} .safetensors files"
            raise InputError(
                f"The base folder {path} {found}; give the path of one checkpoint file with {using('base')}."
            )
        return files[0]
    if path.exists() or path.suffix == ".safetensors":
        return path
    raise InputError(
        f"There is no base called {name!r} on this machine; use {using('base', 'nano')}, the path of a checkpoint, or "
        "Lightricks/LTX-2.3, of which the audio half is then fetched."
    )


def _encoder_folder(encoder: Path | None, checkpoint: Path, on_bytes: OnBytes | None) -> Path:
    """Return the given folder, the one beside the checkpoint, or LTX 2.3's when it has been fetched."""
    if encoder is not None:
        if not encoder.exists() and is_hub_name(encoder.as_posix()):
            from soundlora.weights.fetch import fetch_text_encoder

            return fetch_text_encoder(encoder.as_posix(), on_bytes)
        return encoder
    beside = checkpoint.parent / _ENCODER_FOLDER
    gemma = fetched(text_encoder.GEMMA, "text encoder")
    return gemma.folder if gemma.complete and not beside.exists() else beside
