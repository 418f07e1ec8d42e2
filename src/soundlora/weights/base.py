"""The frozen model that a LoRA is trained on: a checkpoint and its text encoder, loaded part by part.

Memory holds only what the moment needs: text parts are loaded to compute contexts and dropped again, the encoder to
compute latents, the decoder and vocoder to make sound.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from soundlora.errors import InputError
from soundlora.model import text_encoder
from soundlora.model.config import ModelConfig
from soundlora.model.encoder_files import EncoderFiles
from soundlora.model.gemma_config import GemmaConfig, family_of, parse_gemma_config
from soundlora.model.mel import log_mel, resample, to_stereo
from soundlora.model.quantize import QUANTIZATIONS, check_quantization, is_quantized, quantize
from soundlora.model.text_encoder import TextEncoder
from soundlora.model.transformer import AudioTransformer
from soundlora.net.addresses import is_bucket, is_url, public_name
from soundlora.system.cache_root import expanded
from soundlora.system.devices import compute_dtype, convolves_long, has_type, name_of
from soundlora.weights.checkpoint import Checkpoint, load_duration_head
from soundlora.weights.components import encoder_snapshot, find_files
from soundlora.weights.fetched import OnBytes, fetched, is_hub_name
from soundlora.weights.generations import ENCODER_FOLDER, SUPPORTED, Generation
from soundlora.wording import using

NANO = Path(__file__).parents[1] / "nano" / "base"


class Base:
    """An opened base. `name` is the user's name for it; `hash` tells bases with other weights apart."""

    def __init__(
        self, name: str, checkpoint: Path | Sequence[Path], encoder: Path, duration_head: Path | None = None
    ) -> None:
        """checkpoint: its file or files. encoder: the folder or file of the text encoder.

        Raises InputError when the checkpoint or the text encoder can't be used, or don't go together.
        """
        self.name = name
        self.checkpoint = Checkpoint(*([checkpoint] if isinstance(checkpoint, Path) else checkpoint))
        text_encoder.check_encoder(encoder, self.generation.encoder_advice())
        self.text_encoder_path, self.duration_head_path = encoder, duration_head
        self._check_versions()

    @property
    def config(self) -> ModelConfig:
        return self.checkpoint.config

    @property
    def generation(self) -> Generation:
        return self.checkpoint.generation

    @cached_property
    def hash(self) -> str:
        """Hex SHA-256 of the fingerprints of checkpoint and text encoder."""
        both = self.checkpoint.fingerprint + text_encoder.fingerprint(self.text_encoder_path)
        return hashlib.sha256(both.encode()).hexdigest()

    @cached_property
    def encoder_config(self) -> GemmaConfig:
        """The text encoder's sizes."""
        return parse_gemma_config(EncoderFiles(self.text_encoder_path).config)

    def _check_versions(self) -> None:
        """Raise InputError unless the text encoder is the one that the checkpoint declares, or of its generation's."""
        declared, config = self.checkpoint.layout.gemma_version, EncoderFiles(self.text_encoder_path).config
        family = self.generation.encoder if declared else "Gemma 3"
        has, wanted = config.get("gemma_version"), declared
        if family_of(config) != family:
            has, wanted = family_of(config), family
        if wanted is not None and has != wanted:
            raise InputError(
                f"The text encoder in {self.text_encoder_path} is {has or 'of no stated version'}, but "
                f"{self.checkpoint.path} was made with {wanted}; {self.generation.encoder_advice()}."
            )

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

    def contexts(
        self, captions: Sequence[str], device: torch.device, on_layer: Callable[[int, int], None] | None = None
    ) -> list[Tensor]:
        """Return the context of every caption, (context length, width), on the CPU.

        on_layer and errors are those of `features`.
        """
        features = self.features(captions, device, on_layer)
        with torch.no_grad():  # not inference_mode, as training reads the result
            connector = self.checkpoint.load_connector(device, compute_dtype(device))
            return [connector(f).cpu().clone() for f in features]

    @torch.no_grad()
    def features(
        self,
        captions: Sequence[str],
        device: torch.device,
        on_layer: Callable[[int, int], None] | None = None,
        on_states: Callable[[list[Tensor]], None] | None = None,
    ) -> list[Tensor]:
        """Return what the connector makes a context of: (tokens, width) of every caption, on the device.

        on_layer(done, of how many) follows the text encoder, which takes all captions through one layer at a time.
        on_states receives each layer's states of all captions, (tokens, encoder's width) each.
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
            if on_states is not None:
                on_states(states)
            if on_layer is not None:
                on_layer(layer + 1, encoder.states)
        return [(total + projection.audio_aggregate_embed.bias.float()).to(dtype) for total in sums]

    @torch.no_grad()
    def predicted_seconds(self, context: Tensor, device: torch.device) -> float | None:
        """Return how long the sound of a context (S, D) should last, or None where the base has no duration head.

        Raises InputError when the head can't be read.
        """
        if self.duration_head_path is None:
            return None
        head = load_duration_head(self.duration_head_path, device)
        seconds: float = head(context[None].to(device, torch.float32)).item()
        return seconds

    def codec(self, device: torch.device, *, encoder: bool = False, decoder: bool = False) -> Codec:
        """Load the VAE's encoder, or its decoder and the vocoder, or both."""
        return Codec(self, device, encoder=encoder, decoder=decoder)


class Codec:
    """The way from sound to latents and back."""

    def __init__(self, base: Base, device: torch.device, *, encoder: bool, decoder: bool) -> None:
        self.config, self.device, self._encodes = base.config, device, encoder
        self.vae = base.checkpoint.load_vae(device, encoder=encoder, decoder=decoder)
        self._vocoder_device = device if convolves_long(device) else torch.device("cpu")
        self.vocoder = base.checkpoint.load_vocoder(self._vocoder_device) if decoder else None

    @property
    def sample_rate(self) -> int:
        """Rate in Hz of the sound that `decode` returns."""
        return self.config.vocoder.output_rate

    def with_encoder(self, base: Base) -> Codec:
        """Return this codec if it encodes, else one of the base that does."""
        return self if self._encodes else Codec(base, self.device, encoder=True, decoder=self.vocoder is not None)

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

    name: `nano`, the path of a checkpoint, those of its files with commas between them, that of a folder with them,
    owner/name on the Hugging Face hub, s3://bucket/folder, or the URL of a checkpoint. encoder: a folder, a packed file
    or owner/name. Anything that isn't on this machine is fetched, and on_bytes(bytes that are there, of how many)
    follows that.

    Raises InputError when there is no such base or it can't be used, MachineError or Interrupted when a fetch of it
    ended early.
    """
    if name == "nano":  # its contexts come from its own encoder
        return Base(name, NANO / "nano.safetensors", NANO / ENCODER_FOLDER)
    if encoder is not None:
        encoder = _given_encoder(encoder, on_bytes)
    files = find_files(_given_files(name, on_bytes), encoder)
    found = encoder or files.encoder or _encoder_folder(files.checkpoint[0])
    return Base(public_name(name), files.checkpoint, found, files.duration_head)


def open_checkpoint(name: str) -> Checkpoint:
    """Open a base as `open_base` does, without its text encoder. Raises as that does."""
    if name == "nano":
        return Checkpoint(NANO / "nano.safetensors")
    return Checkpoint(*find_files(_given_files(name, None)).checkpoint)


def _given_files(name: str, on_bytes: OnBytes | None) -> list[Path]:
    """Return the files or the folder that a name stands for, which are fetched if need be."""
    path = expanded(name)
    if is_url(name) or is_bucket(name) or (is_hub_name(name) and not path.exists()):
        from soundlora.weights.fetch import fetch_base  # only this needs an HTTP client

        return [fetch_base(name, on_bytes)]
    several = [expanded(part.strip()) for part in name.split(",")]
    if len(several) > 1 and not path.exists():
        return several
    if path.exists() or path.suffix == ".safetensors":
        return [path]
    examples = " or ".join(generation.repository for generation in SUPPORTED)
    raise InputError(
        f"There is no base called {name!r} on this machine; use {using('base', 'nano')}, the path of a checkpoint, or "
        f"{examples}, of which the audio half is then fetched."
    )


def _given_encoder(encoder: Path, on_bytes: OnBytes | None) -> Path:
    if not encoder.exists() and is_hub_name(encoder.as_posix()):
        from soundlora.weights.fetch import fetch_text_encoder

        return fetch_text_encoder(encoder.as_posix(), on_bytes)
    return encoder


def _encoder_folder(checkpoint: Path) -> Path:
    """Return the folder beside the checkpoint, or LTX 2.3's when it has been fetched."""
    beside = checkpoint.parent / ENCODER_FOLDER
    if beside.exists():
        return beside
    gemma = fetched(text_encoder.GEMMA, "text encoder")
    return gemma.folder if gemma.complete else encoder_snapshot(text_encoder.GEMMA) or beside
