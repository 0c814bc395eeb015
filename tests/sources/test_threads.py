"""Actors in threads of the learner's process, as used with a GPU."""

import threading
import time

import pytest
import torch

from myosu.algorithms import load_algorithm, load_settings
from myosu.errors import UserError
from myosu.sources import factory
from myosu.sources.threads import ActorThreads
from myosu.training.trainer import train
from toy_runs import TOY, toy_run


@pytest.fixture
def on_gpu(monkeypatch):
    """Make the factory choose actors as if there were a GPU; the algorithm itself does not use one."""
    monkeypatch.setattr(factory, "on_gpu", lambda config: True)


def test_a_run_with_actors_in_threads(tmp_path, on_gpu):
    run = toy_run(tmp_path / "run", updates=40, deterministic=False, actors=2)
    result = train(run, quiet=True)
    assert result.updates == 40 and result.games > 0
    assert not [thread for thread in threading.enumerate() if thread.name == "actor"]


def test_actor_exception_ends_training(tmp_path, on_gpu, monkeypatch):
    def fails(self):
        raise ValueError("this actor fails")

    monkeypatch.setattr(load_algorithm(TOY).Actor, "step", fails)
    with pytest.raises(ValueError, match="this actor fails"):
        train(toy_run(tmp_path / "run", updates=40, deterministic=False, actors=1), quiet=True)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"),
                                   RuntimeError("CUDA error: out of memory"),
                                   RuntimeError("MPS backend out of memory (MPS allocated: 9.05 GB)")], ids=str)
def test_full_gpu_memory_says_which_settings_to_lower(tmp_path, on_gpu, monkeypatch, error):
    def fails(self):
        raise error

    monkeypatch.setattr(load_algorithm(TOY).Actor, "step", fails)
    with pytest.raises(UserError, match=r"GPU is full\. Lower --actors, num_envs \(8\) or batch_size"):
        train(toy_run(tmp_path / "run", updates=40, deterministic=False, actors=1), quiet=True)


def test_held_actors_wait_and_go_on(tmp_path):
    run = toy_run(tmp_path / "run", updates=40, deterministic=False, actors=1)
    actors = ActorThreads(run.config, 1)
    settings, spec = load_settings(run.config), run.config.environment.spec
    weights = load_algorithm(TOY).make_learner(settings, spec, None, 0).weights()
    actors.publish(weights, 3)
    found = []
    while not found:
        found = actors.collect(wait=True)
    assert found[0].weights_version == 3
    actors.set_paused(True)
    time.sleep(0.2)
    actors.drop_waiting()
    time.sleep(0.2)
    assert actors.collect(wait=False) == []
    actors.set_paused(False)
    while not actors.collect(wait=True):
        pass
    actors.close()
