"""The front turns log-mels into the amplitudes that lines follow, by weights that are written down and a learnt part.

`sharpen.py` teaches that part.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import torch
from layers import numbers_of
from lines import FRAME_STAGES, LINES, SPACING, bf16_filters, kept, mel_of_lines, rest
from numpy.typing import NDArray
from scipy.optimize import nnls
from sizes import AUDIO, MODEL
from torch import Tensor, nn

from soundlora.model.mel import _mel_filters
from soundlora.model.vocoder import AliasFreeActivation, AMPBlock, Generator

Array = NDArray[np.float64]

MIDDLE, SPAN = -4.75, 6.75  # log-mels from -11.5 to 2
INPUT, STEEPEST = 0.3, 1.1  # the largest input of the first activation, and of the last beside its flat point
FLAT = -0.78515625  # -π/4, as bf16 holds it
LARGER = 16  # The first block corrects log-mels that are this much larger, so that its steps can be larger, too.
BANDS = AUDIO.mel_bins
HELD = slice(LINES, LINES + BANDS)  # channels of the second stage with log-mels; in the first stage they come first


@cache
def _gains() -> tuple[tuple[float, float], tuple[float, float]]:
    """Return the gains of an activation's filters for a constant input, for every second sample, going up and down."""
    activation = bf16_filters(AliasFreeActivation(1))
    ones = torch.ones(1, 1, 64)
    up = activation.upsample(ones)[0, 0, 64:66].tolist()
    halves = [torch.arange(128).remainder(2).eq(n).float()[None, None] for n in range(2)]
    down = [float(activation.downsample(half)[0, 0, 32]) for half in halves]
    return (up[0], up[1]), (down[0], down[1])


def _snake(x: Array) -> Array:
    """Return an activation of a constant input, filters included."""
    result = 0.0
    for up, down in zip(*_gains(), strict=True):
        result = result + down * (up * x + np.sin(up * x) ** 2)
    return np.asarray(result)


def _inverse(function: Callable[[Array], Array], values: Array, most: float) -> Array:
    """Return the inverse of a function that rises from 0 to `most`."""
    grid = np.concatenate(([0.0], np.geomspace(1e-6, most, 200_000)))
    return np.interp(values, function(grid), grid)


@dataclass(frozen=True)
class CubeRoots:
    """Three activations of a band's log-mel L whose sum is about the cube root of its magnitude.

    Each is slope·snake(scale·L + shift) + offset. The residual adds scale·L + shift to the sum. All numbers are as bf16
    holds them.
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
    weight = 1 / (delta + 0.02)  # Errors count as shares of the root.

    def fit(columns: Array, target: Array) -> Array:
        ridge = 0.03 * np.eye(columns.shape[1])  # Rounding would spoil large sums.
        table = np.concatenate((columns * weight[:, None], ridge))
        targets = np.concatenate((target * weight, np.zeros(len(ridge))))
        return np.asarray(np.linalg.lstsq(table, targets, rcond=None)[0], np.float64)

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
        # The rounding error of the constant would be heard in silence, so it counts, too.
        missed = error(columns, sums)
        if best is None or missed < best[0]:
            best = missed, CubeRoots(scale, shift, slopes, offsets, sums[:3], float(sums[3]), factor)
    assert best is not None
    return best[1]


def rounded(value: Any) -> Any:
    """Return the value as bf16 holds it."""
    numbers = torch.as_tensor(value, dtype=torch.float64).to(torch.bfloat16).double().numpy()
    return numbers if numbers.ndim else float(numbers)


def _cube(delta: Array) -> Array:
    """Return the activation at a point `delta` beside its flat one, which is about two thirds of the cube."""
    flat = np.asarray(FLAT)
    return _snake(flat + delta) - _snake(flat)


class Front(nn.Module):
    """The part of the generator at the mel's rate: one channel's log-mel (N, bins, frames) → (N, LINES, frames).

    The generator has it twice, once for each of the stereo channels.

    Its first residual block learns what to add to log-mels. The second one makes amplitudes of them. Loud and soft
    lines are ten thousand times apart, and a sum of layers is exact to a hundredth of its largest part. So amplitudes
    come out of an activation at its flat point: x + sin²x at δ beside -π/4 is about ⅔δ³, so only a cube root has to be
    exact to a hundredth. The first round makes cube roots of log-mels, band by band. The last one takes them from bands
    to lines and to the third power. The third block has nothing to do.
    """

    def __init__(self) -> None:
        super().__init__()
        whole = MODEL.vocoder.stage1
        at_mel_rate = {key: getattr(whole, key)[:FRAME_STAGES] for key in ("upsample_rates", "upsample_kernels")}
        generator = Generator(replace(whole, channels=whole.channels // 2, **at_mel_rate), BANDS // 2)
        self.conv_pre, self.ups, self.resblocks = generator.conv_pre, generator.ups, generator.resblocks
        bf16_filters(self)
        root = cube_roots()
        share, magnitude = bands_to_lines()
        pre, (learning, cubing, idle) = numbers_of(self.conv_pre), self.blocks()
        with torch.no_grad():
            for conv in (pre, *map(numbers_of, self.ups)):
                conv.bias.zero_()
            # Log-mels are about -6, and activations are periodic, so inputs have to be small.
            pre.weight.mul_(0.3)
            pre.bias.copy_(6 * pre.weight.sum(dim=(1, 2)))
            pre.weight[:BANDS], pre.bias[:BANDS] = 0, 0
            pre.weight[range(BANDS), range(BANDS), 3] = 1
            enter, middle, leave = map(numbers_of, self.ups)
            enter.weight[:, :BANDS] = 0
            enter.weight[:BANDS] *= 0.03
            enter.weight[range(BANDS), range(BANDS), 0] = LARGER * root.scale
            enter.bias[:BANDS] = LARGER * root.shift
            enter.weight[BANDS:, BANDS:] *= 2
            for activation, conv in zip(learning.acts1, map(numbers_of, learning.convs1), strict=True):
                activation.get_parameter("act.alpha")[:BANDS] = math.log(0.3)
                conv.weight.mul_(1.5)
                conv.weight[:, :BANDS] *= 0.5
            for conv in map(numbers_of, learning.convs2):
                conv.weight.mul_(0.3)
                conv.weight[:BANDS], conv.bias[:BANDS] = 0, 0
            middle.weight.zero_()
            middle.weight[range(BANDS), range(HELD.start, HELD.stop), 0] = 1 / LARGER
            roots, cubes = numbers_of(cubing.convs1[0]), numbers_of(cubing.convs2[0])
            for conv in map(numbers_of, (*cubing.convs1, *cubing.convs2)):
                conv.weight.zero_()
                conv.bias.zero_()
            for feature in range(3):
                channels = range(feature, 3 * BANDS, 3)
                roots.weight[channels, range(HELD.start, HELD.stop), 1] = root.slopes[feature]
                roots.bias[channels] = root.offsets[feature]
                cubes.weight[range(HELD.start, HELD.stop), channels, 1] = root.sums[feature]
            cubes.bias[HELD] = root.constant
            roots, cubes = numbers_of(cubing.convs1[1]), numbers_of(cubing.convs2[1])
            roots.weight[:LINES, HELD, 1] = share * STEEPEST / INPUT
            roots.bias[:LINES] = FLAT
            gain = rounded(magnitude / kept() / root.factor)
            silence = -gain * float(_snake(np.asarray(FLAT)))
            cubes.weight[range(LINES), range(LINES), 1] = torch.from_numpy(gain).float()
            cubes.bias[:LINES] = torch.from_numpy(rounded(silence)).float()
            leave.weight.zero_()
            leave.weight[range(LINES), range(LINES), 0] = 1
            leave.bias[:LINES] = torch.from_numpy(silence - rounded(silence)).float()
            rest(idle)

    def blocks(self) -> list[AMPBlock]:
        return [block for block in self.resblocks if isinstance(block, AMPBlock)]

    def forward(self, mel: Tensor) -> Tensor:
        x: Tensor = self.conv_pre(mel)
        for up, block in zip(self.ups, self.resblocks, strict=True):
            x = block(up(x))
        return x[:, :LINES]

    def of_stereo(self, mel: Tensor) -> Tensor:
        """Log-mel (B, 2, frames, bins) → (B, 2·LINES, frames)."""
        amplitudes: Tensor = self(mel.flatten(0, 1).transpose(1, 2))
        both: Tensor = amplitudes.unflatten(0, (-1, 2)).flatten(1, 2)
        return both


def put_front(generator: Generator, front: Front) -> None:
    """Write the front into a generator twice. Each stereo channel has half of the channels of every layer."""
    with torch.no_grad():
        for name, one in front.state_dict().items():
            both = generator.get_parameter(name) if name in dict(generator.named_parameters()) else None
            if both is None:
                generator.get_buffer(name).copy_(one)
            elif one.dim() == 1:
                both.copy_(one.repeat(2))
            else:
                rows, columns = one.shape[:2]
                both.zero_()
                both[:rows, :columns], both[rows:, columns:] = one, one


def take_front(generator: Generator) -> Front:
    """Return the front of a generator, from its left channel."""
    front, both = Front(), generator.state_dict()
    front.load_state_dict({name: both[name][tuple(map(slice, one.shape))] for name, one in front.state_dict().items()})
    return front


def bands_to_lines() -> tuple[Tensor, Tensor]:
    """Return (LINES, bins), the bands between which a line lies, and (LINES,), its amplitude for magnitudes of 1."""
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
