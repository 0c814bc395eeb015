"""Replays an episode from its seed and actions, for images or training data."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from typing import Any, NamedTuple, Protocol

import numpy as np

from myosu.envs.game_history import GameHistory
from myosu.envs.gym_env import SingleEnv, row_at, row_type
from myosu.envs.pettingzoo_single import play_known
from myosu.envs.registry import Environment
from myosu.envs.single_game import SingleGame
from myosu.envs.spaces import native_action
from myosu.envs.vector import EnvSpec
from myosu.errors import UserError, describe
from myosu.games import Game


class Move(NamedTuple):
    """One transition of an episode.

    observation [*observation_shape] and legal_actions bool [num_actions] of the player to move; action, and seat of the
    player; rewards float64 [seats]. chosen: whether the player chose the action, so that it can be imitated.
    """

    observation: np.ndarray
    legal_actions: np.ndarray
    action: np.ndarray
    seat: int
    rewards: np.ndarray
    terminated: bool
    truncated: bool
    chosen: bool = True


def actions_of(spec: EnvSpec, actions: list[Any]) -> np.ndarray:
    """Convert recorded actions to an array [length, *action_shape] of ``spec.action_dtype``. Raises UserError if they
    do not fit."""
    try:
        with np.errstate(all="ignore"):
            given = np.array(actions).reshape(len(actions), *spec.action_shape)
            found = given.astype(spec.action_dtype)
        # Also compare the values: 300 is no int8.
        fits = given.dtype.kind in "iuf" and np.allclose(found, given, rtol=1e-4, equal_nan=False)
    except (ValueError, TypeError, OverflowError):
        fits = False
    if len(actions) and not fits:
        raise UserError(f"Each recorded action must be {spec.action_dtype} {list(spec.action_shape)}.")
    return found if len(actions) else np.zeros((0, *spec.action_shape), spec.action_dtype)


def play_through(environment: Environment, seed: int, actions: list[Any], replies: Sequence[Any] = ()
                 ) -> Iterator[Move]:
    """Replay the episode of this seed and these actions until it ends. replies: see ``GameRecord``. Raises UserError if
    an action is illegal, or the environment fails."""
    spec = environment.spec
    played = actions_of(spec, actions)
    if environment.game is not None:
        history = GameHistory(environment.game, seed)
        for action in played:
            before = history.now
            after = history.play(int(action))
            yield Move(history.observation(before), history.legal_actions(before), action, before.to_play,
                       np.array(after.returns) - before.returns, after.terminated, after.truncated)
        return
    assert environment.maker is not None
    with closing(SingleEnv(environment.maker, 0, 0)) as env:
        row = row_at(np.zeros(1, row_type(spec)), 0)
        play_known(env.gym_env, replies)
        env.start_with(row, seed)
        for action in played:
            observation, legal = row["observation"][0].copy(), row["legal_actions"][0].copy()
            row["action"][0] = action
            env.step(row)
            ended = bool(row["terminated"][0]), bool(row["truncated"][0])
            yield Move(observation, legal, action, 0, row["reward"].astype(np.float64), *ended)
            if any(ended):
                return


class Stage(Protocol):
    """Replays episodes and renders them. fps: frames per second."""

    fps: float

    def start(self, seed: int) -> None:
        """Begin the episode of this seed."""
        ...

    def step(self, action: np.ndarray) -> tuple[np.ndarray, bool, bool]:
        """Take an action. Returns rewards [seats], terminated, truncated."""
        ...

    def image(self) -> np.ndarray:
        """Render the current state, uint8 [H, W, 3]."""
        ...

    def close(self) -> None: ...


class Playback:
    """Replays episodes of ``environment`` as images. ``returns`` [seats], ``length`` and ``terminated`` are those of
    the last episode.

    Raises UserError if the environment renders no images, or fails.
    """

    def __init__(self, environment: Environment) -> None:
        self._spec, self._seats = environment.spec, environment.spec.num_players
        self._stage: Stage = _GameStage(environment.game) if environment.game else _GymStage(environment)
        self.fps = self._stage.fps

    def images(self, seed: int, actions: list[Any], replies: Sequence[Any] = ()) -> Iterator[np.ndarray]:
        """Yield images, uint8 [H, W, 3], of the start and after every action until the episode ends.

        actions: [length, *action_shape]; replies: as in ``GameRecord``.
        """
        self.returns, self.length, self.terminated = np.zeros(self._seats), 0, False
        if isinstance(self._stage, _GymStage):
            play_known(self._stage.env, replies)
        self._stage.start(seed)
        yield self._stage.image()
        for action in actions_of(self._spec, actions):
            rewards, self.terminated, truncated = self._stage.step(action)
            self.returns += rewards
            self.length += 1
            yield self._stage.image()
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

    def image(self) -> np.ndarray:
        image = self._play.render()
        assert isinstance(image, np.ndarray)
        return image


class _GymStage:
    def __init__(self, environment: Environment) -> None:
        assert environment.maker is not None
        self._name = environment.name
        self.env = self._ask(environment.maker.with_arguments(render_mode="rgb_array"))
        self.fps = self.env.metadata.get("render_fps") or 30

    def start(self, seed: int) -> None:
        self._ask(lambda: self.env.reset(seed=seed))

    def step(self, action: np.ndarray) -> tuple[np.ndarray, bool, bool]:
        _, reward, terminated, truncated, _ = self._ask(self.env.step, native_action(self.env.action_space, action))
        return np.array([reward], np.float64), bool(terminated), bool(truncated)

    def image(self) -> np.ndarray:
        image = self._ask(self.env.render)
        if (frame := as_image(image)) is None:
            raise self._error(f"render() gave {type(image).__name__} {getattr(image, 'shape', '')}".rstrip())
        return frame

    def close(self) -> None:
        with suppress(Exception, SystemExit):  # all images are made by then
            self.env.close()

    def _ask(self, function: Callable, *arguments: Any) -> Any:
        try:
            return function(*arguments)
        except Exception as error:
            cause = error.__cause__ if isinstance(error, UserError) else None  # without the text that EnvMaker adds
            raise self._error(describe(cause if isinstance(cause, Exception) else error)) from error

    def _error(self, what: str) -> UserError:
        remedy = ("It draws with OpenGL: set the environment variable MUJOCO_GL=egl (or osmesa) if there is no "
                  "display." if "gladLoadGL" in what or "mujoco" in what.lower() else "It must take "
                  "render_mode=\"rgb_array\", and its render() then return uint8 [height, width, 3].")
        return UserError(f"{self._name} renders no images: {what.removesuffix('.')}. {remedy}")


def as_image(image: Any) -> np.ndarray | None:
    """Convert the result of ``render`` to uint8 [H, W, 3]; None if it is no image."""
    if isinstance(image, np.ndarray) and image.ndim == 3 and image.shape[2] in (3, 4):
        image = image[:, :, :3]  # without alpha
        if image.dtype.kind == "f" and image.size and image.min() >= 0.0 and image.max() <= 1.0:
            image = (255.0 * image + 0.5).astype(np.uint8)
    fits = isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3
    return image if fits else None
