"""The fast filter gives what the definition gives, sample by sample."""

import numpy as np
import pytest

from soundlora.dataset.block_filter import BlockFilter

LOW_PASS = np.array([[0.02, 0.04, 0.02], [1, -1.56, 0.64]])
HIGH_PASS = np.array([[1.0, -2.0, 1.0], [1, -1.99, 0.99003]])


def by_definition(section: np.ndarray, samples: np.ndarray) -> np.ndarray:
    (b0, b1, b2), (_, a1, a2) = section
    outputs = np.zeros(len(samples) + 2)
    inputs = np.concatenate([[0, 0], samples])
    for at in range(2, len(inputs)):
        outputs[at] = b0 * inputs[at] + b1 * inputs[at - 1] + b2 * inputs[at - 2]
        outputs[at] -= a1 * outputs[at - 1] + a2 * outputs[at - 2]
    return outputs[2:]


@pytest.mark.parametrize("count", [1, 63, 64, 65, 4_096, 4_097, 10_000])
def test_a_cascade_is_what_its_definition_says(count):
    samples = np.random.default_rng(0).uniform(-1, 1, (2, count)).astype(np.float32)
    filtered = BlockFilter([LOW_PASS, HIGH_PASS]).apply(samples)
    assert filtered.shape == samples.shape
    assert filtered.dtype == np.float32
    for channel, found in zip(samples, filtered, strict=True):
        assert found == pytest.approx(by_definition(HIGH_PASS, by_definition(LOW_PASS, channel)), abs=1e-5)


def test_an_offset_is_taken_out():
    samples = np.full((1, 20_000), 0.9, np.float32)
    assert np.abs(BlockFilter([HIGH_PASS]).apply(samples)[0, -1_000:]).max() < 1e-4
