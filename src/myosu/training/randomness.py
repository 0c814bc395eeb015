"""The random generators of a process that an algorithm may use without owning them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from myosu.algorithms.interface import State


def derive_seed(*entropy: int) -> int:
    """A seed of 32 bits for each combination of numbers."""
    return int(np.random.SeedSequence(entropy).generate_state(1)[0])


def seed_process(seed: int) -> None:
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)


def get_randomness() -> State:
    return {"torch": torch.get_rng_state(), "numpy": np.random.get_state(), "python": random.getstate()}


def set_randomness(state: State) -> None:
    torch.set_rng_state(state["torch"])
    np.random.set_state(state["numpy"])
    random.setstate(state["python"])


@contextmanager
def randomness_kept() -> Iterator[None]:
    """What happens inside draws from the generators without a trace."""
    before = get_randomness()
    try:
        yield
    finally:
        set_randomness(before)
