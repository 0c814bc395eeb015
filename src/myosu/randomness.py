"""Seeds, sampling, and the global random generators of a process."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits


def derive_seed(*entropy: int) -> int:
    """Derive a 32-bit seed from integers."""
    return int(np.random.SeedSequence(entropy).generate_state(1)[0])


def draw(policy: np.ndarray, temperature: float, rng: np.random.Generator) -> np.ndarray:
    """Sample actions, int64 [n], from policy [n, A] to the power of 1 / temperature by the Gumbel-max trick. Actions of
    probability 0 are never drawn."""
    with np.errstate(divide="ignore"):
        return np.argmax(np.log(policy) / temperature + rng.gumbel(size=policy.shape), axis=1)


def use_one_thread() -> None:
    """Limit torch and NumPy's BLAS to one thread. Matrices are small here: several threads gain nothing, and wait for
    each other where other programs run."""
    torch.set_num_threads(1)
    threadpool_limits(1, user_api="blas")


def prepare_process(seed: int) -> None:
    """Use one thread, seed the global generators, and flush denormal numbers to 0. Processors are ten times slower on
    denormals, and the optimiser's moving averages of a dead unit decay into them."""
    use_one_thread()
    torch.set_flush_denormal(True)
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)


def get_randomness() -> dict[str, Any]:
    return {"torch": torch.get_rng_state(), "numpy": np.random.get_state(), "python": random.getstate()}


def set_randomness(state: dict[str, Any]) -> None:
    torch.set_rng_state(state["torch"])
    np.random.set_state(state["numpy"])
    random.setstate(state["python"])


@contextmanager
def randomness_kept() -> Iterator[None]:
    """Context that restores the states of the global generators at its end."""
    before = get_randomness()
    try:
        yield
    finally:
        set_randomness(before)
