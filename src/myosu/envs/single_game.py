"""One native game with rendering: common code of the interfaces to Gymnasium and PettingZoo."""

from __future__ import annotations

import gymnasium
import numpy as np
from gymnasium import spaces

from myosu.errors import UserError
from myosu.games import Game, load_game

RENDER_MODES = ["ansi", "human", "rgb_array"]


class SingleGame:
    """Plays games of ``game`` (a name, the path of a file, or a ``Game``). Returned arrays are fresh.

    Raises UserError if there is no such game, if it is not for ``num_players``, or if it cannot draw images for
    ``render_mode``; gymnasium.error.DependencyNotInstalled for ``render_mode`` "human" without pygame.
    """

    def __init__(self, game: str | Game, num_players: int, render_mode: str | None) -> None:
        self.game = game = load_game(game) if isinstance(game, str) else game
        if game.num_players != num_players:
            raise UserError(f"{game.name} is a {game.num_players}-player game. Single-player games are Gymnasium "
                            "environments (myosu.envs.game_env.GameEnv), two-player games are PettingZoo environments "
                            "(myosu.envs.pettingzoo_env.PettingZooEnv).")
        if render_mode not in (None, *RENDER_MODES):
            raise UserError(f"There is no render mode {render_mode!r}: take one of {', '.join(RENDER_MODES)}.")
        if render_mode in ("human", "rgb_array") and game.draw is None:
            raise UserError(f"{game.name} has no draw function, so only the render mode \"ansi\" shows it.")
        self.render_mode = render_mode
        self.window = Window(f"Myosu: {game.name}", game.fps) if render_mode == "human" else None
        self._state: np.void | None = None
        self.plies = 0

    @property
    def state(self) -> np.void:
        """The state, a record of ``game.state_dtype``. Raises gymnasium.error.ResetNeeded before the first game,
        because compiled rules must not run on an uninitialised state."""
        if self._state is None:
            raise gymnasium.error.ResetNeeded(f"{self.game.name}: call reset() before anything else.")
        return self._state

    @state.setter
    def state(self, state: np.void) -> None:
        self._state = state

    def start(self, seed: int) -> None:
        """Begin a new game with the random seed ``seed``, below 2**64."""
        self._state = np.zeros(1, self.game.state_dtype)[0]
        self.game.init(self._state, np.uint64(seed))
        self.plies = 0

    def step(self, action: int) -> tuple[float, bool, bool]:
        """Take an action. Returns the reward of the player who moved, terminated, truncated."""
        reward, terminated = self.game.step(self.state, np.int64(action))
        self.plies += 1
        if self.game.rewards == "outcome":
            reward = np.sign(reward)
        return float(reward), bool(terminated), not terminated and self.plies >= self.game.max_plies

    def observation(self) -> np.ndarray:
        """The observation of the player to move."""
        out: np.ndarray = np.empty(self.game.observation_shape, self.game.observation_dtype)
        self.game.observe(self.state, out)
        return out

    def legal_actions(self) -> np.ndarray:
        """Legal actions, bool [num_actions]."""
        mask = np.empty(self.game.num_actions, np.bool_)
        self.game.legal_actions(self.state, mask)
        return mask

    def observation_space(self) -> spaces.Box:
        low, high = self.game.observation_range
        return spaces.Box(low, high, self.game.observation_shape, self.game.observation_dtype)

    def render(self) -> str | np.ndarray | None:
        """Return text ("ansi") or an image, uint8 [H, W, 3] ("rgb_array"), or show a window ("human")."""
        if self.render_mode is None:
            gymnasium.logger.warn("render() shows nothing without a render_mode, given when the environment is made.")
            return None
        if self.render_mode == "ansi":
            return self.game.render(self.state)
        assert self.game.draw is not None
        image = self.game.draw(self.state)
        if self.window is None:
            return image
        self.window.show(image)
        return None

    def close(self) -> None:
        if self.window is not None:
            self.window.close()


class Window:
    """A pygame window that opens with the first image. Raises DependencyNotInstalled without pygame."""

    def __init__(self, title: str, fps: int) -> None:
        try:
            import pygame
        except ImportError as error:
            raise gymnasium.error.DependencyNotInstalled(
                'The render mode "human" needs pygame: pip install "myosu[human]"') from error
        self._pygame, self._title, self._fps = pygame, title, fps
        self._clock = pygame.time.Clock()
        self._surface: pygame.Surface | None = None

    def show(self, image: np.ndarray) -> None:
        """Show an image, uint8 [H, W, 3], at most ``fps`` times per second."""
        if self._surface is None:
            self._pygame.display.init()
            self._surface = self._pygame.display.set_mode((image.shape[1], image.shape[0]))
            self._pygame.display.set_caption(self._title)
        self._pygame.event.pump()  # otherwise the desktop reports that the window does not respond
        self._pygame.surfarray.blit_array(self._surface, image.swapaxes(0, 1))
        self._pygame.display.flip()
        self._clock.tick(self._fps)

    def close(self) -> None:
        if self._surface is not None:
            self._surface = None
            self._pygame.display.quit()
