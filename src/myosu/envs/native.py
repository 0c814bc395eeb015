"""Native games in the current process, stepped in lockstep."""

from __future__ import annotations

from functools import cache

import numpy as np

from myosu.envs.vector import EnvSpec, Step
from myosu.errors import UserError
from myosu.games.game import Game
from myosu.games.loops import compiled_loop
from myosu.games.playout import mix64

#: Pseudo-action that begins the first episode.
START = -2**31


def game_spec(game: Game) -> EnvSpec:
    return EnvSpec(
        observation_shape=game.observation_shape,
        observation_dtype=game.observation_dtype,
        num_actions=game.num_actions,
        num_players=game.num_players,
        reward_range=game.reward_range,
        max_steps=game.max_plies,
        pass_action=game.pass_action,
        planes_first=True,
        observation_bounds=((0.0, 1.0) if np.dtype(game.observation_dtype).itemsize == 1 else (-np.inf, np.inf),),
        rules=game,
    )


class NativeVectorEnv:
    """``num_envs`` environments of a native game (``myosu.envs.vector.VectorEnv``).

    Every episode's seed follows from ``seed``, the environment's index and the episode's number.
    """

    def __init__(self, game: Game, num_envs: int, seed: int = 0) -> None:
        self.game, self.num_envs, self.spec = game, num_envs, game_spec(game)
        self.states = np.zeros(num_envs, game.state_dtype)
        self.plies = np.zeros(num_envs, np.int32)
        self.episodes = np.zeros(num_envs, np.uint64)
        self.seed = np.uint64(seed)
        self._advance = _compile_advance(game)
        self._pending: Step | None = None
        self._begun = False

    def reset(self) -> None:
        self.plies[:] = 0
        self.episodes[:] = 0
        ids = np.arange(self.num_envs)
        step = self._new_step(ids)
        self._advance(self.states, self.plies, self.episodes, self.seed, ids, np.full(self.num_envs, START),
                      *self._outputs(step))
        self._pending, self._begun = step, True

    def send(self, actions: np.ndarray, env_ids: np.ndarray) -> None:
        if not self._begun or len(actions) != len(env_ids):
            raise UserError("send() before reset()." if not self._begun else
                            f"send() got {len(actions)} actions for {len(env_ids)} environments.")
        step = self._new_step(env_ids)
        wrong = self._advance(self.states, self.plies, self.episodes, self.seed, env_ids, actions,
                              *self._outputs(step))
        if wrong >= 0:
            raise UserError(f"send(): action {actions[wrong]} in the environment {env_ids[wrong]}. {self.game.name} "
                            f"has {self.game.num_actions} actions, and there are {self.num_envs} environments, both "
                            "counted from 0.")
        self._pending = step

    def recv(self, min_ready: int | None = None) -> Step:
        step, self._pending = self._pending, None
        assert step is not None, "recv() without send()"
        return step

    def close(self) -> None:
        pass

    def state_dict(self) -> dict[str, np.ndarray]:
        """Everything that the games' future depends on. Call it between ``recv`` and ``send``."""
        raw = self.states.view(np.uint8).reshape(self.num_envs, -1)
        return {"states": raw.copy(), "plies": self.plies.copy(), "episodes": self.episodes.copy()}

    def load_state_dict(self, state: dict[str, np.ndarray]) -> None:
        self.states[:] = np.ascontiguousarray(state["states"]).view(self.game.state_dtype).reshape(-1)
        self.plies[:], self.episodes[:] = state["plies"], state["episodes"]
        self._begun = True

    def _new_step(self, env_ids: np.ndarray) -> Step:
        n, spec = len(env_ids), self.spec
        return Step(
            env_ids=env_ids,
            observation=np.empty((n, *spec.observation_shape), spec.observation_dtype),
            legal_actions=np.empty((n, spec.num_actions), np.bool_),
            to_play=np.empty(n, np.int8),
            reward=np.zeros(n, np.float32),
            terminated=np.zeros(n, np.bool_),
            truncated=np.zeros(n, np.bool_),
            final_observation=np.zeros((n, *spec.observation_shape), spec.observation_dtype),
            raw_reward=np.zeros(n, np.float32),
            seed=np.zeros(n, np.uint64),
        )

    @staticmethod
    def _outputs(step: Step) -> tuple:
        return (step.observation, step.legal_actions, step.to_play, step.reward, step.terminated, step.truncated,
                step.final_observation, step.raw_reward, step.seed)


@cache
def _compile_advance(game: Game):
    init, legal_actions, observe, to_play = game.init, game.legal_actions, game.observe, game.to_play
    rules_step, max_plies, outcome = game.step, game.max_plies, game.rewards == "outcome"
    num_actions = game.num_actions

    @compiled_loop
    def advance(states, plies, episodes, seed, env_ids, actions, observation, legal, player, reward, terminated,
                truncated, final_observation, raw_reward, seeds):
        """Step each environment, reset it if its episode ended, and write the results; ``START`` only begins the first
        episode. Returns the row of the first invalid action or environment, before any step is made, otherwise −1."""
        for k in range(len(env_ids)):
            legal_action = 0 <= actions[k] < num_actions or actions[k] == START
            if not (legal_action and 0 <= env_ids[k] < len(states)):
                return k
        for k in range(len(env_ids)):
            i = env_ids[k]
            state = states[i]
            start = actions[k] == START
            if not start:
                earned, ended = rules_step(state, actions[k])
                raw_reward[k] = earned
                reward[k] = np.sign(earned) if outcome else earned
                plies[i] += 1
                terminated[k] = ended
                truncated[k] = not ended and plies[i] >= max_plies
                if terminated[k] or truncated[k]:
                    observe(state, final_observation[k])
                    episodes[i] += np.uint64(1)
                    plies[i] = 0
                    start = True
            seeds[k] = mix64(mix64(mix64(seed) + np.uint64(i)) + episodes[i])
            if start:
                init(state, seeds[k])
            observe(state, observation[k])
            legal_actions(state, legal[k])
            player[k] = to_play(state)
        return -1

    return advance
