"""Bubble with the step durations of an animated game, as in a game engine."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from myosu.envs.game_env import GameEnv
from myosu.games import Game, bubble

#: Speed of a shot, in bubble radii per second. Seconds for each bubble to pop, one after another; for all loose bubbles
#: to fall, together; and for the next level to appear.
FLIGHT_SPEED = 30.0
POP_SECONDS, FALL_SECONDS, RESET_SECONDS = 0.05, 0.5, 2.0


class AnimatedBubble(GameEnv):
    """Bubble in which every step takes as long as its animation would, divided by ``time_scale``.

    level: arguments of ``bubble.make_game``. Steps wait by sleeping, which uses no processor time.
    """

    def __init__(self, time_scale: float = 1.0, render_mode: str | None = None, **level: Any) -> None:
        if not time_scale > 0:
            raise ValueError(f"time_scale is {time_scale}: it must be greater than 0")
        game: Game = bubble.make_game(**level) if level else bubble.GAME
        super().__init__(game, render_mode)
        self.time_scale = time_scale

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        time.sleep(RESET_SECONDS / self.time_scale)
        return super().reset(seed=seed, options=options)

    def step(self, action: np.int64) -> tuple[np.ndarray, float, bool, bool, dict]:
        seconds = animation_seconds(self._play.state, int(action))
        answer = super().step(action)
        time.sleep(seconds / self.time_scale)
        return answer


def animation_seconds(state: Any, action: int) -> float:
    """Seconds to animate a shot at the cell ``action`` in ``state``: its flight, the popping and falling bubbles."""
    angle = int(bubble.angles_to_cells(state)[action])
    if angle < 0:
        return 0.0  # nothing flies
    path, _ = bubble.flight(state, angle)
    flown = float(np.linalg.norm(np.diff(path, axis=0), axis=1).sum())
    board, (row, column) = state["board"].copy(), divmod(action, bubble.WIDTH)
    board[row, column] = state["current"]
    popped, fallen, _ = bubble.pop_and_drop(board, row, column)
    return flown / FLIGHT_SPEED + POP_SECONDS * popped + FALL_SECONDS * (fallen > 0)
