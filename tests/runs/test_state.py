"""State in a checkpoint."""

import pytest
import torch

from myosu.runs.state import require_moments


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
