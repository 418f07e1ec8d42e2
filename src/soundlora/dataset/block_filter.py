"""Recursive filters at the speed of matrix products: what a loop over samples in Python would take seconds for."""

import numpy as np

_LENGTH = 64  # samples of a block, and blocks of a group


class BlockFilter:
    """A cascade of second-order sections, each (2, 3): numerator over denominator with a0 = 1.

    A block's output is linear in its samples and in the filter's state before it, and so is the state after it. Thus
    one product treats many blocks at once, once their states are known, and those follow from one product too.
    """

    def __init__(self, sections: list[np.ndarray]) -> None:
        size = 2 * len(sections)
        # One step of the whole cascade in the transposed direct form: (state, sample) to (next state, output).
        step = np.eye(size + 1)
        for number, ((b0, b1, b2), (_, a1, a2)) in enumerate(sections):
            first, second = 2 * number, 2 * number + 1
            section = np.eye(size + 1)
            section[-1, [first, -1]] = 1, b0
            section[first, [first, second, -1]] = -a1, 1, b1 - a1 * b0
            section[second, [first, second, -1]] = -a2, 0, b2 - a2 * b0
            step = section @ step
        carry, feed, read, through = step[:-1, :-1], step[:-1, -1], step[-1, :-1], step[-1, -1]
        powers = _powers(carry)
        response = np.array([through, *(read @ powers[:-2] @ feed)])
        late = np.arange(_LENGTH)[None] - np.arange(_LENGTH)[:, None]
        self._from_samples = np.where(late >= 0, response[late], 0.0).astype(np.float32)
        self._from_state = (read @ powers[:-1]).T.astype(np.float32)
        self._to_state = (powers[-2::-1] @ feed).astype(np.float32)
        # The same for a group: from what each block adds to the state, and the state before the first, to the states
        # before each and after the last.
        block_powers = _powers(powers[-1])
        to_states = np.zeros((_LENGTH + 1, size, _LENGTH + 1, size))
        for place in range(_LENGTH + 1):
            to_states[_LENGTH, :, place] = block_powers[place].T
            for before in range(place):
                to_states[before, :, place] = block_powers[place - 1 - before].T
        self._to_states = to_states.reshape((_LENGTH + 1) * size, -1)
        self._size = size

    def apply(self, samples: np.ndarray) -> np.ndarray:
        """Filter float32 (channels, n), beginning at rest → float32 (channels, n)."""
        channels, count = samples.shape
        groups = -(-count // _LENGTH**2)
        inputs = np.zeros((channels, groups * _LENGTH**2), np.float32)
        inputs[:, :count] = samples
        blocks = inputs.reshape(-1, _LENGTH)
        added = (blocks @ self._to_state).reshape(channels, groups, -1)
        states = np.empty((channels, groups, _LENGTH * self._size), np.float32)
        state = np.zeros((channels, self._size))
        for group in range(groups):
            through = np.concatenate([added[:, group], state], axis=1) @ self._to_states
            states[:, group], state = through[:, : -self._size], through[:, -self._size :]
        outputs = blocks @ self._from_samples
        outputs += states.reshape(-1, self._size) @ self._from_state
        return outputs.reshape(channels, -1)[:, :count]


def _powers(matrix: np.ndarray) -> np.ndarray:
    """Return the powers of a square matrix from 0 to the length of a block: (_LENGTH + 1, size, size)."""
    powers = [np.eye(len(matrix))]
    for _ in range(_LENGTH):
        powers.append(matrix @ powers[-1])
    return np.stack(powers)
