"""Native single-player games as Gymnasium environments. ``myosu.envs`` registers Snake, Woodoku and Bubble."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from myosu.envs.single_game import RENDER_MODES, SingleGame
from myosu.games import Game


class GameEnv(gymnasium.Env[np.ndarray, np.int64]):
    """A native single-player game as a Gymnasium environment. ``game`` is a name, the path of a file, or a ``Game``.

    Observations have the game's shape and dtype, with the bounds of ``Game.observation_range``. Action masks are int8
    [num_actions] in ``info["action_mask"]`` (for ``action_space.sample``) and bool in ``action_masks()`` (for
    MaskablePPO). The game defines the effect of an illegal action: in Snake a reversal continues straight ahead, in
    Woodoku nothing happens. An episode is truncated after ``Game.max_plies``. ``reset(seed=...)`` makes all following
    episodes deterministic.

    Raises the errors of ``SingleGame``, and ValueError for an action outside the space.
    """

    metadata = {"render_modes": RENDER_MODES}  # noqa: RUF012
    #: Boards are always [C, H, W]; ``SingleEnv`` reads this attribute.
    planes_first = True

    def __init__(self, game: str | Game, render_mode: str | None = None) -> None:
        self._play = SingleGame(game, 1, render_mode)
        self.metadata = {**self.metadata, "render_fps": self._play.game.fps}
        self.render_mode = render_mode
        self.observation_space = self._play.observation_space()
        self.action_space: spaces.Discrete = spaces.Discrete(self._play.game.num_actions)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self._play.start(int(self.np_random.integers(2**64, dtype=np.uint64)))
        return self._show()

    def step(self, action: np.int64) -> tuple[np.ndarray, float, bool, bool, dict]:
        if not self.action_space.contains(action):
            raise ValueError(f"the action is {action!r}: it must be a whole number below {self.action_space.n}")
        reward, terminated, truncated = self._play.step(int(action))
        observation, info = self._show()
        return observation, reward, terminated, truncated, info

    def action_masks(self) -> np.ndarray:
        """Legal actions, bool [num_actions]."""
        return self._play.legal_actions()

    def render(self) -> str | np.ndarray | None:
        """Render the position as text ("ansi") or an image, uint8 [H, W, 3] ("rgb_array"); "human" shows a window."""
        return self._play.render()

    def close(self) -> None:
        self._play.close()

    def _show(self) -> tuple[np.ndarray, dict]:
        if self.render_mode == "human":
            self._play.render()
        return self._play.observation(), {"action_mask": self._play.legal_actions().astype(np.int8)}
