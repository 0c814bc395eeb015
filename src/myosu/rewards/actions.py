"""Actions as reward signals read them."""

from __future__ import annotations

import numpy as np

from myosu.envs.vector import EnvSpec


def action_features(spec: EnvSpec, stored: np.ndarray) -> np.ndarray:
    """Continuous actions [n, C] as they are; of the columns int64 [n, B] of choices float32 [n, A], 1 for each that was
    made."""
    if spec.action_low:
        return stored
    features = np.zeros((len(stored), spec.num_actions), np.float32)
    np.put_along_axis(features, stored, np.float32(1.0), axis=1)
    return features
