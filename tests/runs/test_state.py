"""State in a checkpoint."""

import zlib

import numpy as np
import pytest
import torch
from safetensors.torch import save

from myosu.runs.state import joined_halves, require_moments, rounded_halves, split_halves


@pytest.mark.parametrize("wrong", ["x", 3.0, torch.zeros(2, 2), None])
def test_invalid_optimizer_state_is_refused(wrong):
    parameter = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.Adam([parameter])
    parameter.sum().backward()
    optimizer.step()
    require_moments(optimizer)
    optimizer.state[parameter]["exp_avg_sq"] = wrong
    with pytest.raises(ValueError, match="exp_avg_sq of the optimiser"):
        require_moments(optimizer)


def test_half_weights_are_stored_byte_by_byte_and_loaded_as_they_were_rounded():
    """9 bits of the fraction: 1 + 2⁻⁹ stays, 1 + 2⁻¹¹ becomes 1. Bytes of one kind in a row take less space."""
    rng = np.random.default_rng(0)
    weights = {"w": torch.tensor([1 + 2**-9, 1 + 2**-11, -0.3125]), "none": torch.zeros(0, 3),
               "count": torch.tensor(7), "many": torch.from_numpy(rng.normal(0, 0.1, (64, 27, 27)).astype(np.float32))}
    stored = split_halves(weights)
    loaded = joined_halves(stored)
    assert loaded["w"].tolist() == [1 + 2**-9, 1.0, -0.3125] and loaded["count"].tolist() == 7
    assert {name: (part.dtype, part.shape) for name, part in loaded.items()} == {
        name: (part.dtype, part.shape) for name, part in weights.items()}
    np.testing.assert_array_equal(loaded["many"].numpy(), rounded_halves(weights["many"].numpy(), 9))
    whole = {name: part.half() for name, part in loaded.items() if part.dtype == torch.float32}
    assert len(zlib.compress(save(stored))) < 0.95 * len(zlib.compress(save(whole)))
