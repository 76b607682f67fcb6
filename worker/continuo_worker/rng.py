"""Random numbers as src/base/rng.ts makes them, so that both engines begin with the same: xoshiro128** (Blackman and Vigna 2018), seeded
through SplitMix32. Long streams are made by many lanes at once: the generator is linear over bits, so that a lane can begin anywhere."""

from functools import cache

import numpy as np

LANES = 1024
MASK = 0xFFFFFFFF


def floats(count: int, seed: int, *labels: str) -> np.ndarray:
    """The stream's first numbers, uniform in [0, 1), f64 [count]."""
    words = _words(_seeded(seed, labels), 2 * count).reshape(count, 2).astype(np.float64)
    return (np.floor(words[:, 0] / 32) * 2.0**26 + np.floor(words[:, 1] / 64)) / 2.0**53


def _seeded(seed: int, labels: tuple[str, ...]) -> np.ndarray:
    h = (seed ^ (seed // 2**32) * 0x9E3779B1) & MASK
    for label in labels:
        for unit in np.frombuffer(f"{label}\0".encode("utf-16-le"), dtype="<u2").tolist():
            h = (h ^ unit) * 0x01000193 & MASK
    state = []
    for _ in range(4):
        h = (h + 0x9E3779B9) & MASK
        z = (h ^ (h >> 16)) * 0x21F0AAAD & MASK
        z = (z ^ (z >> 15)) * 0x735A2D97 & MASK
        state.append(z ^ (z >> 15))
    state[3] |= 1
    return np.array(state, dtype=np.uint32).reshape(4, 1)


def _words(state: np.ndarray, count: int) -> np.ndarray:
    """uint32 [count] of the stream of a state [4, 1]."""
    in_lane = -(-count // LANES)
    states, jump = _to_bits(state), _power(in_lane)
    while states.shape[1] < LANES:
        states = np.concatenate([states, jump @ states % 2], axis=1)
        jump = jump @ jump % 2
    lanes = _to_words(states)
    words = np.empty((in_lane, LANES), dtype=np.uint32)
    for i in range(in_lane):
        x = lanes[1] * np.uint32(5)
        words[i] = _rotated(x, 7) * np.uint32(9)
        lanes = _advanced(lanes)
    return words.T.reshape(-1)[:count]


def _advanced(state: np.ndarray) -> np.ndarray:
    s0, s1, s2, s3 = state
    s2, s3 = s2 ^ s0, s3 ^ s1
    return np.stack([s0 ^ s3, s1 ^ s2, s2 ^ (s1 << np.uint32(9)), _rotated(s3, 11)])


def _rotated(x: np.ndarray, by: int) -> np.ndarray:
    return (x << np.uint32(by)) | (x >> np.uint32(32 - by))


@cache
def _power(steps: int) -> np.ndarray:
    """The matrix over bits [128, 128] that takes a state so many steps on. Products of f32 are exact: sums of at most 128 ones."""
    result = np.eye(128, dtype=np.float32)
    square = _to_bits(_advanced(_to_words(result)))
    while steps:
        if steps & 1:
            result = square @ result % 2
        square = square @ square % 2
        steps >>= 1
    return result


def _to_bits(state: np.ndarray) -> np.ndarray:
    """[4, n] words to [128, n] bits."""
    return (state[:, None, :] >> np.arange(32, dtype=np.uint32)[:, None] & 1).reshape(128, -1).astype(np.float32)


def _to_words(bits: np.ndarray) -> np.ndarray:
    places = np.arange(32, dtype=np.uint32)[:, None]
    return (bits.reshape(4, 32, -1).astype(np.uint32) << places).sum(axis=1, dtype=np.uint32)
