"""Dictionary and tuple observations are NumPy structured arrays; files store them as bytes."""

from __future__ import annotations

import numpy as np


def record_bytes(records: np.ndarray) -> np.ndarray:
    """Structured array [...] → uint8 [..., itemsize], a copy."""
    return np.array(records, order="C").view(np.uint8).reshape(*records.shape, records.dtype.itemsize)


def record_of(data: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """The inverse of ``record_bytes``."""
    return np.ascontiguousarray(data).view(dtype).reshape(data.shape[:-1])
