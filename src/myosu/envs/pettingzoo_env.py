"""Native two-player games as PettingZoo environments. Needs pettingzoo: ``pip install "myosu[pettingzoo]"``."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from pettingzoo import AECEnv

from myosu.envs.single_game import RENDER_MODES, SingleGame
from myosu.games import Game


class PettingZooEnv(AECEnv[str, dict[str, np.ndarray], int]):
    """A native two-player game as a PettingZoo AEC environment. ``game`` is a name, the path of a file, or a ``Game``.

    "player_0" moves first. The agent to move observes ``{"observation": the game's observation, "action_mask": int8
    [num_actions]}``. The other agent's observation is zero, because games only show a position to the player to move.
    Its mask is zero too, as are both masks after the end of the game. Rewards are zero-sum: each move rewards the mover
    and gives the other agent the negative reward. The game is truncated after ``Game.max_plies``.
    ``reset(seed=...)`` makes all following games deterministic.

    Raises the errors of ``SingleGame``, and ValueError for an illegal action, which PettingZoo's
    TerminateIllegalWrapper turns into a loss.
    """

    def __init__(self, game: str | Game, render_mode: str | None = None) -> None:
        super().__init__()
        self._play = SingleGame(game, 2, render_mode)
        self.game, self.render_mode = self._play.game, render_mode
        self.metadata = {"render_modes": RENDER_MODES, "render_fps": self.game.fps,
                         "name": f"myosu_{self.game.name}_v0", "is_parallelizable": False}
        self.possible_agents = ["player_0", "player_1"]
        self.agents: list[str] = []
        # Each agent has its own space, so that seeding one does not seed the other.
        self.observation_spaces = {agent: self._observation_space() for agent in self.possible_agents}
        self.action_spaces = {agent: spaces.Discrete(self.game.num_actions) for agent in self.possible_agents}
        self._random = np.random.default_rng()

    def observation_space(self, agent: str) -> spaces.Dict:
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> spaces.Discrete:
        return self.action_spaces[agent]

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> None:
        if seed is not None:
            self._random, _ = gymnasium.utils.seeding.np_random(seed)
        self._play.start(int(self._random.integers(2**64, dtype=np.uint64)))
        self.agents = self.possible_agents[:]
        self.rewards, self._cumulative_rewards = (dict.fromkeys(self.agents, 0.0) for _ in range(2))
        self._end(False, False)
        self.infos: dict[str, dict] = {agent: {} for agent in self.agents}
        self._pass_the_turn()

    def observe(self, agent: str) -> dict[str, np.ndarray]:
        play = self._play
        if agent == self._to_move():
            observation = play.observation()
        else:
            observation = np.zeros(self.game.observation_shape, self.game.observation_dtype)
        over = any(self.terminations.values()) or any(self.truncations.values())
        moves = agent == self._to_move() and not over
        mask = play.legal_actions() if moves else np.zeros(self.game.num_actions)
        return {"observation": observation, "action_mask": mask.astype(np.int8)}

    def step(self, action: int | None) -> None:
        mover = self.agent_selection
        if self.terminations[mover] or self.truncations[mover]:
            self._was_dead_step(action)
            return
        if action is None or not self.action_spaces[mover].contains(action) or not self._play.legal_actions()[action]:
            raise ValueError(f"the action {action!r} is illegal: take one that \"action_mask\" allows")
        reward, terminated, truncated = self._play.step(int(action))
        self._end(terminated, truncated)
        self._cumulative_rewards[mover] = 0.0
        self.rewards = {agent: reward if agent == mover else -reward for agent in self.agents}
        self._accumulate_rewards()
        self._pass_the_turn()

    def render(self) -> str | np.ndarray | None:
        """Render the position as text ("ansi") or an image, uint8 [H, W, 3] ("rgb_array"); "human" shows a window."""
        return self._play.render()

    def close(self) -> None:
        self._play.close()

    def _to_move(self) -> str:
        return self.possible_agents[self.game.to_play(self._play.state)]

    def _end(self, terminated: bool, truncated: bool) -> None:
        self.terminations = dict.fromkeys(self.agents, terminated)
        self.truncations = dict.fromkeys(self.agents, truncated)

    def _pass_the_turn(self) -> None:
        self.agent_selection = self._to_move()
        if self.render_mode == "human":
            self._play.render()

    def _observation_space(self) -> spaces.Dict:
        mask = spaces.Box(0, 1, (self.game.num_actions,), np.int8)
        return spaces.Dict({"observation": self._play.observation_space(), "action_mask": mask})
