"""Observations of several parts are NumPy records; files of arrays hold them as bytes."""

from __future__ import annotations

import numpy as np


def record_bytes(records: np.ndarray) -> np.ndarray:
    """Records [...] as bytes [..., size], a copy."""
    return np.array(records, order="C").view(np.uint8).reshape(*records.shape, records.dtype.itemsize)


def record_of(data: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """What ``record_bytes`` was given."""
    return np.ascontiguousarray(data).view(dtype).reshape(data.shape[:-1])
