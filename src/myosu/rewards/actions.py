"""Action features for reward signals."""

from __future__ import annotations

import numpy as np

from myosu.envs.vector import EnvSpec


def action_features(spec: EnvSpec, stored: np.ndarray) -> np.ndarray:
    """Features float32 [n, C + A]: continuous components unchanged, then one-hot choices.

    stored: the components float32 [n, C], the columns int64 [n, B] of the choices, or both as float32 [n, C + B].
    """
    c = spec.components
    features = np.zeros((len(stored), c + spec.num_actions), np.float32)
    features[:, :c] = stored[:, :c]
    np.put_along_axis(features, c + stored[:, c:].astype(np.int64), np.float32(1.0), axis=1)
    return features
