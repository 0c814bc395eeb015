"""Runs of untrained agents, a server for them, and a browser, for the tests of the page."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from myosu.algorithms import load_algorithm, load_settings
from myosu.games.go.rollout import RolloutPolicy
from myosu.runs.checkpoint import Checkpoints
from myosu.runs.config import RunConfig, TrainConfig
from myosu.training.start import create_run
from myosu.web import server
from myosu.web.room import Room
from myosu.web.screen import Screen
from myosu.web.watching import Gallery

#: An algorithm and settings so small that a whole game takes a second; of other games those of tic-tac-toe.
TINY = {
    "othello": ("muzero", {"channels": 4, "blocks": 0, "simulations": 4}),
    "connect_four": ("muzero", {"channels": 4, "blocks": 0, "simulations": 4}),
    "tictactoe": ("muzero", {"channels": 4, "blocks": 0, "simulations": 4}),
    "snake": ("ppo", {"channels": 4, "blocks": 0, "hidden": (8,)}),
    "bubble": ("ppo", {"channels": 4, "blocks": 0, "hidden": (8,)}),
    "woodoku": ("dqn", {"channels": 4, "blocks": 0, "hidden": (8,)}),
}


def untrained_run(folder: Path, game: str, updates: tuple[int, ...] = (1,),
                  learnt_by: tuple[str, dict[str, Any]] | None = None) -> Path:
    """A run of ``game`` with a checkpoint of fresh weights after each of ``updates``. learnt_by: an algorithm and its
    settings, instead of those of ``TINY``."""
    name, settings = learnt_by or TINY.get(game, TINY["tictactoe"])
    algorithm = load_algorithm(name)
    config = RunConfig(game, name, algorithm.Config(**settings), TrainConfig(deterministic=True, updates=1))
    run = create_run(config, folder)
    spec = run.config.environment.spec
    for update in updates:
        weights = algorithm.make_learner(load_settings(run.config), spec, None, update).weights()
        Checkpoints(run.checkpoints).write(update, run.config, weights, {}, {"files": []}, run.replay)
    return folder


def alphago_room(folder: Path) -> Room:
    """A room for AlphaGo's search on go9 with untrained networks. It has searched once, so that all is compiled."""
    small = {"channels": 4, "blocks": 0, "device": "cpu"}
    prior, value = (untrained_run(folder / name, "go9-features", learnt_by=(name, small))
                    for name in ("cloning", "value"))
    RolloutPolicy.zeros().save(folder / "rollout.npz")
    room = Room(f"apv:prior={prior},value={value},rollout={folder / 'rollout.npz'},simulations=24")
    assert room.alphago is not None
    start = room.game.new_states(1)
    room.alphago.choose(start, [[]])
    room._owners(start)
    return room


@contextlib.contextmanager
def serving(room: Room | Screen | None, *watched: Path) -> Iterator[str]:
    """The address of a server for ``room``, and to watch the runs in the folders ``watched``."""
    with server.listen("127.0.0.1", 0) as at:
        running = server.make_server(server.make_app(room, Gallery(list(watched)), warm=not watched))
        thread = threading.Thread(target=running.run, kwargs={"sockets": [at]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{at.getsockname()[1]}"
        finally:
            running.should_exit = True
            thread.join(20)
            assert not thread.is_alive(), "the server does not stop"
