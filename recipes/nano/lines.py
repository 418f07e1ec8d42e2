"""Stage 3 teaches the vocoder's stage 1 to play lines that are 100 Hz apart, of which it makes all sound.

    python recipes/nano/lines.py

A vocoder without any noise of its own answers a steady mel with a sound that repeats every frame, so with multiples of
100 Hz. Eighty such lines a channel are enough for any mel: fitted to real renderings they come within 0.12 nats. Left
to losses on sound, a generator of this size finds the silence between two lines instead, and stays there.

So its weights are made in two parts. The part that plays the lines is linear, and learns to play random ones in
minutes. Its weights are rounded to bf16 in the end. The rounding is heard 75 dB below a loud tone, in bands where there
is nothing else. The residual blocks therefore learn last, when all other weights are rounded, to take that away. Their
weights are small, and so is the effect of their rounding. `front.py` has the part that the lines follow, which learns
in `sharpen.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from codec_vocoder import new_vocoder
from layers import numbers_of
from runs import Stage, rounded
from sizes import AUDIO, MODEL
from torch import Tensor, nn

from soundlora.model.mel import _mel_filters, resample
from soundlora.model.vocoder import AMPBlock, Generator

Module = TypeVar("Module", bound=nn.Module)

LINES = 80  # in a channel: 100, 200, … 8,000 Hz
SPACING = AUDIO.sample_rate // AUDIO.hop  # Hz: the mel's rate
UNIT = 0.1  # a line's amplitude where the generator's value is 1
FRAME_STAGES = 3  # stages of the generator that keep the mel's rate
PHASES = 71  # seed of the lines' phases; of 120 seeds, it gives loud pieces of the pool the lowest peaks
BATCH, FRAMES = 8, 16


def bf16_filters(module: Module) -> Module:
    for buffer in module.buffers():
        buffer.copy_(buffer.bfloat16())
    return module


@torch.no_grad()
def rest(block: AMPBlock) -> None:
    """Let it change nothing."""
    for conv in map(numbers_of, block.convs2):
        conv.weight.zero_()
        conv.bias.zero_()


@torch.no_grad()
def mute(generator: Generator) -> None:
    """Let the part above the mel's rate make nothing of nothing. Lines need none of the biases that are heard there."""
    for part in (*generator.ups[FRAME_STAGES:], *line_blocks(generator)):
        for name, parameter in part.named_parameters():
            if name.endswith("bias"):
                parameter.zero_()


def new_player() -> Generator:
    """Return a generator that is linear above the mel's rate. Its residual blocks change nothing there yet."""
    generator = new_vocoder().vocoder
    nn.init.normal_(generator.conv_post.weight, std=0.1)
    with torch.no_grad():
        for block in line_blocks(generator):
            rest(block)
            for activation in (*block.acts1, *block.acts2):
                activation.act.beta.fill_(12.0)
        generator.act_post.act.beta.fill_(12.0)
    return bf16_filters(generator)


def line_blocks(generator: Generator) -> list[AMPBlock]:
    """Return the residual blocks above the mel's rate."""
    return [block for block in generator.resblocks[FRAME_STAGES:] if isinstance(block, AMPBlock)]


def mel_of_lines() -> Tensor:
    """Return (bins, LINES): the magnitude of each mel band by each line of amplitude 1."""
    size, rate = AUDIO.n_fft, AUDIO.sample_rate
    window = torch.hann_window(size, dtype=torch.float64)
    time = torch.arange(size, dtype=torch.float64) / rate
    hertz = SPACING * torch.arange(1, LINES + 1, dtype=torch.float64)
    lines = UNIT * torch.cos(2 * math.pi * hertz[:, None] * time) * window
    spectrum = torch.fft.rfft(lines).abs().float()  # (LINES, size // 2 + 1)
    heard: Tensor = (spectrum @ _mel_filters(size // 2 + 1, AUDIO.mel_bins, rate)).T
    return heard


def line_phases() -> Tensor:
    return torch.rand(LINES, generator=torch.Generator().manual_seed(PHASES)) * 2 * math.pi


@cache
def kept() -> Tensor:
    """Return (LINES,): the share of a line's amplitude that is left after its sound goes to 48 kHz and back to 16 kHz.

    The filters begin to attenuate half an octave below 8 kHz. Real sound has come through one of them, and played sound
    comes through another two.
    """
    rate, vocoder = AUDIO.sample_rate, MODEL.vocoder
    hertz = SPACING * torch.arange(1, LINES + 1)[:, None]
    turn = 2 * math.pi * hertz * torch.arange(rate) / rate
    extended = new_vocoder().skip(turn.cos().view(-1, 2, rate))
    back = resample(extended, vocoder.output_rate, rate).view(LINES, rate)
    inner = slice(rate // 4, rate * 3 // 4)  # The slice holds whole periods, away from the ends.
    was, left = ((sound * torch.polar(torch.ones(()), turn))[:, inner].mean(dim=1) for sound in (turn.cos(), back))
    return left.abs() / was.abs()


def played(amplitudes: Tensor, phases: Tensor) -> Tensor:
    """Return sound (B, 2, frames·hop) of lines with amplitudes (B, 2·LINES, frames).

    The amplitudes are interpolated between the frames' middles.
    """
    hop, frames = AUDIO.hop, amplitudes.shape[-1]
    time = torch.arange(2 * hop, dtype=torch.float32) / AUDIO.sample_rate
    hertz = SPACING * torch.arange(1, LINES + 1)
    # A frame repeats what its neighbours play, with the same phase, so that Hann windows of two frames add up to one.
    basis = UNIT * torch.cos(2 * math.pi * hertz[:, None] * time + phases[:, None]) * torch.hann_window(2 * hop)
    pieces = torch.einsum("bcft,fn->bctn", amplitudes.unflatten(1, (2, LINES)), basis)
    wave = F.pad(pieces[..., :hop].flatten(2), (0, hop)) + F.pad(pieces[..., hop:].flatten(2), (hop, 0))
    result: Tensor = wave[..., hop // 2 : hop // 2 + frames * hop]
    return result


def bands(sound: Tensor) -> Tensor:
    """Return the power (B·2, frames, bins) of sound (B, 2, n) in the mel's bands."""
    size = AUDIO.n_fft
    window = torch.hann_window(size)
    spectrum = torch.stft(
        sound.flatten(0, 1), size, size // 4, window=window, center=False, return_complex=True
    ).transpose(1, 2)
    power = spectrum.real.square() + spectrum.imag.square()
    return power @ _mel_filters(size // 2 + 1, AUDIO.mel_bins, AUDIO.sample_rate)


def random_lines(step: int) -> Tensor:
    """Return amplitudes (BATCH, 2·LINES, FRAMES). Most fall off towards high lines, and half end at some line."""
    generator = torch.Generator().manual_seed(step)

    def uniform() -> Tensor:
        return torch.rand(BATCH, 2, 1, generator=generator)

    place = torch.arange(LINES) / LINES
    slope = 10 * uniform() * (uniform() < 0.7)
    silent = (uniform() < 0.5) & (place > uniform())
    level = (-slope * place).exp() * torch.where(silent, 1e-5, 1.0)
    return torch.randn((BATCH, 2 * LINES, FRAMES), generator=generator) * level.flatten(1)[..., None]


def play(generator: Generator, amplitudes: Tensor) -> Tensor:
    """(B, 2·LINES, frames) → (B, 2, frames·hop) by the part of the generator above the mel's rate."""
    above = generator.ups[FRAME_STAGES]
    assert isinstance(above, nn.ConvTranspose1d)
    unused = above.in_channels // 2 - LINES  # of each stereo channel's half
    x = F.pad(amplitudes.unflatten(1, (2, LINES)), (0, 0, 0, unused)).flatten(1, 2)
    for up, block in zip(generator.ups[FRAME_STAGES:], line_blocks(generator), strict=True):
        x = block(up(x))
    result: Tensor = generator.conv_post(generator.act_post(x))
    return result


def unplayed(generator: Generator, phases: Tensor, step: int) -> Tensor:
    """Return the share of the power of equally loud lines that is not as it should be."""
    wanted = torch.randn((BATCH, 2 * LINES, FRAMES), generator=torch.Generator().manual_seed(step))
    reference = played(wanted, phases)
    return (play(generator, wanted) - reference).square().mean() / reference.square().mean()


def spilt(generator: Generator, phases: Tensor, step: int) -> Tensor:
    """Return how far the played sound is from the lines, band by band, down to 70 dB below the loudest one.

    A loud low line may spill into high bands, where nothing should be. That is heard long before a wrong level is.
    """
    wanted = random_lines(step)
    reference = played(wanted, phases)
    error, right = bands(play(generator, wanted) - reference), bands(reference)
    return torch.log1p(100 * error / (right + 1e-7 * right.amax(dim=-1, keepdim=True))).mean()


def learn(
    name: str, generator: Generator, loss: Callable[[Generator, Tensor, int], Tensor], steps: int, **options: Any
) -> None:
    """Train the generator. Weights that do not learn are rounded to bf16.

    After a third of the steps, the loss sees the learning weights rounded, too.
    """
    phases = line_phases()
    stage = Stage(name, {"generator": generator}, steps, **options)
    for parameter in generator.parameters():
        if not parameter.requires_grad:
            parameter.data = parameter.data.bfloat16().float()
    while not stage.done:
        with rounded(stage.parameters if stage.step >= steps // 3 else []):
            current = loss(generator, phases, stage.step)
        stage.update(current, {loss.__name__: current.item()}, log_every=200, save_every=500)


def main() -> None:
    torch.manual_seed(0)
    generator = new_player()
    generator.requires_grad_(False)
    for part in (*generator.ups[FRAME_STAGES:], generator.conv_post):
        part.requires_grad_(True)
    learn("lines", generator, unplayed, 3000, rate=1e-3)
    learn("clean", generator, spilt, 12_000, rate=1e-4, warm="lines")
    generator.requires_grad_(False)
    for block in line_blocks(generator):
        for conv in (*block.convs1, *block.convs2):
            conv.requires_grad_(True)
    learn("player", generator, spilt, 4000, rate=5e-4, warm="clean")


if __name__ == "__main__":
    main()
