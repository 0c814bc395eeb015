"""The weights of a published page: their precision, their size, and that none is there twice."""

import gzip

import numpy as np
import torch

from myosu.algorithms import load_algorithm
from myosu.envs.registry import load_environment
from myosu.games import load_game
from myosu.publish.network import LEAST_BITS, Programs, of_muzero, pack


def unpacked(content: bytes) -> np.ndarray:
    """As engine/network.js reads them."""
    low, high = np.frombuffer(content, np.uint8).reshape(2, -1).astype(np.uint16)
    return (low | high << 8).view(np.float16).astype(np.float32)


def incompressible(size: int) -> np.ndarray:
    """Numbers below 2**15 whose 16 bits are all random: no training gives weights that are harder to compress."""
    bits = np.random.default_rng(0).integers(0, 1 << 16, size).astype(np.uint16)
    bits[bits >> 10 & 31 >= 30] ^= 1 << 14
    return bits.view(np.float16).astype(np.float32)


def test_weights_keep_full_precision_where_they_fit():
    weights = np.concatenate([incompressible(1000), np.float32([0, -0.0, 1 / 3, 65504, 2**-24])])
    np.testing.assert_array_equal(unpacked(pack(weights, 3000)), weights.astype(np.float16).astype(np.float32))


def test_weights_are_rounded_as_little_as_their_size_demands():
    """Whenever the file is a byte too large, another bit of the fractions is rounded off; but a few are always kept."""
    weights = incompressible(100_000)
    normal, size = np.abs(weights) >= 2**-14, 1 << 30
    for kept in [*range(10, LEAST_BITS - 1, -1), LEAST_BITS]:
        content = pack(weights, size)
        error = unpacked(content)[normal] / weights[normal] - 1
        most = 2 ** -(kept + 1) if kept < 10 else 0
        assert 0.9 * most <= np.abs(error).max() <= most
        assert abs(error.mean()) <= 0.02 * most, "not to the nearest"
        size = len(gzip.compress(content)) - 1


def test_the_heads_of_muzero_are_kept_once():
    """Policy and value are computed of the first latent state and of all that are imagined, by the same weights."""
    game, muzero = load_game("tictactoe"), load_algorithm("muzero")
    config = muzero.Config(channels=8, blocks=1, device="cpu", precision="float32")
    spec = load_environment("tictactoe").spec
    net = muzero.make_learner(config, spec, None, 0).net.for_inference(torch.float32)
    programs = Programs(game)
    of_muzero(programs, net, imagines=True)
    of_heads = [[call[2:4] for call in programs.programs[name] if call[0] == "linear"]
                for name in ("initial", "recurrent")]
    assert of_heads[0] and all(weights in of_heads[1] for weights in of_heads[0])
    contents = [weights.tobytes() for weights in programs.weights]
    assert len(set(contents)) == len(contents)
