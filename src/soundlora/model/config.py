"""The checkpoint's `config` metadata, reduced to what the audio stream uses.

Every size comes from here; nothing else in `model` knows a number of the full-size model. Settings that the code cannot
honour are refused, not ignored: a LoRA trained on a silently different network would be worthless.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from soundlora.errors import InputError


@dataclass(frozen=True)
class TransformerConfig:
    """Sizes of the diffusion transformer's audio stream."""

    layers: int
    heads: int
    head_dim: int
    in_channels: int
    out_channels: int
    context_dim: int
    max_seconds: float  # positions are fractions of this many seconds
    rope_theta: float
    timestep_scale: float
    norm_eps: float
    ff_bias: bool
    prompt_adaln: bool = True  # the noise level modulates the text context; else the blocks' own tables alone do

    @property
    def width(self) -> int:
        return self.heads * self.head_dim


@dataclass(frozen=True)
class TextConfig:
    """Sizes of the feature projection and the audio connector."""

    encoder_dim: int  # width of the text encoder's hidden states
    layers: int
    heads: int
    head_dim: int
    max_position: float
    registers: int
    ff_bias: bool
    context_length: int  # tokens of context that the transformer attends to

    @property
    def width(self) -> int:
        return self.heads * self.head_dim


@dataclass(frozen=True)
class AudioConfig:
    """Sizes of the mel front end and the audio VAE."""

    sample_rate: int  # Hz, of the waveform that the mel is taken from
    n_fft: int
    hop: int  # samples
    mel_bins: int
    channels: int
    base_channels: int
    multipliers: tuple[int, ...]
    res_blocks: int
    latent_channels: int

    @property
    def downsample(self) -> int:
        """Mel frames per latent frame, and mel bins per latent bin."""
        return int(2 ** (len(self.multipliers) - 1))

    @property
    def latent_bins(self) -> int:
        return self.mel_bins // self.downsample

    @property
    def latent_rate(self) -> float:
        """Latent frames per second."""
        return self.sample_rate / self.hop / self.downsample


@dataclass(frozen=True)
class GeneratorConfig:
    """Sizes of one BigVGAN-style generator of the vocoder."""

    channels: int
    upsample_rates: tuple[int, ...]
    upsample_kernels: tuple[int, ...]
    block_kernels: tuple[int, ...]
    block_dilations: tuple[tuple[int, ...], ...]
    final_activation: bool  # clamp the output to [-1, 1]

    @property
    def factor(self) -> int:
        """Samples out per mel frame in."""
        return math.prod(self.upsample_rates)


@dataclass(frozen=True)
class VocoderConfig:
    """Sizes of the stage-1 generator, the bandwidth-extension generator and the mel front end between them."""

    stage1: GeneratorConfig
    bwe: GeneratorConfig
    input_rate: int  # Hz
    output_rate: int  # Hz
    hop: int
    n_fft: int
    mel_bins: int

    @property
    def ratio(self) -> int:
        """Samples out per sample in of the bandwidth extension."""
        return self.output_rate // self.input_rate


@dataclass(frozen=True)
class SamplingDefaults:
    """The settings by which previews and generations are sampled when nobody says otherwise."""

    steps: int = 30
    cfg: float = 7.0
    stg: float = 1.0
    stg_blocks: tuple[int, ...] | None = (28,)  # None: all blocks
    rescale: float = 0.7
    negative_prompt: str | None = None  # None: the endpoint's default


@dataclass(frozen=True)
class ModelConfig:
    """Everything that a checkpoint's `config` says of the audio half."""

    transformer: TransformerConfig
    text: TextConfig
    audio: AudioConfig
    vocoder: VocoderConfig
    sampling: SamplingDefaults = field(default_factory=SamplingDefaults)


# Any other value of these keys would change the network. Each row has the key, the value that its absence means, and
# the one value that is supported.
_TRANSFORMER_MUST_BE: tuple[tuple[str, Any, Any], ...] = (
    ("rope_type", "interleaved", "split"),
    ("frequencies_precision", None, "float64"),
    ("use_middle_indices_grid", True, True),
    ("apply_gated_attention", False, True),
    ("connector_apply_gated_attention", False, True),
    ("cross_attention_adaln", False, True),
    ("qk_norm", "rms_norm", "rms_norm"),
    ("norm_elementwise_affine", False, False),
    ("activation_fn", "gelu-approximate", "gelu-approximate"),
    ("attention_bias", True, True),
    ("positional_embedding_type", "rope", "rope"),
    ("double_self_attention", False, False),
    ("share_ff", False, False),
    ("caption_proj_before_connector", False, True),
    ("caption_projection_first_linear", True, False),
    ("caption_projection_second_linear", True, False),
    ("caption_proj_input_norm", True, False),
)
_VAE_MUST_BE: tuple[tuple[str, Any, Any], ...] = (
    ("double_z", True, True),
    ("attn_resolutions", [], []),
    ("mid_block_add_attention", False, False),
    ("norm_type", "pixel", "pixel"),
    ("causality_axis", "height", "height"),
)
_GENERATOR_MUST_BE: tuple[tuple[str, Any, Any], ...] = (
    ("resblock", "AMP1", "AMP1"),
    ("activation", "snakebeta", "snakebeta"),
    ("stereo", True, True),
    ("use_tanh_at_final", False, False),
    ("use_bias_at_final", False, False),
)


def parse_config(
    config: Mapping[str, Any],
    extras: Mapping[str, Any] | None = None,
    sampling: SamplingDefaults = SamplingDefaults(),
) -> ModelConfig:
    """Read the checkpoint's `config` and soundlora's own optional block.

    `extras` may hold `context_length` (tokens, default 1,024) and `sampling` (keys of `SamplingDefaults`), which go
    before the generation's `sampling`.
    Raises InputError naming the key when a block or key is missing or has a value that is not supported.
    """
    extras = extras or {}
    try:
        return ModelConfig(
            transformer=_transformer(config["transformer"]),
            text=_text(config["transformer"], int(extras.get("context_length", 1024))),
            audio=_audio(config["audio_vae"]),
            vocoder=_vocoder(config["vocoder"]),
            sampling=_sampling(extras.get("sampling", {}), int(config["transformer"]["num_layers"]), sampling),
        )
    except KeyError as error:
        raise InputError(
            f"The checkpoint's config has no {error.args[0]!r}; use an unchanged LTX checkpoint, which carries it."
        ) from None
    except InputError:
        raise
    except (TypeError, ValueError, AttributeError, IndexError) as error:
        raise InputError(f"The checkpoint's config can't be read ({error}); use an unchanged LTX checkpoint.") from None


def _require(block: Mapping[str, Any], rules: tuple[tuple[str, Any, Any], ...], name: str) -> None:
    for key, absent, supported in rules:
        value = block.get(key, absent)
        if value != supported:
            raise InputError(
                f"The checkpoint's config says {name}.{key} = {value!r}, but soundlora computes only {supported!r}; "
                "use an unchanged LTX checkpoint."
            )


def _transformer(c: Mapping[str, Any]) -> TransformerConfig:
    _require(c, _TRANSFORMER_MUST_BE, "transformer")
    heads, head_dim = int(c["audio_num_attention_heads"]), int(c["audio_attention_head_dim"])
    return TransformerConfig(
        layers=int(c["num_layers"]),
        heads=heads,
        head_dim=head_dim,
        in_channels=int(c.get("audio_in_channels", 128)),
        out_channels=int(c.get("audio_out_channels", 128)),
        context_dim=int(c["audio_cross_attention_dim"]),
        max_seconds=float(c.get("audio_positional_embedding_max_pos", [20])[0]),
        rope_theta=float(c.get("positional_embedding_theta", 10000.0)),
        timestep_scale=float(c.get("timestep_scale_multiplier", 1000)),
        norm_eps=float(c.get("norm_eps", 1e-6)),
        ff_bias=bool(c.get("audio_ff_bias", True)),
        prompt_adaln=bool(c.get("use_prompt_adaln_single", True)),
    )


def _text(c: Mapping[str, Any], context_length: int) -> TextConfig:
    registers = 128  # the reference ignores connector_num_learnable_registers and always uses 128
    if context_length <= 0 or context_length % registers:
        raise InputError(
            f"The checkpoint's context_length is {context_length}, but it must be a positive multiple of {registers}."
        )
    return TextConfig(
        encoder_dim=int(c["caption_channels"]),
        layers=int(c.get("audio_connector_num_layers", c.get("connector_num_layers", 2))),
        heads=int(c["audio_connector_num_attention_heads"]),
        head_dim=int(c["audio_connector_attention_head_dim"]),
        max_position=float(c.get("connector_positional_embedding_max_pos", [1])[0]),
        registers=registers,
        ff_bias=bool(c.get("connector_ff_bias", True)),
        context_length=context_length,
    )


def _audio(c: Mapping[str, Any]) -> AudioConfig:
    params = c["model"]["params"]
    dd = params["ddconfig"]
    _require(dd, _VAE_MUST_BE, "audio_vae.model.params.ddconfig")
    stft = c.get("preprocessing", {}).get("stft", {})
    if int(stft.get("win_length", 1024)) != int(stft.get("filter_length", 1024)):
        raise InputError("The checkpoint's STFT window and filter lengths differ; use an unchanged LTX checkpoint.")
    return AudioConfig(
        sample_rate=int(params.get("sampling_rate", 16000)),
        n_fft=int(stft.get("filter_length", 1024)),
        hop=int(stft.get("hop_length", 160)),
        mel_bins=int(dd.get("mel_bins", 64)),
        channels=int(dd["in_channels"]),
        base_channels=int(dd["ch"]),
        multipliers=tuple(int(m) for m in dd["ch_mult"]),
        res_blocks=int(dd["num_res_blocks"]),
        latent_channels=int(dd["z_channels"]),
    )


def _generator(c: Mapping[str, Any], name: str) -> GeneratorConfig:
    _require(c, _GENERATOR_MUST_BE, name)
    return GeneratorConfig(
        channels=int(c["upsample_initial_channel"]),
        upsample_rates=tuple(int(r) for r in c["upsample_rates"]),
        upsample_kernels=tuple(int(k) for k in c["upsample_kernel_sizes"]),
        block_kernels=tuple(int(k) for k in c["resblock_kernel_sizes"]),
        block_dilations=tuple(tuple(int(d) for d in row) for row in c["resblock_dilation_sizes"]),
        final_activation=bool(c.get("apply_final_activation", True)),
    )


def _vocoder(c: Mapping[str, Any]) -> VocoderConfig:
    if "bwe" not in c:
        raise InputError(
            "The checkpoint's vocoder has no bandwidth extension, so it is an LTX 2.0 file; use a later checkpoint."
        )
    bwe = c["bwe"]
    return VocoderConfig(
        stage1=_generator(c["vocoder"], "vocoder.vocoder"),
        bwe=_generator(bwe, "vocoder.bwe"),
        input_rate=int(bwe["input_sampling_rate"]),
        output_rate=int(bwe["output_sampling_rate"]),
        hop=int(bwe["hop_length"]),
        n_fft=int(bwe["n_fft"]),
        mel_bins=int(bwe["num_mels"]),
    )


def _sampling(values: Mapping[str, Any], layers: int, standard: SamplingDefaults) -> SamplingDefaults:
    blocks = values.get("stg_blocks", standard.stg_blocks)
    if "stg_blocks" in values and blocks is not None:
        blocks = tuple(int(b) for b in blocks)
        if any(not 0 <= b < layers for b in blocks):
            raise InputError(
                f"The checkpoint's config has stg_blocks = {list(blocks)}, but its blocks are 0 to {layers - 1}; name "
                "some of those."
            )
    elif blocks is not None and any(b >= layers for b in blocks):
        # A smaller network that names no blocks takes the one at the same relative depth as block 28 of 0 to 47.
        blocks = (round(28 / 47 * (layers - 1)),)
    return SamplingDefaults(
        steps=int(values.get("steps", standard.steps)),
        cfg=float(values.get("cfg", standard.cfg)),
        stg=float(values.get("stg", standard.stg)),
        stg_blocks=blocks,
        rescale=float(values.get("rescale", standard.rescale)),
        negative_prompt=values.get("negative_prompt"),
    )
