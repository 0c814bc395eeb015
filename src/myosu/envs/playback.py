"""An episode played again from its seed and its actions, to be looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np

from myosu.envs.gym_env import describe, native_action
from myosu.envs.registry import Environment
from myosu.envs.single_game import SingleGame
from myosu.errors import UserError
from myosu.games import Game


class Stage(Protocol):
    """Where one episode after another is played and seen. fps: pictures a second."""

    fps: float

    def start(self, seed: int) -> None:
        """Begin the episode of this seed."""
        ...

    def step(self, action: np.ndarray) -> tuple[np.ndarray, bool, bool]:
        """Rewards [seats], terminated, truncated."""
        ...

    def picture(self) -> np.ndarray:
        """uint8 [H, W, 3]"""
        ...

    def close(self) -> None: ...


class Playback:
    """Plays episodes of ``environment`` again. Of the latest: ``returns`` [seats], ``length`` and ``terminated``.

    Raises UserError where there are no pictures, or the environment fails.
    """

    def __init__(self, environment: Environment) -> None:
        self._seats = environment.spec.num_players
        self._dtype = environment.spec.action_dtype
        self._stage: Stage = _GameStage(environment.game) if environment.game else _GymStage(environment)
        self.fps = self._stage.fps

    def pictures(self, seed: int, actions: list[Any]) -> Iterator[np.ndarray]:
        """Pictures, uint8 [H, W, 3], of the start and of what came of every action until the episode ended.

        actions: [length, *action_shape], as ``Episode.actions``.
        """
        self.returns, self.length, self.terminated = np.zeros(self._seats), 0, False
        self._stage.start(seed)
        yield self._stage.picture()
        for action in np.array(actions, self._dtype):
            rewards, self.terminated, truncated = self._stage.step(action)
            self.returns += rewards
            self.length += 1
            yield self._stage.picture()
            if self.terminated or truncated:
                break

    def close(self) -> None:
        self._stage.close()


class _GameStage:
    def __init__(self, game: Game) -> None:
        self._play = SingleGame(game, game.num_players, "rgb_array")
        self.fps: float = game.fps
        self.start, self.close = self._play.start, self._play.close

    def step(self, action: np.ndarray) -> tuple[np.ndarray, bool, bool]:
        game = self._play.game
        mover = game.to_play(self._play.state)
        reward, terminated, truncated = self._play.step(int(action))
        rewards = np.full(game.num_players, -reward)
        rewards[mover] = reward
        return rewards, terminated, truncated

    def picture(self) -> np.ndarray:
        image = self._play.render()
        assert isinstance(image, np.ndarray)
        return image


class _GymStage:
    def __init__(self, environment: Environment) -> None:
        assert environment.maker is not None
        self._name = environment.name
        self._env = self._ask(environment.maker.with_arguments(render_mode="rgb_array"))
        self.fps = self._env.metadata.get("render_fps") or 30

    def start(self, seed: int) -> None:
        self._ask(lambda: self._env.reset(seed=seed))

    def step(self, action: np.ndarray) -> tuple[np.ndarray, bool, bool]:
        _, reward, terminated, truncated, _ = self._ask(self._env.step, native_action(self._env.action_space, action))
        return np.array([reward], np.float64), bool(terminated), bool(truncated)

    def picture(self) -> np.ndarray:
        image = self._ask(self._env.render)
        if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise self._error(f"render() gave {type(image).__name__} {getattr(image, 'shape', '')}".rstrip())
        return image

    def close(self) -> None:
        self._env.close()

    def _ask(self, function: Callable, *arguments: Any) -> Any:
        try:
            return function(*arguments)
        except Exception as error:
            cause = error.__cause__ if isinstance(error, UserError) else None  # without what EnvMaker says around it
            raise self._error(describe(cause if isinstance(cause, Exception) else error)) from error

    def _error(self, what: str) -> UserError:
        return UserError(f"{self._name} gives no pictures: {what.removesuffix('.')}. It must take "
                         "render_mode=\"rgb_array\", and its render() then return uint8 [height, width, 3].")
