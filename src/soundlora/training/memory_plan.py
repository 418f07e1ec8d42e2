"""The memory that a training will take, from sizes alone: nothing is loaded or tried.

A step is counted tensor by tensor as `model` saves them for the backward pass; the tests hold the count against the
memory that is really allocated. Work before and between the steps is estimated by its largest tensors.

In shapes n is clips, T latents, S tokens of the context, C the audio stream's width, D the context's, H heads, d
channels of a head, r the rank.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, replace
from typing import Literal

import torch

from soundlora.lora.forms import Form
from soundlora.lora.joint import aligned
from soundlora.lora.lokr import shapes_of
from soundlora.model.config import GeneratorConfig, ModelConfig, TransformerConfig
from soundlora.model.gemma_config import GemmaConfig
from soundlora.model.latents import generation_latents, training_latents
from soundlora.system.gpu_memory import CUDA_RUNTIME
from soundlora.training.flow import HELD_OUT_SIGMAS
from soundlora.training.offload import SLOTS
from soundlora.training.optimizers import bytes_held
from soundlora.training.part_sizes import (
    adapter_numbers,
    adapter_sides,
    connector_numbers,
    decoder_numbers,
    encoder_numbers,
    joined_sizes,
    joint_numbers,
    projection_numbers,
    transformer_weights,
)

SHARE = 0.92  # share of a GPU's memory that a plan may fill, since the allocator can't use every gap
_GUIDANCE_PASSES = 3


@dataclass(frozen=True)
class Settings:
    """The settings that a training's memory depends on, besides the base."""

    rank: int = 32
    targets: str = "all"
    seconds: float = 5.0
    clips: int = 1  # that go through the transformer at once
    dtype: torch.dtype = torch.bfloat16
    quantize: str | None = None
    optimizer: str = "adamw"
    average: bool = True
    checkpointing: bool = False  # activations computed again, block by block
    offload: int = 0  # blocks whose weights lie in the host's memory, with which activations are computed again
    fused_attention: bool = True  # as on GPUs; on CPUs the scores are held
    given: Literal["nothing", "latents", "reference"] = "nothing"  # of each clip, see `model.condition`
    captions: int = 0  # whose keys and values are computed once, where the base allows it
    gathered: bool = False  # gradients of A and B come after the backward pass, even with activations computed again
    adapter: Form = "lora"

    @property
    def joined(self) -> bool:
        """Whether layers with one input are joined, as on GPUs. Those in int8 and fp8 are where there are kernels.

        Those of a LoKr never are.
        """
        return self.adapter == "lora" and self.fused_attention and self.quantize != "bf16" and not self.offload

    @property
    def gathers(self) -> bool:
        """Whether the gradients of A and B are computed after the backward pass, see `Joints.gather`.

        What they are made of takes no more memory than activations that are kept, which it takes the place of.
        """
        return self.joined and (self.gathered or not self.checkpointing)


@dataclass(frozen=True)
class Plan:
    """Bytes by part. The base's weights, the adapter with gradients and moments, `text` and `runtime` stay for the run.

    `saved` and `workspace` come on top in a step, and `gathered` takes their place at its end. `evaluation` comes
    while the loss on clips kept out is computed, `previews` while one is made. `preparation` comes before all of them;
    it includes loading, where the weights are moved afterwards. `host` and `copied` are no part of the device's memory.
    """

    settings: Settings
    weights: int
    adapter: int
    saved: int  # activations kept for the backward pass
    workspace: int
    evaluation: int
    previews: int
    preparation: int
    runtime: int
    host: int = 0  # of the weights that lie in the host's memory
    copied: int = 0  # to the device each time that clips go through, there and back
    text: int = 0  # keys and values of captions, see `Settings.captions`
    gathered: int = 0  # what the gradients of A and B are made of, see `Settings.gathers`

    @property
    def held(self) -> int:
        """Bytes that stay for the whole run."""
        return self.weights + self.adapter + self.text + self.runtime

    @property
    def step(self) -> int:
        """Bytes in a training step."""
        return self.held + max(self.saved + self.workspace, self.gathered)

    @property
    def peak(self) -> int:
        """Bytes at the fullest moment of the run."""
        # A step that a GPU has recorded keeps its memory for the next one, and gives it back only before previews.
        between = self.step if self.runtime and not self.settings.offload else self.held
        return max(self.step, between + self.evaluation, self.held + self.previews, self.preparation + self.runtime)


def plan(config: ModelConfig, settings: Settings, encoder: GemmaConfig | None = None, *, cuda: bool = True) -> Plan:
    """Return the memory of a run. encoder: the text encoder's sizes; None leaves it out of the preparation."""
    c, s = config.transformer, settings
    tokens, context = training_latents(s.seconds, config.audio), config.text.context_length
    tokens *= 2 if s.given == "reference" else 1  # it stands in front
    saved, workspace, gathered = _step(c, s, tokens, context)
    numbers = adapter_numbers(c, s.rank, s.targets, s.adapter)
    # Each number has its value and its gradient, of 4 bytes each, and may have its part in the weights' mean.
    sides = adapter_sides(c, s.rank, s.targets, s.adapter)
    trained = numbers * (8 + 4 * s.average) + bytes_held(s.optimizer, numbers, sides)
    weights = transformer_weights(c, s.dtype, s.quantize)
    block, away = transformer_weights(c, s.dtype, s.quantize, "transformer_blocks.0."), min(s.offload, c.layers)
    here = min(away, SLOTS)  # of the blocks that lie elsewhere, so many are on the device at a time
    weights -= (away - here) * block
    moving = copies = 0
    if s.joined:
        copies = s.dtype.itemsize * joint_numbers(c, s.rank, s.targets, s.quantize is None)
        # Joining takes the values and gradients of A and B, fp32, and for a moment the widest layers (4C, C) of all
        # blocks twice. Weights in eight bits move block by block.
        moved = c.layers if s.quantize is None else 1
        moving = weights + 8 * numbers + copies + 4 * moved * c.width * c.width * s.dtype.itemsize
    return Plan(
        settings,
        weights=weights,
        adapter=round(trained) + copies,
        saved=saved,
        workspace=workspace,
        evaluation=len(HELD_OUT_SIGMAS) * _forward(config, s, tokens),
        previews=_previews(config, s),
        preparation=max(moving, _preparation(config, s, encoder)),
        runtime=CUDA_RUNTIME if cuda else 0,
        host=away * block,
        copied=2 * (away - here) * block,  # for the forward pass and for the backward pass, less those still there
        text=_text(config, s) if s.captions else 0,
        gathered=gathered,
    )


def of_generation(
    config: ModelConfig, seconds: float, encoder: GemmaConfig | None = None, *, cuda: bool = True, takes: int = 1
) -> int:
    """Return the bytes that a generation takes at its fullest moment, with the base loaded as a `Generator` has it.

    takes: so many go through the model together; they are decoded one after the other.
    """
    s = Settings(seconds=seconds)
    held = transformer_weights(config.transformer, s.dtype, None) + 4 * decoder_numbers(config)
    work = max(_previews(config, s, takes), _preparation(config, s, encoder))
    return held + work + (CUDA_RUNTIME if cuda else 0)


def fitting(
    config: ModelConfig,
    settings: Settings,
    memory: int,
    encoder: GemmaConfig | None = None,
    checkpointing: bool | None = None,
    offload: int | None = 0,
    *,
    cuda: bool = True,
) -> tuple[Plan, bool]:
    """Return the fastest plan for a GPU with `memory` bytes, and whether it fits.

    First fewer clips go through at once, which costs little; then captions' keys and values are made anew in each step,
    which costs a third of its work; then activations are computed again, which costs half as much work again, and the
    gradients of A and B are computed block by block; then as few blocks as need be are offloaded, whose copies can take
    longer than all else. All of it gives the same LoRA, to rounding.

    checkpointing: True or False if that is not to be chosen. offload: a number of blocks if that is not to be chosen,
    None if it is.
    """
    clips = settings.clips
    if offload:
        blocks = min(offload, config.transformer.layers)
        settings, checkpointing = replace(settings, offload=blocks, captions=0), True
    captions = settings.captions
    choices = [
        replace(settings, clips=max(1, clips >> halvings), captions=kept, checkpointing=again, gathered=gathered)
        for again in ((False, True) if checkpointing is None else (checkpointing,))
        for kept in ((captions, 0) if captions else (0,))
        for halvings in range(clips.bit_length())
        for gathered in ((True, False) if again and settings.joined else (False,))
    ]
    for choice in choices:
        found = plan(config, choice, encoder, cuda=cuda)
        if found.peak <= SHARE * memory:
            return found, True
    if offload is None and checkpointing is not False:
        return _offloading(config, replace(settings, captions=0), memory, encoder, cuda)
    return found, False


def _offloading(
    config: ModelConfig, settings: Settings, memory: int, encoder: GemmaConfig | None, cuda: bool
) -> tuple[Plan, bool]:
    """Return the plan with the most clips at once, and for those with the fewest blocks offloaded; see `fitting`."""
    layers, clips = config.transformer.layers, settings.clips

    def offloading(clips: int, blocks: int) -> Plan:
        return plan(config, replace(settings, clips=clips, checkpointing=True, offload=blocks), encoder, cuda=cuda)

    # Every group of clips takes the copies anew, so few groups count for more than few blocks.
    for count in [max(1, clips >> halvings) for halvings in range(clips.bit_length())]:
        if (all_away := offloading(count, layers)).peak > SHARE * memory:
            continue
        fewest = bisect_left(range(1, layers), -SHARE * memory, key=lambda blocks: -offloading(count, blocks).peak) + 1
        return offloading(count, fewest), True
    return all_away, False


def _step(c: TransformerConfig, s: Settings, tokens: int, context: int) -> tuple[int, int, int]:
    """Return the bytes saved for the backward pass, those that come on top while it begins, and those after it.

    After it are those of the gradients of A and B, or none.
    """
    size = s.dtype.itemsize
    audio = s.clips * tokens * c.width  # numbers in one activation of the audio stream, (n, T, C)
    text = s.clips * context * c.width  # numbers in k or v of the text, (n, S, C)
    scores = 0 if s.fused_attention else s.clips * c.heads * tokens  # rows of the attention's scores, (n, H, T)
    # Self-attention saves nine of (n, T, C): the norm, its modulated result, q and k before their norms and after the
    # rotation, v, the result before and after the gate. Attention to the text saves six: these without k and v. Of the
    # text it saves k before and after its norm and v, (n, S, C), and the modulated context, (n, S, D). The feed-forward
    # saves the norm and its modulated result, (n, T, C), and both sides of the GELU, (n, T, 4C). Scores are
    # (n, H, T, T) and (n, H, T, S).
    # Where each latent has a timestep of its own, the nine rows of modulation and three of their sums are (n, T, C).
    own = s.given != "nothing"
    block = (9 + 6 + 10 + 12 * own) * audio + 3 * text + s.clips * context * c.context_dim + scores * (tokens + context)
    # Gates save four of (n, T, H); x Aᵀ is (n, T, r) in eight adapters and (n, S, r) in the two of the text.
    block += s.clips * (4 * c.heads * tokens + s.rank * (8 * tokens + 2 * context))
    if s.joined:  # results (n, T, C) that lie in one tensor with an x Aᵀ
        block += 3 * audio * (s.quantize is None and not s.gathers)
    elif size != 4:
        block += adapter_numbers(c, s.rank, s.targets, s.adapter) // c.layers  # as rounded for the product
    block += _of_form(c, s, tokens, context)
    if s.fused_attention:
        # Joined layers have the gradient of (n, T, 4C) twice, without and with A's share.
        workspace = max((10 if s.joined else 6) * audio, 4 * text - 8 * audio)
    else:  # the scores' gradients (n, H, T, S), when the last feed-forward's activations are gone
        workspace = max(6 * audio, 2 * scores * context - 11 * audio)
    if s.quantize is not None:
        workspace += 4 * c.width * c.width  # the widest layer's weight (4C, C), as it is multiplied with
    # The context (n, S, D) is on the device; the rotation's cos and sin are fp32, at most (n, H, T, d/2) each.
    shared = size * s.clips * context * c.context_dim + 4 * audio + 9 * own * size * audio
    gathered = 0
    if s.gathers:  # the first block comes last in the backward pass, when all others have kept theirs
        kept, fullest = _kept(c, s, tokens, context)
        gathered = shared + size * max(kept + block + workspace, fullest)
    if s.checkpointing:  # each block's input (n, T, C) is saved, and one block at a time is computed again
        return size * c.layers * audio + shared, size * (block + workspace), gathered
    return size * c.layers * block + shared, size * workspace, gathered


def _of_form(c: TransformerConfig, s: Settings, tokens: int, context: int) -> int:
    """Return the numbers that a block's layers save beyond those of a plain LoRA."""
    total = 0
    for group, inputs, outputs in joined_sizes(c, s.targets) if s.adapter != "lora" else ():
        rows = s.clips * (context if group[0] == "audio_attn2.to_k" else tokens)
        shapes = shapes_of(outputs // len(group), inputs, s.rank)
        (first, second), whole = shapes["lokr_w1"], "lokr_w2" in shapes
        # With w1 on either side of it: x, (N, m, n), or what w2_b makes of it, (N, m, r), in place of x Aᵀ, (N, r).
        each = 2 * inputs if whole else (first + second) * s.rank
        total += rows * len(group) * (each - s.rank)
    return total


def _kept(c: TransformerConfig, s: Settings, tokens: int, context: int) -> tuple[int, int]:
    """Return the numbers kept for the gradients of A and B, and the most that there are while these are computed.

    Of each group of layers that are the inputs (blocks, N, I) and the gradients (blocks, N, o) of each layer. They are
    joined one after the other, the smallest group first.
    """
    groups = []
    for group, inputs, outputs in joined_sizes(c, s.targets):
        rows = s.clips * (context if group[0] == "audio_attn2.to_k" else tokens)
        both = 2 * aligned(s.rank * len(group))  # x Aᵀ and g B
        groups.append((rows * (inputs + outputs), rows * (max(inputs, outputs // len(group)) + both)))
    groups.sort()
    left = [sum(kept for kept, _ in groups[number:]) for number in range(len(groups))]
    most = max(there + more for there, (_, more) in zip(left, groups, strict=True))
    return c.layers * left[0], c.layers * most


def _text(config: ModelConfig, s: Settings) -> int:
    """Return the bytes of all captions' keys and values (blocks, S, 2C), and of what a recorded step reads."""
    copies = s.clips if s.fused_attention else 0
    return s.dtype.itemsize * (s.captions + copies) * _keys_and_values(config)


def _keys_and_values(config: ModelConfig) -> int:
    """Return the numbers in the keys and values of one context, (blocks, S, 2C)."""
    return config.transformer.layers * config.text.context_length * 2 * config.transformer.width


def _forward(config: ModelConfig, s: Settings, tokens: int) -> int:
    """Return the bytes of a sample's share of a pass without gradients."""
    c, length = config.transformer, config.text.context_length
    scores = 0 if s.fused_attention else 2 * c.heads * tokens * length  # twice (H, T, S)
    latents = 12 if s.given == "nothing" else 12 + 18  # with the rows of modulation, and those of one block
    return s.dtype.itemsize * (latents * tokens * c.width + 5 * length * c.width + scores)  # (T, C), and 5 of (S, C)


def _previews(config: ModelConfig, s: Settings, takes: int = 1) -> int:
    """Return the bytes of a sampling step, or of the decoder and vocoder in fp32 with their largest layer, if more."""
    audio = config.audio
    tokens = generation_latents(s.seconds, audio)
    frames = audio.downsample * tokens
    tokens *= 2 if s.given == "reference" else 1
    sampling = takes * _GUIDANCE_PASSES * _forward(config, s, tokens)
    if not config.transformer.prompt_adaln and not s.offload:  # those of the prompt and of the negative one stay
        sampling += 2 * s.dtype.itemsize * _keys_and_values(config)
    codec = 4 * decoder_numbers(config)
    layer = max(
        audio.base_channels * frames * audio.mel_bins,  # (base channels, frames, mel bins)
        _widest(config.vocoder.stage1, frames),
        _widest(config.vocoder.bwe, frames * config.vocoder.stage1.factor // config.vocoder.hop),
    )
    return max(sampling, codec + 4 * 6 * layer)


def _preparation(config: ModelConfig, s: Settings, encoder: GemmaConfig | None) -> int:
    """Return the bytes of the largest of three: VAE encoder, text encoder layer with the projection, connector."""
    audio, text, size = config.audio, config.text, s.dtype.itemsize
    frames = 1 + round(s.seconds * audio.sample_rate) // audio.hop
    encode = 4 * (encoder_numbers(config) + 5 * audio.base_channels * frames * audio.mel_bins)
    connect = size * (connector_numbers(config) + 16 * text.context_length * text.width)
    if not encoder:
        return max(encode, connect)
    layer = encoder.width * (2 * encoder.head_dim * (encoder.heads + encoder.kv_heads) + 3 * encoder.hidden)
    projection = projection_numbers(config, encoder.layers + 1)
    row = 4 * text.width * text.encoder_dim  # the projection's weight of one layer, (width, encoder_dim), fp32
    return max(encode, connect, size * (layer + projection) + row)


def _widest(c: GeneratorConfig, frames: int) -> int:
    """Return the numbers in a generator's largest activation, which is computed at twice its rate."""
    sizes, channels, length = [], c.channels, frames
    for rate in c.upsample_rates:
        channels, length = channels // 2, length * rate
        sizes.append(2 * channels * length)  # (channels, 2 · length)
    return max(sizes)
