"""Stage 3: the vocoder's stage 1, which adds up lines 100 Hz apart.

    python recipes/nano/lines.py

A vocoder without any noise of its own can answer a steady mel with a sound that repeats every frame, so with multiples
of 100 Hz. Eighty such lines a channel are enough for any mel: fitted to real renderings they come within 0.12 nats.
Left to losses on sound, a generator of this size finds the silence between two lines instead, and stays there.

So its weights are made, not found. Amplitudes come from log-mels by weights that are written down, see `Halves`. What
plays them, with its residual blocks at zero, is linear, and learns to play random lines in minutes. `sharpen.py` then
brings it nearer to recordings.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from codec_vocoder import new_vocoder
from numpy.typing import NDArray
from runs import Stage
from scipy.optimize import nnls
from sizes import AUDIO
from torch import Tensor, nn

from soundlora.model.mel import _mel_filters
from soundlora.model.vocoder import AliasFreeActivation, AMPBlock, Generator

Array = NDArray[np.float64]

LINES = 80  # a channel: 100, 200, … 8,000 Hz
SPACING = AUDIO.sample_rate // AUDIO.hop  # Hz: the mel's rate
UNIT = 0.1  # a line's amplitude where the generator's value is 1
MIDDLE, SPAN = -4.75, 6.75  # log-mels from -11.5 to 2
INPUT, STEEPEST = 0.3, 1.1  # the largest input of the first activation, and of the last beside its flat point
FLAT = -0.78515625  # -π/4, as bf16 holds it
FRAME_STAGES = 2  # of the generator's, those that keep the mel's rate
BATCH, FRAMES = 8, 16


@cache
def _gains() -> tuple[tuple[float, float], tuple[float, float]]:
    """What the filters of an activation make of what stands still: of every second sample, on the way up and down."""
    activation = bf16_filters(AliasFreeActivation(1))
    ones = torch.ones(1, 1, 64)
    up = activation.upsample(ones)[0, 0, 64:66].tolist()
    halves = [torch.arange(128).remainder(2).eq(n).float()[None, None] for n in range(2)]
    down = [float(activation.downsample(half)[0, 0, 32]) for half in halves]
    return (up[0], up[1]), (down[0], down[1])


def bf16_filters(module: nn.Module) -> Any:
    for buffer in module.buffers():
        buffer.copy_(buffer.bfloat16())
    return module


def _snake(x: Array) -> Array:
    """An activation, filters and all, of what stands still."""
    result = 0.0
    for up, down in zip(*_gains(), strict=True):
        result = result + down * (up * x + np.sin(up * x) ** 2)
    return np.asarray(result)


def _inverse(function: Callable[[Array], Array], values: Array, most: float) -> Array:
    """Of a function that rises from 0 to `most`."""
    grid = np.concatenate(([0.0], np.geomspace(1e-6, most, 200_000)))
    return np.interp(values, function(grid), grid)


@dataclass(frozen=True)
class CubeRoots:
    """Three activations of a band's log-mel L whose sum is about the cube root of its magnitude.

    They get slope·snake(scale·L + shift) + offset each. To the sum, scale·L + shift is added by the residual. All
    numbers are as bf16 holds them.
    """

    scale: float
    shift: float
    slopes: Array
    offsets: Array
    sums: Array
    constant: float
    factor: float  # of the magnitude, before the third power's own


def cube_roots() -> CubeRoots:
    level = np.linspace(MIDDLE - SPAN, MIDDLE + SPAN, 400)
    scale, shift = rounded(INPUT / SPAN), rounded(-INPUT * MIDDLE / SPAN)
    inputs = scale * level + shift
    factor = float(_cube(np.array(STEEPEST)) / np.exp(level[-1]))
    delta = _inverse(_cube, factor * np.exp(level), STEEPEST)
    wanted = _inverse(_snake, delta * INPUT / STEEPEST, INPUT) - inputs
    weight = 1 / (delta + 0.02)  # errors count as shares of the root

    def fit(columns: Array, target: Array) -> Array:
        ridge = 0.03 * np.eye(columns.shape[1])  # large sums would be rounded away
        table = np.concatenate((columns * weight[:, None], ridge))
        result: Array = np.linalg.lstsq(table, np.concatenate((target * weight, np.zeros(len(ridge)))), rcond=None)[0]
        return result

    def activations(slopes: Array, offsets: Array) -> Array:
        return np.column_stack([*_snake(np.outer(slopes, _snake(inputs)) + offsets[:, None]), np.ones_like(level)])

    def error(columns: Array, sums: Array) -> float:
        return float(np.square((columns @ sums - wanted) * weight).mean())

    rng = np.random.default_rng(0)
    best: tuple[float, CubeRoots] | None = None
    for _ in range(4000):
        slopes, offsets = rounded(rng.uniform(0.3, 1.6, 3) / INPUT), rounded(rng.uniform(-1.5, 1.5, 3))
        columns = activations(slopes, offsets)
        if best is not None and error(columns, fit(columns, wanted)) > best[0]:
            continue
        # The largest is rounded first, and the others are fitted to what is left.
        sums, free = np.zeros(4), [0, 1, 2, 3]
        while free:
            found = dict(zip(free, fit(columns[:, free], wanted - columns @ sums), strict=True))
            largest = max(free, key=lambda n: (n < 3, abs(found[n])))
            sums[largest] = rounded(found[largest])
            free.remove(largest)
        # What rounding the constant leaves would be heard in silence: it counts, too.
        missed = error(columns, sums)
        if best is None or missed < best[0]:
            best = missed, CubeRoots(scale, shift, slopes, offsets, sums[:3], float(sums[3]), factor)
    assert best is not None
    return best[1]


def rounded(value: Any) -> Any:
    """As bf16 holds it."""
    numbers = torch.as_tensor(value, dtype=torch.float64).to(torch.bfloat16).double().numpy()
    return numbers if numbers.ndim else float(numbers)


def _cube(delta: Array) -> Array:
    """What the activation makes of a point `delta` beside its flat one: about two thirds of the cube."""
    flat = np.asarray(FLAT)
    return _snake(flat + delta) - _snake(flat)


class Halves(nn.Module):
    """The generator as amplitudes of lines, (B, 2·LINES + spare, frames), and as what plays them.

    Loud and soft lines are ten thousand times apart, and a sum of layers is exact to a hundredth of its largest part.
    So amplitudes come out of an activation at its flat point: x + sin²x at δ beside -π/4 is about ⅔δ³, and what is
    to be exact to a hundredth is a cube root. Of the first residual block, the first round has nothing to do yet; the
    second one makes cube roots of log-mels, band by band; the last one takes them from bands to lines and to the third
    power. What follows at the mel's rate passes them on. The channels that none of this uses begin at random, and are
    there to learn.
    """

    def __init__(self, generator: Generator) -> None:
        super().__init__()
        self.generator = bf16_filters(generator)
        lines, bands, pre, first, second = 2 * LINES, 2 * AUDIO.mel_bins, generator.conv_pre, *_frame_part(generator)
        root = cube_roots()
        share, magnitude = bands_to_lines()
        with torch.no_grad():
            # Log-mels are about -6, and the activations are periodic: what comes in is to be small.
            pre.weight.mul_(0.1)
            pre.bias.copy_(6 * pre.weight.sum(dim=(1, 2)))
            pre.weight[:bands], pre.bias[:bands] = 0, 0
            pre.weight[range(bands), range(bands), 3] = 1
            spread, held = generator.ups[0], slice(lines, lines + bands)
            spread.weight[:, : held.stop], spread.bias[: held.stop] = 0, 0
            spread.weight[range(bands), range(held.start, held.stop), 1] = root.scale
            spread.bias[held] = root.shift
            spread.weight[:bands, held.stop :] *= 0.03
            for conv in first.convs2:
                conv.weight[: held.stop], conv.bias[: held.stop] = 0, 0
                conv.weight.mul_(0.3)
            roots, cubes = first.convs1[1], first.convs2[1]
            roots.weight.zero_()
            for feature in range(3):
                channels = range(feature, 3 * bands, 3)
                roots.weight[channels, range(held.start, held.stop), 1] = root.slopes[feature]
                roots.bias[channels] = root.offsets[feature]
                cubes.weight[range(held.start, held.stop), channels, 1] = root.sums[feature]
            cubes.bias[held] = root.constant
            roots, cubes = first.convs1[-1], first.convs2[-1]
            roots.weight[:lines], cubes.weight[:] = 0, 0
            for side in range(2):
                own = slice(side * LINES, (side + 1) * LINES)
                heard = slice(held.start + side * AUDIO.mel_bins, held.start + (side + 1) * AUDIO.mel_bins)
                roots.weight[own, heard, 1] = share * STEEPEST / INPUT
            roots.bias[:lines] = FLAT
            gain = rounded((magnitude / root.factor).repeat(2))
            silence = -gain * float(_snake(np.asarray(FLAT)))
            cubes.weight[range(lines), range(lines), 1] = torch.from_numpy(gain).float()
            cubes.bias[:lines] = torch.from_numpy(rounded(silence)).float()
            second.weight.zero_()
            second.weight[range(lines), range(lines), 1] = 1
            second.bias.zero_()
            second.bias[:lines] = torch.from_numpy(silence - rounded(silence)).float()
            for block in generator.resblocks[1:]:
                for conv in block.convs2:
                    conv.weight.zero_()
                    conv.bias.zero_()
            generator.act_post.act.beta.fill_(12.0)  # the last activation lets everything pass

    def amplitudes(self, mel: Tensor) -> Tensor:
        x = self.generator.conv_pre(mel.transpose(2, 3).flatten(1, 2))
        for up, block in zip(self.generator.ups[:FRAME_STAGES], self.generator.resblocks, strict=False):
            x = block(up(x))
        return x

    def play(self, amplitudes: Tensor) -> Tensor:
        x = amplitudes
        for up in self.generator.ups[FRAME_STAGES:]:
            x = up(x)
        result: Tensor = self.generator.conv_post(self.generator.act_post(x))
        return result


def _frame_part(generator: Generator) -> tuple[AMPBlock, nn.ConvTranspose1d]:
    block, up = generator.resblocks[0], generator.ups[1]
    assert isinstance(block, AMPBlock)
    assert isinstance(up, nn.ConvTranspose1d)
    return block, up


def bands_to_lines() -> tuple[Tensor, Tensor]:
    """(LINES, bins) and (LINES,): the bands between which a line lies, and its amplitude where all magnitudes are 1."""
    matrix = mel_of_lines().double().numpy()
    smooth = 1e-3 * matrix.sum(axis=1).mean() * np.eye(LINES)
    wanted = np.concatenate((np.ones(len(matrix)), np.zeros(LINES)))
    magnitude = nnls(np.concatenate((matrix, smooth)), wanted)[0]
    magnitude = np.maximum(magnitude, 0.1 * np.median(magnitude))
    filters = _mel_filters(AUDIO.n_fft // 2 + 1, AUDIO.mel_bins, AUDIO.sample_rate).numpy()
    hertz = np.arange(len(filters)) * AUDIO.sample_rate / AUDIO.n_fft
    middles = (filters * hertz[:, None]).sum(axis=0) / filters.sum(axis=0)
    place = np.interp(SPACING * np.arange(1, LINES + 1), middles, np.arange(AUDIO.mel_bins))
    share = np.maximum(0, 1 - np.abs(place[:, None] - np.arange(AUDIO.mel_bins)))
    return torch.from_numpy(share).float(), torch.from_numpy(magnitude).float()


def mel_of_lines() -> Tensor:
    """(bins, LINES): a mel band's magnitude by a line of amplitude 1."""
    size, rate = AUDIO.n_fft, AUDIO.sample_rate
    window = torch.hann_window(size, dtype=torch.float64)
    time = torch.arange(size, dtype=torch.float64) / rate
    hertz = SPACING * torch.arange(1, LINES + 1, dtype=torch.float64)
    lines = UNIT * torch.cos(2 * math.pi * hertz[:, None] * time) * window
    spectrum = torch.fft.rfft(lines).abs().float()  # (LINES, size // 2 + 1)
    return (spectrum @ _mel_filters(size // 2 + 1, AUDIO.mel_bins, rate)).T


def played(amplitudes: Tensor, phases: Tensor) -> Tensor:
    """(B, 2·LINES, frames) → (B, 2, frames·hop): lines with amplitudes interpolated between the frames' middles."""
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
    """Power (B·2, frames, bins) of sound (B, 2, n) in the mel's bands."""
    size = AUDIO.n_fft
    window = torch.hann_window(size)
    spectrum = torch.stft(
        sound.flatten(0, 1), size, size // 4, window=window, center=False, return_complex=True
    ).transpose(1, 2)
    power = spectrum.real.square() + spectrum.imag.square()
    return power @ _mel_filters(size // 2 + 1, AUDIO.mel_bins, AUDIO.sample_rate)


def random_lines(step: int) -> Tensor:
    """(BATCH, 2·LINES, FRAMES): most fall off towards high lines, and half end at some line."""
    generator = torch.Generator().manual_seed(step)

    def uniform() -> Tensor:
        return torch.rand(BATCH, 2, 1, generator=generator)

    place = torch.arange(LINES) / LINES
    slope = 10 * uniform() * (uniform() < 0.7)
    silent = (uniform() < 0.5) & (place > uniform())
    level = (-slope * place).exp() * torch.where(silent, 1e-5, 1.0)
    return torch.randn((BATCH, 2 * LINES, FRAMES), generator=generator) * level.flatten(1)[..., None]


def play(halves: Halves, wanted: Tensor) -> Tensor:
    unused = halves.generator.ups[FRAME_STAGES].in_channels - 2 * LINES
    return halves.play(F.pad(wanted, (0, 0, 0, unused)))


def unplayed(halves: Halves, phases: Tensor, step: int) -> Tensor:
    """Which share of the power of lines, all equally loud, is not what it should be."""
    wanted = torch.randn((BATCH, 2 * LINES, FRAMES), generator=torch.Generator().manual_seed(step))
    reference = played(wanted, phases)
    return (play(halves, wanted) - reference).square().mean() / reference.square().mean()


def spilt(halves: Halves, phases: Tensor, step: int) -> Tensor:
    """How far what is played is from the lines, band by band, down to 70 dB below the loudest one.

    What a loud low line spills into high bands, where nothing should be, is heard long before a wrong level is.
    """
    wanted = random_lines(step)
    reference = played(wanted, phases)
    error, right = bands(play(halves, wanted) - reference), bands(reference)
    return torch.log1p(100 * error / (right + 1e-7 * right.amax(dim=-1, keepdim=True))).mean()


def learn(name: str, halves: Halves, loss: Callable[[Halves, Tensor, int], Tensor], steps: int, **options: Any) -> None:
    phases = torch.rand(LINES, generator=torch.Generator().manual_seed(1)) * 2 * math.pi
    stage = Stage(name, {"generator": halves.generator}, steps, **options)
    while not stage.done:
        exact = [parameter.data for parameter in stage.parameters]
        if stage.step >= steps // 3:  # from then on with weights as bf16 holds them
            for parameter in stage.parameters:
                parameter.data = parameter.data.bfloat16().float()
        current = loss(halves, phases, stage.step)
        for parameter, data in zip(stage.parameters, exact, strict=True):
            parameter.data = data
        stage.update(current, {loss.__name__: current.item()}, log_every=200, save_every=500)


def main() -> None:
    torch.manual_seed(0)
    generator = new_vocoder().vocoder
    nn.init.normal_(generator.conv_post.weight, std=0.1)
    halves = Halves(generator)
    generator.requires_grad_(False)
    for part in (*generator.ups[FRAME_STAGES:], generator.conv_post):
        part.requires_grad_(True)
    learn("lines", halves, unplayed, 3000, rate=1e-3)
    learn("player", halves, spilt, 12_000, rate=1e-4, warm="lines")


if __name__ == "__main__":
    main()
